"""How calls and results are stored, and what stored bytes that do not fit say.

Signatures and annotations are in `test_codec_signature.py`, refused values in
`test_codec_values.py`, and `test_codec_roundtrip.py` shows that values come back equal.
"""

import dataclasses
import datetime as dt
import inspect
import pickle
import subprocess
import sys
import uuid
from typing import Any, Never

import pydantic
import pytest

from treadle.core.errors import (
    BadArguments,
    PayloadError,
    PayloadTooLarge,
)
from treadle.core.payload.codec import CallSpec, ResultCodec

ANYTHING = CallSpec.anything("elsewhere")


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


def test_the_stored_form_is_versioned_json() -> None:
    """A call is `[1, [positional...], {keyword...}]`, without the last part when it is empty."""
    spec = CallSpec.of(send_email, "send_email")
    assert spec.encode(("a",), {}) == b'[1,["a"]]'
    assert spec.encode(("a",), {"subject": "s"}) == b'[1,["a"],{"subject":"s"}]'
    assert spec.encode((), {"to": "a"}) == b'[1,[],{"to":"a"}]'
    assert CallSpec.of(lambda: None, "task").encode((), {}) == b"[1,[]]"


def test_other_spacing_is_read() -> None:
    """A call written by another program, with its own spaces, is the same call."""
    spec = CallSpec.of(send_email, "send_email")
    assert spec.decode(b' [1, ["a"], {"subject": "s"} ]\n') == (("a",), {"subject": "s"})
    assert CallSpec.of(int.__add__, "task").decode(b"[ 1 ,[ 2 , 3 ] ]") == ((2, 3), {})


def test_a_named_class_in_the_bytes_is_data() -> None:
    """Nothing in stored bytes can name a class: `__class__` is a key like any other."""
    evil = {"__class__": "os.system", "__reduce__": ["rm"], "type": "Item"}
    assert ANYTHING.decode(ANYTHING.encode((evil,), {})) == ((evil,), {})


MALFORMED = [
    (b"", "truncated"),
    (b"{}", "got `object`"),
    (b'{"__class__":"Item"}', "got `object`"),
    (pickle.dumps(Picky), "malformed"),
    (b"null", "got `null`"),
    (b"[]", "version marker of the stored call is none"),
    (b"[2,[1]]", "version marker of the stored call is b'2'"),
    (b'["1",[1]]', "version marker of the stored call is b'\"1\"'"),
    (b"[1]", "0 parts"),
    (b"[1,[1],{},4]", "3 parts"),
    (b"[1,{}]", "got `object`"),
    (b"[1,[1],[2]]", "got `array`"),
    (b"[1,[1]", "truncated"),
    (b"[1,[1]]]", "trailing"),
    (b"[1,[NaN]]", "malformed"),
    (b"[" * 100_000, "recursion"),
    (b'[1,["\xff"]]', "'args[0]' of elsewhere is not JSON"),
]


@pytest.mark.parametrize(("payload", "said"), MALFORMED)
def test_bytes_that_are_no_call_are_refused(payload: bytes, said: str) -> None:
    """Malformed bytes and unknown versions raise an error that says what was found, briefly."""
    with pytest.raises(PayloadError) as caught:
        ANYTHING.decode(payload)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("stored", [None, 7])
def test_a_row_put_in_by_hand_is_refused(stored: Any) -> None:  # noqa: ANN401 -- the wrong type
    """A stored call that is not bytes at all is a payload error, not a crash."""
    with pytest.raises(PayloadError, match="must be bytes"):
        ANYTHING.decode(stored)


def typed_task(
    price: int,
    at: dt.datetime,
    *nums: int,
    ref: uuid.UUID | None = None,
    model: Model | None = None,
    guarded: Guarded | None = None,
    **more: float,
) -> None:
    """Take arguments of several types."""


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b'[1,["x","2026-01-01T00:00:00Z"]]', "'price'"),
        (b'[1,[1,"soon"]]', "'at'"),
        (b'[1,[1,"2026-01-01T00:00:00Z",3,"q"]]', "'nums[1]'"),
        (b'[1,[1,"2026-01-01T00:00:00Z"],{"ref":"q"}]', "'ref'"),
        (b'[1,[1,"2026-01-01T00:00:00Z"],{"model":{"price":"q"}}]', "'model'"),
        (b'[1,[1,"2026-01-01T00:00:00Z"],{"guarded":{"value":1}}]', "'guarded'"),
        (b'[1,[1,"2026-01-01T00:00:00Z"],{"ref":null,"z":"q"}]', "'z'"),
    ],
)
def test_a_stored_value_of_another_type_names_the_argument(payload: bytes, name: str) -> None:
    """A worker whose annotations changed says which stored argument no longer fits."""
    with pytest.raises(BadArguments) as caught:
        CallSpec.of(typed_task, "typed").decode(payload)
    assert caught.value.task == "typed"
    assert f"stored argument {name}" in caught.value.reason


