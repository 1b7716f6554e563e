"""Which values are refused, and the path by which each error names them.

That all others come back equal is the subject of `test_codec_roundtrip.py`.
"""

import dataclasses
import datetime as dt
import enum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest

from treadle.core.errors import (
    NotSerializable,
)
from treadle.core.payload.codec import CallSpec, ResultCodec

NAN = float("nan")
NAIVE = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 -- naive datetimes are the subject.
ODD_OFFSET = dt.datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))
ANYTHING = CallSpec.anything("elsewhere")


@dataclasses.dataclass
class Item:
    """A dataclass argument."""

    price: float
    at: object = None


class Point(NamedTuple):
    """A named tuple argument."""

    x: float
    y: float


class Odd(enum.Enum):
    """An enum whose member is not a number."""

    MISSING = NAN


class Box(msgspec.Struct):
    """A struct argument."""

    inner: object


class Model(pydantic.BaseModel):
    """A Pydantic argument."""

    price: float = 1.0
    at: dt.datetime | None = None
    parts: "list[Model]" = []


class Fragile(pydantic.BaseModel):
    """A model that cannot be dumped."""

    value: int

    @pydantic.field_serializer("value")
    def broken(self, value: int) -> str:
        """Fail as a slip in a serializer does."""
        raise AttributeError(value)


class Picky:
    """An object that JSON has no form for."""


def cyclic() -> list[object]:
    """Make a list that holds itself."""
    items: list[object] = []
    items.append(items)
    return items


def deep() -> list[object]:
    """Make a list nested far beyond what any encoder can follow."""
    items: list[object] = []
    for _ in range(100_000):
        items = [items]
    return items


UNFIT = [
    (NAN, "args[0]", "float"),
    (float("-inf"), "args[0]", "float"),
    (Item(NAN), "args[0].price", "float"),
    ([1, {"a": [None, {"b": NAN}]}], "args[0][1]['a'][1]['b']", "float"),
    (Box((1, NAN)), "args[0].inner[1]", "float"),
    (Point(1.0, NAN), "args[0].y", "float"),
    ([Odd.MISSING], "args[0][0].value", "float"),
    (Model(price=NAN), "args[0].price", "float"),
    ([Model(parts=[Model(price=NAN)])], "args[0][0].parts[0]['price']", "float"),
    (NAIVE, "args[0]", "datetime"),
    ([Item(1.0, NAIVE)], "args[0][0].at", "datetime"),
    ({"when": (NAIVE,)}, "args[0]['when'][0]", "datetime"),
    ({NAIVE: 1}, "args[0] key 2026-01-02 03:04:05", "datetime"),
    ({frozenset({NAIVE})}, "args[0][0][0]", "datetime"),
    (Model(at=NAIVE), "args[0].at", "datetime"),
    (ODD_OFFSET, "args[0]", "datetime"),
]


@pytest.mark.parametrize(("value", "where", "kind"), UNFIT)
def test_a_value_that_json_would_change_is_refused(value: object, where: str, kind: str) -> None:
    """NaN, Infinity and naive datetimes are errors that name the path, wherever they hide."""
    with pytest.raises(NotSerializable) as caught:
        ANYTHING.encode((value,), {})
    assert (caught.value.where, caught.value.value_type) == (where, kind)
    with pytest.raises(NotSerializable) as caught:
        ANYTHING.encode((), {"k": [None, value]})
    assert caught.value.where == where.replace("args[0]", "kwargs['k'][1]")
    with pytest.raises(NotSerializable) as caught:
        ResultCodec.of().encode(value)
    assert caught.value.where == where.replace("args[0]", "result")


def test_texts_that_look_doubtful_are_stored() -> None:
    """The words null and NaN, and times in texts, are texts."""
    sent = ("null", "NaN", "2026-01-02T03:04:05", None, 1.5, '"T10:00:00"', dt.time(1, 2, 3))
    came, _ = ANYTHING.decode(ANYTHING.encode(sent, {}))
    assert came == (*sent[:-1], "01:02:03")


