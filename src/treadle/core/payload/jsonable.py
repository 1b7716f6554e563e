"""What does a value look like as JSON, and if it cannot be JSON, which part of it is to blame?

`pack` is the way in: it encodes with one shared encoder and refuses what JSON would silently
change (NaN and Infinity become null, a naive datetime means another instant on another machine).
The search for the guilty part runs only when the encoder failed or the bytes look doubtful.
Models of other libraries are met by duck typing; nothing here imports them. Whether a type can
be decoded is the question of `payload.annotations`.
"""

import dataclasses
import datetime as dt
import enum
import functools
import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from treadle.core.errors import NotSerializable, PayloadTooLarge

PAYLOAD_BYTES_MAX: Final = 262_144

# Deep enough to name any part of a real payload; a path longer than this helps nobody.
_BLAME_DEPTH_MAX = 32
_LABEL_CHARS_MAX = 60

# The end of a datetime written without a zone, or with an offset other than Z. It begins with a
# literal byte, so `re` skips through text at about half a microsecond a kilobyte.
_DOUBTFUL_TIME = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d+)?["+-]').search

_SURE_TYPES = frozenset(
    {str, int, bool, type(None), bytes, Decimal, UUID, dt.date, dt.time, dt.timedelta}
)

_LEAF_TYPES = frozenset({float, dt.datetime})

# msgspec refuses subclasses of these. Marked-safe strings, NumPy floats and the datetimes of
# other libraries are such subclasses, and lose nothing that JSON could have kept.
_PLAIN_FORMS: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, bytes.__bytes__),
    (dt.datetime, lambda at: dt.datetime.combine(dt.date(at.year, at.month, at.day), at.timetz())),
    (dt.date, lambda day: dt.date(day.year, day.month, day.day)),
)

Parts = Callable[[Any], Iterable[tuple[str, object]]]
"""Gives the named values inside an encoded message, such as `("args", (1, 2))`."""


def is_model(cls: object) -> bool:
    """Tell whether a class is a Pydantic model, or behaves like one."""
    return (
        isinstance(cls, type) and hasattr(cls, "model_validate_json") and hasattr(cls, "model_dump")
    )


def to_plain(value: object) -> object:
    """Give the JSON form of an object that msgspec does not know (its `enc_hook`).

    Raises:
        TypeError: the object has no such form.
    """
    if is_model(type(value)):
        model: Any = value
        by_alias = not _takes_names(model.__class__)
        return model.model_dump(mode="json", round_trip=True, by_alias=by_alias)
    for base, plain in _PLAIN_FORMS:
        if isinstance(value, base):
            return plain(value)
    raise TypeError("JSON has no form for it")


def from_plain(cls: type, value: object) -> object:
    """Rebuild an object of a class that msgspec does not know (its `dec_hook`).

    Models validate JSON text, not Python values: strict models and models with base64 bytes
    would refuse or change values that are right as JSON.
    """
    if not is_model(cls):
        return value
    model: Any = cls
    text = encode_plain(value)
    if _takes_names(model):
        return model.model_validate_json(text, by_name=True, by_alias=True)
    return model.model_validate_json(text)


_DEPTH_SAFE: Final = 200
"""So many brackets cannot be nested too deep, however they stand."""

encode_plain: Final = msgspec.json.Encoder(enc_hook=to_plain).encode


def pack(value: object, parts: Parts, whole: str, limit: int) -> bytes:
    """Encode `value`, or say which of its `parts` cannot be stored and why.

    `parts(value)` gives the named values to search; it is called only when something is wrong.
    Bytes without `null` and without a doubtful time hold neither NaN nor a naive datetime, so
    most calls end after two substring searches; the others pay for one walk over their values.

    Raises:
        NotSerializable: names the path to the value, its type and what to do.
        PayloadTooLarge: the encoded value is over `limit` bytes.
    """
    try:
        payload = encode_plain(value)
    except Exception as error:
        raise _blame(parts(value), error) from error
    if len(payload) > limit:
        raise PayloadTooLarge(whole, len(payload), limit)
    if payload.count(b"[") + payload.count(b"{") > _DEPTH_SAFE:
        _check_depth(payload, whole)
    if (b"null" in payload or _DOUBTFUL_TIME(payload)) and _holds_unfit(parts(value)):
        raise _first_unfit(parts(value))
    return payload


def _check_depth(payload: bytes, whole: str) -> None:
    """Make sure that what was written can be read again: reading nests less deep than writing."""
    try:
        msgspec.json.decode(payload)
    except RecursionError as error:
        raise NotSerializable(
            whole, "nested values", "they are nested too deep to be read again; flatten them"
        ) from error


@functools.lru_cache(maxsize=256)
def _takes_names(cls: Hashable) -> bool:
    """Tell whether a model can be validated by field names; Pydantic before 2.11 cannot."""
    model: Any = cls
    return "by_name" in inspect.signature(model.model_validate_json).parameters


def _holds_unfit(parts: Iterable[tuple[str, object]]) -> bool:
    """Tell whether any value inside would change its meaning; builds no paths, to be quick."""
    pending: list[Any] = [value for _, value in parts]
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _SURE_TYPES:
            continue
        if kind is list or kind is tuple:
            pending.extend(value)
        elif kind is dict:
            pending.extend(value.values())
            pending.extend(key for key in value if isinstance(key, dt.datetime))
        elif _unfitness(value):
            return True
        elif kind not in _LEAF_TYPES:
            pending.extend(child for _, child in _children(value))
    return False


