"""Which calls fit a task, and which functions can be one: the errors at call and definition.

What becomes of the values is in `test_codec.py` and `test_codec_values.py`.
"""

import dataclasses
import datetime as dt
import inspect
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.core.errors import (
    BadArguments,
    BadTaskSignature,
)
from treadle.core.payload.codec import CallSpec, ResultCodec

if TYPE_CHECKING:
    from decimal import Decimal


@dataclasses.dataclass
class Item:
    """A dataclass argument."""

    price: float
    at: object = None


class Model(pydantic.BaseModel):
    """A Pydantic argument."""

    price: float = 1.0
    at: dt.datetime | None = None
    parts: "list[Model]" = []


class Picky:
    """An object that JSON has no form for."""


@dataclasses.dataclass
class Guarded:
    """A dataclass with a check of its own that fails in an unusual way."""

    value: int

    def __post_init__(self) -> None:
        """Fail with an error that no decoder expects."""
        raise KeyError(self.value)


def send_email(to: str, subject: str = "hello") -> str:
    """Stand for a common task."""
    return f"{to}: {subject}"


def every_kind(a: int, /, b: int, c: int = 0, *rest: int, d: int, e: int = 0, **more: int) -> None:
    """Take a parameter of each kind."""


def strict_kinds(a: int, b: int = 0, /, c: int = 0, *, d: int, e: int = 0) -> None:
    """Take no more than the named parameters."""


def doubled_name(a: int, /, **more: int) -> None:
    """Take a positional-only name that is free as a keyword."""


@pytest.mark.parametrize("fn", [send_email, every_kind, strict_kinds, doubled_name, lambda: None])
@given(
    count=st.integers(0, 5), names=st.sets(st.sampled_from(["a", "b", "c", "d", "e", "to", "z"]))
)
def test_binding_agrees_with_python(fn: Callable[..., None], count: int, names: set[str]) -> None:
    """A call is refused exactly when Python itself would refuse it."""
    args, kwargs = tuple(range(count)), dict.fromkeys(names, 0)
    spec = CallSpec.of(fn, "task")
    try:
        fn(*args, **kwargs)
    except TypeError:
        with pytest.raises(BadArguments, match="the task is called as task"):
            spec.encode(args, kwargs)
    else:
        assert msgspec.json.decode(spec.encode(args, kwargs))[1] == list(args)


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "said"),
    [
        (send_email, (), {}, "it is missing 1 required argument: 'to'"),
        (strict_kinds, (), {}, "it is missing 2 required arguments: 'a', 'd'"),
        (send_email, (1, 2, 3), {}, "takes from 1 to 2 positional arguments but 3 were given"),
        (doubled_name, (1, 2), {}, "takes 1 positional argument but 2 were given"),
        (send_email, (1,), {"sub": 2}, "an unexpected keyword argument 'sub'"),
        (send_email, (1,), {"to": 2}, "multiple values for argument 'to'"),
        (
            strict_kinds,
            (),
            {"a": 1, "d": 1},
            "positional-only argument 'a' was passed as a keyword",
        ),
    ],
)
def test_a_call_that_does_not_fit_is_explained(
    fn: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int], said: str
) -> None:
    """The error holds the task's name, Python's reason and the signature."""
    with pytest.raises(BadArguments) as caught:
        CallSpec.of(fn, "mail.send").encode(args, kwargs)
    assert caught.value.task == "mail.send"
    assert said in str(caught.value)
    called = inspect.signature(fn).replace(return_annotation=inspect.Signature.empty)
    assert f"the task is called as mail.send{called}" in str(caught.value)


def test_a_long_signature_is_cut_in_messages() -> None:
    """A default with a huge repr does not flood the error."""

    def task(value: str = "x" * 5_000) -> None: ...

    with pytest.raises(BadArguments) as caught:
        CallSpec.of(task, "task").encode((1, 2), {})
    assert len(str(caught.value)) < 600


