"""The server's binary format: parameters as bytes, and the values of its answers.

Whole batches travel as arrays, one a column, so packing them is what an enqueue costs here. A
column whose values are all alike, as most are, is packed once. See the "Binary Format" of each
type in PostgreSQL's `*_send` functions; an array is (dimensions, has nulls, type, length, lower
bound) and then each element after its length, -1 for null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error
from typing import Any

from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format
from psycopg.types.bool import BoolBinaryLoader
from psycopg.types.numeric import Int2BinaryLoader, Int4BinaryLoader, Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader, TextBinaryLoader

from treadle.core.errors import StoreError

Value = bytes | None

_INT8, _TEXT, _BYTEA, _UUID = 20, 25, 17, 2950
_LONG = Struct(">q").pack
_LENGTH = Struct(">i").pack
_HEAD = Struct(">iiiii").pack
_EMPTY = Struct(">iii").pack
_NULL = _LENGTH(-1)
_LENGTH_8, _LENGTH_16 = _LENGTH(8), _LENGTH(16)
_HEAD_BYTES = 20


def int8(value: int | None) -> Value:
    """Pack a number.

    Raises:
        StoreError: it is larger than the store's numbers are.
    """
    if value is None:
        return None
    try:
        return _LONG(value)
    except error as problem:
        raise StoreError(f"{value} is out of the store's range, which is 64 bits") from problem


def boolean(value: bool) -> Value:  # noqa: FBT001 -- it is the value itself
    """Pack a truth value."""
    return b"\1" if value else b"\0"


def text(value: str | None) -> Value:
    """Pack a text."""
    return None if value is None else value.encode()


def lenient(value: str | None) -> str | None:
    """Make a text storable that no program names things by: a reason, a line of a log.

    The server's texts are UTF-8 without the character zero.
    """
    if value is None:
        return None
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def uuids(ids: Sequence[bytes]) -> bytes:
    """Pack an array of ids of 16 bytes."""
    if not ids:
        return _EMPTY(0, 0, _UUID)
    return _HEAD(1, 0, _UUID, len(ids), 1) + _LENGTH_16 + _LENGTH_16.join(ids)


def int8s(values: Sequence[int | None]) -> bytes:
    """Pack an array of numbers.

    Raises:
        StoreError: one is larger than the store's numbers are.
    """
    return _array(_INT8, values, _number)


def texts(values: Sequence[str | None]) -> bytes:
    """Pack an array of texts."""
    return _array(_TEXT, values, str.encode)


def blobs(values: Sequence[bytes | None]) -> bytes:
    """Pack an array of byte strings."""
    return _array(_BYTEA, values, bytes)


def _array(kind: int, values: Sequence[Any], pack: Callable[[Any], bytes]) -> bytes:
    count = len(values)
    if not count:
        return _EMPTY(0, 0, kind)
    first = values[0]
    if values.count(first) == count:
        return _HEAD(1, first is None, kind, count, 1) + _element(first, pack) * count
    head = _HEAD(1, None in values, kind, count, 1)
    return head + b"".join([_element(value, pack) for value in values])


def _element(value: Any, pack: Callable[[Any], bytes]) -> bytes:  # noqa: ANN401 -- of any type
    if value is None:
        return _NULL
    packed = pack(value)
    return _LENGTH(len(packed)) + packed


def _number(value: int) -> bytes:
    packed = int8(value)
    assert packed is not None
    return packed


class _ArrayLoader(Loader):
    """Reads an array of elements of one length, none of them null."""

    format = Format.BINARY

    def load(self, data: Buffer) -> list[bytes]:
        """Give the bytes of each element."""
        raw = bytes(data)
        if len(raw) <= _HEAD_BYTES:
            return []
        size = 4 + int.from_bytes(raw[_HEAD_BYTES : _HEAD_BYTES + 4], "big")
        return [raw[at + 4 : at + size] for at in range(_HEAD_BYTES, len(raw), size)]


class _NumbersLoader(_ArrayLoader):
    """Reads an array of numbers."""

    def load(self, data: Buffer) -> list[int]:  # type: ignore[override]
        """Give the numbers."""
        return [int.from_bytes(one, "big", signed=True) for one in super().load(data)]


class Types:
    """How values are read, whatever the application has told psycopg about its own."""

    connection = None

    def __init__(self) -> None:
        self.adapters = AdaptersMap()
        for oid, loader in _LOADERS.items():
            self.adapters.register_loader(oid, loader)


_LOADERS: dict[int, type[Loader]] = {
    16: BoolBinaryLoader,
    17: ByteaBinaryLoader,
    20: Int8BinaryLoader,
    21: Int2BinaryLoader,
    23: Int4BinaryLoader,
    25: TextBinaryLoader,
    1016: _NumbersLoader,
    2278: ByteaBinaryLoader,  # void, which is empty
    2950: ByteaBinaryLoader,  # uuid, as its 16 bytes
    2951: _ArrayLoader,
}
"""By the object id of the type (catalogue pg_type.dat)."""
TYPES = Types()