def test_the_exact_way_reports_like_the_slow_one() -> None:
    """A task with only required parameters names the wrong argument too."""

    def task(first: int, second: int) -> None: ...

    with pytest.raises(BadArguments, match=r"stored argument 'second'.*Expected `int`, got `str`"):
        CallSpec.of(task, "task").decode(b'[1,[1,"x"]]')


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"[1,[]]", "missing 1 required argument: 'to'"),
        (b'[1,["a","b","c"]]', "but 3 were given"),
        (b'[1,["a"],{"cc":"b"}]', "unexpected keyword argument 'cc'"),
        (b'[1,["a"],{"to":"b"}]', "multiple values"),
    ],
)
def test_a_stored_call_of_an_older_signature_is_explained(payload: bytes, said: str) -> None:
    """Arguments that the code no longer takes are never dropped in silence."""
    with pytest.raises(BadArguments, match="the stored call does not fit") as caught:
        CallSpec.of(send_email, "send_email").decode(payload)
    assert said in caught.value.reason


def test_a_default_of_none_admits_none() -> None:
    """`at: datetime = None`, as older code writes it, takes None and datetimes."""

    def task(at: dt.datetime = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    spec = CallSpec.of(task, "task")
    assert spec.decode(b"[1,[null]]") == ((None,), {})
    assert spec.decode(b'[1,["2026-01-01T00:00:00Z"]]')[0][0] == dt.datetime(
        2026, 1, 1, tzinfo=dt.UTC
    )


def test_written_annotations_are_resolved() -> None:
    """Annotations written as text decode like the types they name."""

    def task(ref: "uuid.UUID", model: "Model | None" = None) -> "list[uuid.UUID]":
        assert model is None
        return [ref]

    spec = CallSpec.of(task, "task")
    ref = uuid.uuid4()
    assert spec.decode(spec.encode((ref,), {})) == ((ref,), {})
    assert ResultCodec.of(spec.returns).decode(b'["%s"]' % str(ref).encode()) == [ref]


def test_unannotated_values_lose_what_json_cannot_tell() -> None:
    """Without an annotation a set is a list and a UUID its text, as documented."""
    ref = uuid.uuid4()
    sent = ({1}, (2,), ref, Item(1.0), b"x", {3: 4})
    came, _ = ANYTHING.decode(ANYTHING.encode(sent, {}))
    assert came == ([1], [2], str(ref), {"price": 1.0, "at": None}, "eA==", {"3": 4})


def test_a_payload_over_the_limit_is_refused() -> None:
    """The limit is a number of bytes, 262,144 unless given, and the error says what to do."""
    room = 262_144 - len(b'[1,[""]]')
    assert len(ANYTHING.encode(("x" * room,), {})) == 262_144
    with pytest.raises(PayloadTooLarge, match=r"elsewhere.*262,145 bytes.*pass its id") as caught:
        ANYTHING.encode(("x" * (room + 1),), {})
    assert (caught.value.size, caught.value.limit) == (262_145, 262_144)
    with pytest.raises(PayloadTooLarge):
        ANYTHING.encode(("xx",), {}, limit=9)
    with pytest.raises(PayloadTooLarge, match="result"):
        ResultCodec.of().encode("xx", limit=3)
    assert ResultCodec.of().encode("xx", limit=4) == b'"xx"'


@pytest.mark.parametrize(
    "annotation", [None, type(None), Never, Any, object, inspect.Signature.empty]
)
def test_a_result_without_a_type_is_plain_json(annotation: object) -> None:
    """A task that promises no value may still return one, and it can be read."""
    codec = ResultCodec.of(annotation)
    assert codec.encode(None) == b"null"
    assert codec.decode(b"null") is None
    assert codec.decode(codec.encode({"a": [1]})) == {"a": [1]}


@pytest.mark.parametrize("payload", [b'"x"', b"", b"\x80\x04", b"[" * 100_000, b"\xff"])
def test_a_result_that_does_not_fit_is_stored_but_not_decoded(payload: bytes) -> None:
    """Who waits for a result of the wrong type learns what was expected and what is stored."""
    codec = ResultCodec.of(int)
    assert codec.encode("x") == b'"x"'
    with pytest.raises(PayloadError, match="result cannot be read as int") as caught:
        codec.decode(payload)
    assert len(str(caught.value)) < 400


def test_a_result_that_cannot_be_built_is_a_payload_error() -> None:
    """Whatever a class raises while it is rebuilt, and nesting too deep, are payload errors."""
    with pytest.raises(PayloadError, match="result cannot be read as Guarded"):
        ResultCodec.of(Guarded).decode(b'{"value":1}')
    with pytest.raises(PayloadError, match="recursion"):
        ResultCodec.of().decode(b"[" * 100_000)


def test_pydantic_is_not_imported() -> None:
    """A program that uses no Pydantic model does not pay for importing it."""
    code = "import sys, treadle.core.payload.codec; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