def _first_unfit(parts: Iterable[tuple[str, object]]) -> NotSerializable:
    """Find the first value, in reading order, that would change its meaning."""
    pending = list(parts)[::-1]
    path, value, reason = "", None, None
    while pending and reason is None:
        path, value = pending.pop()
        reason = _unfitness(value)
        pending.extend([(path + step, child) for step, child in _children(value)][::-1])
    assert reason is not None, "called only when some part is unfit"
    return NotSerializable(path, type(value).__qualname__, reason)


def _unfitness(value: object) -> str | None:
    """Say why JSON would silently change this one value, apart from its children."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"JSON has no {value}; pass None, or the number as a str"
    if not isinstance(value, dt.datetime):
        return None
    offset = value.utcoffset()
    if offset is None:
        return "it is naive; attach a timezone, as in datetime.now(UTC)"
    if offset % dt.timedelta(minutes=1):
        return f"its offset {offset} is not in whole minutes; convert it with .astimezone(UTC)"
    return None


def _blame(parts: Iterable[tuple[str, object]], error: Exception) -> NotSerializable:
    """Find the innermost value that cannot be encoded, by encoding the children of each level."""
    path, value = "", None
    children = parts
    for depth in range(_BLAME_DEPTH_MAX):
        failing = next(((step, v, e) for step, v in children if (e := _failure(v))), None)
        if failing is None:
            break
        step, value, error = failing
        path += step
        if isinstance(error, RecursionError) and depth:
            break  # Every level below fails too; the argument says enough.
        children = _children(value)
    bad_key = _bad_key(value) if isinstance(value, dict) else None
    if bad_key is not None:
        key, reason = bad_key
        return NotSerializable(f"{path} key {_label(key)}", type(key).__qualname__, reason)
    return NotSerializable(path or "the payload", type(value).__qualname__, _wording(error))


def _bad_key(value: dict[object, object]) -> tuple[object, str] | None:
    """Find the first key that cannot be the text of a JSON key, and say why."""
    for key in value:
        error = _failure({key: None})
        if isinstance(error, UnicodeError):
            return key, _wording(error)
        if error is not None:
            return key, "the keys of a JSON object are text; use str, int, UUID or Enum keys"
    return None


def _failure(value: object) -> Exception | None:
    """Encode one value alone and give what it fails with."""
    try:
        encode_plain(value)
    except Exception as error:  # noqa: BLE001 -- a model's own serializer may raise anything.
        return error
    return None


def _wording(error: Exception) -> str:
    """Say why the encoder gave up, and what to do."""
    if isinstance(error, RecursionError):
        return "it contains itself or is nested too deeply; pass an id, or a flat list"
    if isinstance(error, UnicodeError):
        return "its text has a lone surrogate, which UTF-8 cannot carry; clean it, or pass bytes"
    if "unsupported" in str(error) or "no form" in str(error):
        return "JSON has no form for it; pass an id and load the object inside the task"
    return f"{error}; pass an id, or a value made of plain types"


def _children(value: object) -> Iterator[tuple[str, object]]:
    """Yield the values inside `value` that the encoder writes, each with its step in the path."""
    if isinstance(value, dict):
        # Of the keys only datetimes can change their meaning: other keys come back or fail.
        yield from ((f" key {key}", key) for key in value if isinstance(key, dt.datetime))
        yield from ((f"[{_label(key)}]", child) for key, child in value.items())
    elif isinstance(value, enum.Enum):
        yield ".value", value.value
    elif isinstance(value, (list, tuple, set, frozenset)):
        names = getattr(value, "_fields", ())
        for place, child in enumerate(value):
            yield f".{names[place]}" if names else f"[{place}]", child
    else:
        yield from ((f".{name}", child) for name, child in _fields(value))


def _fields(value: object) -> Iterable[tuple[str, object]]:
    """List the fields of a Struct, dataclass, attrs object or model; nothing for other objects."""
    if is_model(type(value)):
        return _model_fields(value)
    if isinstance(value, msgspec.Struct):
        names: Iterable[str] = value.__struct_fields__
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
    else:
        names = (field.name for field in getattr(type(value), "__attrs_attrs__", ()))
    return [(name, getattr(value, name)) for name in names if hasattr(value, name)]


def _model_fields(value: object) -> Iterable[tuple[str, object]]:
    """List what a model dumps before it becomes JSON text, where datetimes are still datetimes."""
    model: Any = value
    try:
        dumped = model.model_dump(round_trip=True)
    except Exception:  # noqa: BLE001 -- the model itself is to blame then, not a part of it.
        return ()
    return dumped.items() if isinstance(dumped, dict) else (("root", dumped),)


def _label(key: object) -> str:
    """Write a key for a path, without trusting its repr or its length."""
    if isinstance(key, (str, int)):
        shown = repr(key)
        return shown if len(shown) <= _LABEL_CHARS_MAX else shown[:_LABEL_CHARS_MAX] + "..."
    return type(key).__qualname__
