"""Whatever a task's annotations promise, its arguments and result come back equal and typed.

Each kind of value goes through every place a value can stand in: by place, by keyword, in
`*args` and `**kwargs`, in a default's stead, inside containers and dataclasses, and as a result.
What is refused, and how calls are bound, is in `test_codec.py`.
"""

import contextlib
import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from treadle.core.errors import BadArguments, NotSerializable, PayloadError
from treadle.core.payload.codec import CallSpec, ResultCodec


class Colour(enum.Enum):
    """An enum of texts."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """An enum of numbers."""

    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: float


class Options(TypedDict):
    """A typed dict."""

    colour: Colour
    at: dt.datetime


@dataclasses.dataclass
class Node:
    """A dataclass that holds itself."""

    value: int
    at: dt.date | None = None
    children: "list[Node]" = dataclasses.field(default_factory=list)


class Order(msgspec.Struct):
    """A struct with a struct's own options."""

    id: uuid.UUID
    total: Decimal
    lines: tuple[str, ...] = ()


class Card(msgspec.Struct, tag=True):
    """One member of a tagged union."""

    number: str


class Transfer(msgspec.Struct, tag=True):
    """The other member of a tagged union."""

    iban: str


class Address(pydantic.BaseModel):
    """A Pydantic model inside another."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    street: str = pydantic.Field(alias="streetName")
    since: dt.datetime | None = None

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def shouted(self) -> str:
        """Give a field that is dumped but cannot be passed in."""
        return self.street.upper()


class Person(pydantic.BaseModel):
    """A Pydantic model with fields that JSON needs help for."""

    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    name: str
    photo: bytes = b""
    tags: frozenset[int] = frozenset()
    address: Address | None = None


@dataclasses.dataclass
class Letter:
    """A dataclass around a Pydantic model."""

    to: Person
    copies: list[Person]


# JSON carries offsets in whole minutes; a named zone's odd ones have a test of their own below.
zones = st.one_of(
    st.just(dt.UTC),
    st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m))),
)
instants = st.datetimes(timezones=zones)
floats = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
addresses = st.builds(
    lambda street, since: Address(streetName=street, since=since), texts, st.none() | instants
)
people = st.builds(
    Person,
    name=texts,
    photo=st.binary(),
    tags=st.frozensets(st.integers()),
    address=st.none() | addresses,
)
nodes = st.recursive(
    st.builds(Node, st.integers(), st.none() | st.dates()),
    lambda inner: st.builds(Node, st.integers(), st.none() | st.dates(), st.lists(inner)),
    max_leaves=5,
)
orders = st.builds(Order, st.uuids(), decimals, st.lists(texts).map(tuple))

KINDS: dict[str, tuple[Any, SearchStrategy[Any]]] = {
    "bool": (bool, st.booleans()),
    "int": (int, st.integers()),
    "float": (float, floats),
    "str": (str, texts),
    "bytes": (bytes, st.binary()),
    "datetime": (dt.datetime, instants),
    "date": (dt.date, st.dates()),
    "time": (dt.time, st.times(timezones=st.none() | zones)),
    "timedelta": (dt.timedelta, st.timedeltas()),
    "UUID": (uuid.UUID, st.uuids()),
    "Decimal": (Decimal, decimals),
    "str Enum": (Colour, st.sampled_from(Colour)),
    "int Enum": (Level, st.sampled_from(Level)),
    "set": (set[dt.date], st.sets(st.dates())),
    "frozenset": (frozenset[uuid.UUID], st.frozensets(st.uuids())),
    "tuple": (tuple[int, str, bytes], st.tuples(st.integers(), texts, st.binary())),
    "long tuple": (tuple[Colour, ...], st.lists(st.sampled_from(Colour)).map(tuple)),
    "NamedTuple": (Point, st.builds(Point, st.integers(), floats)),
    "TypedDict": (
        Options,
        st.fixed_dictionaries({"colour": st.sampled_from(Colour), "at": instants}),
    ),
    "dict": (dict[uuid.UUID, dt.datetime], st.dictionaries(st.uuids(), instants)),
    "int keys": (dict[int, list[Level]], st.dictionaries(st.integers(), st.just([Level.LOW]))),
    "dataclass": (Node, nodes),
    "Struct": (Order, orders),
    "tagged union": (Card | Transfer, st.builds(Card, texts) | st.builds(Transfer, texts)),
    "union of kinds": (int | str | None | list[int], st.none() | st.integers() | texts),
    "number or instant": (int | dt.datetime, st.integers() | instants),
    "Decimal or number": (Decimal | float, decimals | floats),
    "struct or number": (Order | int, orders | st.integers()),
    "Pydantic model": (Person, people),
    "model in a dataclass": (Letter, st.builds(Letter, people, st.lists(people, max_size=2))),
    "object": (object, st.integers() | texts | st.none()),
}

Values = SearchStrategy[Any]

EXAMPLES_A_KIND = 40
"""Four tests go through every kind: fewer examples each keep the file under ten seconds."""

in_each_kind = pytest.mark.parametrize(("hint", "values"), KINDS.values(), ids=KINDS.keys())


def spec_of(fn: Callable[..., Any], **annotations: Any) -> CallSpec:  # noqa: ANN401 -- any at all
    """Make the spec of a function that is annotated with types chosen by the test."""
    fn.__annotations__ = annotations
    return CallSpec.of(fn, "task")


def same(came: object, went: object) -> bool:
    """Compare with the type: 1 is neither 1.0 nor True."""
    return came == went and type(came) is type(went)


def through(spec: CallSpec, *args: object, **kwargs: object) -> tuple[Any, ...]:
    """Send a call through its bytes and give its arguments, then its keywords."""
    return spec.decode(spec.encode(args, kwargs))


@in_each_kind
@settings(max_examples=EXAMPLES_A_KIND)
@given(data=st.data())
def test_an_argument_comes_back(hint: object, values: Values, data: st.DataObject) -> None:
    """A value passed by place, by keyword, in `*args` or in `**kwargs` comes back typed."""

    def task(value: object, *rest: object, named: object = None, **more: object) -> None: ...

    def only(value: object) -> None: ...

    spec = spec_of(task, value=hint, rest=hint, named=hint, more=hint)
    exact = spec_of(only, value=hint)
    one, two, three, four = data.draw(st.tuples(values, values, values, values))

    args, kwargs = through(spec, one, two, named=three, other=four)
    assert same(args[0], one)
    assert same(args[1], two)
    assert same(kwargs["named"], three)
    assert same(kwargs["other"], four)
    assert same(through(exact, one)[0][0], one)
    assert same(through(exact, value=two)[1]["value"], two)


@in_each_kind
@settings(max_examples=EXAMPLES_A_KIND)
@given(data=st.data())
def test_a_nested_argument_comes_back(hint: Any, values: Values, data: st.DataObject) -> None:  # noqa: ANN401 -- a hint may be any object
    """A value inside a list, dict, tuple, dataclass, Struct or `Optional` comes back typed."""

    def task(*boxes: object) -> None: ...

    holder: Any = dataclasses.make_dataclass("Holder", [("inner", list[hint])])
    struct: Any = msgspec.defstruct("Box", [("inner", dict[str, hint])])
    spec = spec_of(
        task, boxes=tuple[list[hint], dict[str, hint], hint | None, list[holder] | None, struct]
    )
    one, two, three = data.draw(st.tuples(values, values, st.none() | values))
    box = ([one, two], {"k": two}, three, [holder([one])], struct({"k": two}))

    (came,), kwargs = through(spec, box)
    assert kwargs == {}
    assert came == box
    for back, sent in zip(came[0], box[0], strict=True):
        assert same(back, sent)
    assert same(came[2], three)
    assert same(came[3][0].inner[0], one)


@in_each_kind
@settings(max_examples=EXAMPLES_A_KIND)
@given(data=st.data())
def test_a_result_comes_back(hint: object, values: Values, data: st.DataObject) -> None:
    """What a task returns comes back by its return annotation."""
    codec = ResultCodec.of(hint)
    value = data.draw(values)
    assert same(codec.decode(codec.encode(value)), value)


@in_each_kind
@settings(max_examples=EXAMPLES_A_KIND)
@given(data=st.data())
def test_defaults_are_the_functions_own(hint: object, values: Values, data: st.DataObject) -> None:
    """A default is not stored; a value given in its stead comes back typed."""
    default, other = data.draw(st.tuples(values, values))

    def task(first: int, value: object = default) -> tuple[int, object]:
        return first, value

    spec = spec_of(task, first=int, value=hint)
    assert spec.encode((1,), {}) == b"[1,[1]]"
    args, kwargs = through(spec, 1)
    assert task(*args, **kwargs)[1] is default
    args, kwargs = through(spec, 1, other)
    assert same(task(*args, **kwargs)[1], other)
    args, kwargs = through(spec, 1, value=other)
    assert same(task(*args, **kwargs)[1], other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)


@given(value=JSON, keywords=st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), JSON))
def test_plain_values_need_no_annotation(value: object, keywords: dict[str, object]) -> None:
    """JSON's own values come back equal from a task whose code is not here."""
    args, kwargs = through(CallSpec.anything("elsewhere"), value, **keywords)
    assert args == (value,)
    assert kwargs == keywords


@given(at=st.datetimes(timezones=st.timezones(), allow_imaginary=False))
def test_a_named_zone_keeps_its_instant(at: dt.datetime) -> None:
    """A datetime of a named zone comes back as the same instant, or is refused; never moved."""

    def task(at: dt.datetime) -> None: ...

    spec = CallSpec.of(task, "task")
    offset = at.utcoffset()
    assert offset is not None
    if offset % dt.timedelta(minutes=1):
        with pytest.raises(NotSerializable, match="whole minutes"):
            spec.encode((at,), {})
        return
    (came,), _ = through(spec, at)
    assert came.replace(tzinfo=None) == at.replace(tzinfo=None)
    assert came.utcoffset() == offset


@given(payload=st.binary() | JSON.map(msgspec.json.encode))
def test_any_bytes_are_data_or_an_error(payload: bytes) -> None:
    """Stored bytes, whatever they are, decode to plain values or raise the codec's errors."""
    with contextlib.suppress(PayloadError, BadArguments):
        args, kwargs = CallSpec.anything("task").decode(payload)
        assert isinstance(args, tuple)
        assert isinstance(kwargs, dict)