def test_a_skipped_parameter_is_not_the_callers() -> None:
    """Callers cannot pass an injected parameter, and their arguments pass it by."""

    def task(a: int, ctx: Picky, b: int, *, c: int = 0, **more: int) -> tuple[int, ...]:
        assert isinstance(ctx, Picky)
        return a, b, c, *more.values()

    spec = CallSpec.of(task, "task", skip=frozenset({"ctx"}))
    with pytest.raises(BadArguments, match="'ctx' is filled in by the worker"):
        spec.encode((1, 2), {"ctx": 3})
    payload = spec.encode((1, 2), {"z": 9})
    assert payload == b'[1,[1,2],{"z":9}]'
    args, kwargs = spec.decode(payload)
    assert task(*args, **{"ctx": Picky(), **kwargs}) == (1, 2, 0, 9)
    args, kwargs = spec.decode(spec.encode((1,), {"b": 2}))
    assert task(*args, **{"ctx": Picky(), **kwargs}) == (1, 2, 0)


def test_an_injected_parameter_must_be_passable_by_keyword() -> None:
    """A skipped parameter that is positional-only or before `*args` is refused."""

    def placed(ctx: object, /) -> None: ...

    def before(ctx: object, *args: int) -> None: ...

    for fn in (placed, before):
        with pytest.raises(BadTaskSignature, match=r"'ctx' is filled in .* keyword-only"):
            CallSpec.of(fn, "task", skip=frozenset({"ctx"}))


def unsupported() -> Iterable[tuple[Any, str]]:
    """Give annotations that cannot come back from JSON, and a part of the advice."""
    tagged = "tagged structs"
    by_id = "pass an id"
    return [
        (dt.datetime | str, tagged),
        (uuid.UUID | str, tagged),
        (Item | Guarded, tagged),
        (Model | pydantic.RootModel[int], tagged),
        (Model | int, tagged),
        (list[Item | Guarded] | None, tagged),
        (Picky, by_id),
        (list[Picky | None], by_id),
        (dict[str, tuple[Picky, ...]], by_id),
        (Callable[[int], int], by_id),
        (IO[str], by_id),
        (Path, by_id),
        (complex, by_id),
        (type, by_id),
        (Iterable[int], by_id),
        (Iterator[int], by_id),
        (Self, by_id),
        (5, by_id),
        (msgspec.Raw, by_id),
        (dict[tuple[int, int], int], "str, int, UUID or Enum keys"),
        (dict[Item, int], "str, int, UUID or Enum keys"),
    ]


@pytest.mark.parametrize(("hint", "advice"), unsupported(), ids=str)
def test_an_undecodable_annotation_is_refused_at_definition(hint: object, advice: str) -> None:
    """The error names the task, the parameter, the annotation and what to do."""

    def task(first: int, payload: object) -> None: ...

    task.__annotations__["payload"] = hint
    with pytest.raises(BadTaskSignature) as caught:
        CallSpec.of(task, "mail.send")
    assert caught.value.task == "mail.send"
    assert "parameter 'payload' is annotated" in caught.value.reason
    assert advice in caught.value.reason
    with pytest.raises(BadTaskSignature, match="the return value is annotated"):
        ResultCodec.of(hint, task="mail.send")


def test_an_undecodable_field_is_found_inside_recursive_types() -> None:
    """The check follows fields, and ends on types that hold themselves."""

    @dataclasses.dataclass
    class Bad:
        box: list[Picky]

    def good(model: Model, more: dict[str, list[Model]]) -> None: ...

    def bad(value: Bad) -> None: ...

    CallSpec.of(good, "good")
    with pytest.raises(BadTaskSignature, match=r"'value' is annotated .*Bad.* Picky cannot be"):
        CallSpec.of(bad, "bad")


def test_an_unresolvable_annotation_is_refused_at_definition() -> None:
    """A name that only type checkers see is an error that says where it must be imported."""

    def task(price: "Decimal") -> None: ...

    with pytest.raises(BadTaskSignature, match=r"'price' .*'Decimal' is not defined.*module level"):
        CallSpec.of(task, "task")
    # The worker fills this one in, so its annotation is never decoded.
    assert CallSpec.of(task, "task", skip=frozenset({"price"})).encode((), {}) == b"[1,[]]"


def test_a_function_without_a_signature_is_refused() -> None:
    """A builtin whose signature Python does not know is no task."""
    with pytest.raises(BadTaskSignature, match="signature cannot be read"):
        CallSpec.of(dict, "task")