UNSTORABLE = [
    (Picky(), "args[0]", "Picky"),
    ([1, {"k": len}], "args[0][1]['k']", "builtin_function_or_method"),
    (Item(1.0, Picky()), "args[0].at", "Picky"),
    (Box([Picky()]), "args[0].inner[0]", "Picky"),
    (Item, "args[0]", "type"),
    (3j, "args[0]", "complex"),
    (iter(()), "args[0]", "tuple_iterator"),
    ("\ud800", "args[0]", "str"),
    ({"a": {"b\ud800": 1}}, "args[0]['a'] key 'b\\ud800'", "str"),
    ({(1, 2): 3}, "args[0] key tuple", "tuple"),
    ({None: 3}, "args[0] key NoneType", "NoneType"),
    ([10**5_000], "args[0][0]", "int"),
    ([Fragile(value=1)], "args[0][0]", "Fragile"),
    (cyclic(), "args[0]", "list"),
    ({"k": cyclic()}, "args[0]", "dict"),
]


@pytest.mark.parametrize(("value", "where", "kind"), UNSTORABLE, ids=range(len(UNSTORABLE)))
def test_a_value_without_a_json_form_names_its_path(value: object, where: str, kind: str) -> None:
    """What JSON cannot carry is refused with the path to it, its type and what to do."""
    with pytest.raises(NotSerializable) as caught:
        ANYTHING.encode((value,), {})
    assert (caught.value.where, caught.value.value_type) == (where, kind)
    assert str(caught.value).startswith(where)


def test_a_value_nested_too_deeply_is_refused() -> None:
    """A list nested a hundred thousand deep is an error, not a crash."""
    value = deep()
    with pytest.raises(NotSerializable, match=r"kwargs\['deep'\] \(list\).*nested too deeply"):
        ANYTHING.encode((), {"deep": value})
    while value:  # Taken apart by hand: freeing it at once would recurse as deep.
        value = value.pop()  # type: ignore[assignment]


def test_a_keyword_that_is_not_text_is_refused() -> None:
    """A lone surrogate in the name of a keyword is found too."""
    with pytest.raises(NotSerializable, match="kwargs key"):
        ANYTHING.encode((), {"a\ud800": 1})


def test_whole_numbers_have_no_limit_of_64_bits() -> None:
    """Integers beyond 64 bits come back exactly, annotated or not."""

    def task(value: int) -> None: ...

    for spec in (ANYTHING, CallSpec.of(task, "task")):
        for value in (2**64, -(2**63) - 1, 10**400):
            assert spec.decode(spec.encode((value,), {})) == ((value,), {})


def test_subclasses_of_plain_types_are_stored_plain() -> None:
    """Marked-safe strings and the datetimes of other libraries are stored as what they extend."""
    plain: tuple[Any, ...] = (
        "x",
        7,
        1.5,
        b"x",
        dt.date(2026, 1, 2),
        dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    )
    odd = tuple(type("Odd", (type(v),), {})(v) for v in plain[:4])
    days = (
        type("Day", (dt.date,), {})(2026, 1, 2),
        type("Instant", (dt.datetime,), {})(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    )
    assert ANYTHING.encode((*odd, *days), {}) == ANYTHING.encode(plain, {})
    with pytest.raises(NotSerializable, match="naive"):
        ANYTHING.encode((type("Instant", (dt.datetime,), {})(2026, 1, 2),), {})


@pytest.mark.parametrize("depth", [500, 900, 990, 1_200])
def test_what_is_stored_can_be_read_again_however_deep(depth: int) -> None:
    """A nested list is refused where it is enqueued, or comes back: never stored unreadable."""
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    try:
        stored = ANYTHING.encode((value,), {})
    except NotSerializable as error:
        assert "too deep" in str(error)  # noqa: PT017 -- either answer is right
    else:
        assert ANYTHING.decode(stored) == ((value,), {})


def test_many_flat_lists_are_not_deep() -> None:
    """The number of brackets alone refuses nothing."""
    value = [[n] for n in range(1_000)]
    assert ANYTHING.decode(ANYTHING.encode((value,), {})) == ((value,), {})
