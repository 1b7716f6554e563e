"""One field of a cron expression: which numbers does it stand for?

Vixie's forms: `*`, `5`, `1-5`, `*/10`, `1-30/5`, lists of them by commas, and the names of
months and weekdays in any case. Beyond Vixie: `5/10` counts from 5 to the end of the field,
`fri-sun` ends on Sunday although Sunday is 0, and `H` is a number spread by a name.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from treadle.core.when.text import Piece, bad

_DIGITS_MAX: Final = 9
"""More digits than any sensible number here; int() of a long text would take its time."""


class Field(NamedTuple):
    """What one field may hold."""

    name: str
    low: int
    high: int
    spread_high: int
    """The last number that `H` may choose: every month has a day 28."""
    names: tuple[str, ...] = ()
    """Names of the numbers from `low` on."""


_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

SECOND: Final = Field("second", 0, 59, 59)
MINUTE: Final = Field("minute", 0, 59, 59)
HOUR: Final = Field("hour", 0, 23, 23)
DAY: Final = Field("day of month", 1, 31, 28)
MONTH: Final = Field("month", 1, 12, 12, _MONTHS)
WEEKDAY: Final = Field("day of week", 0, 7, 6, _WEEKDAYS)


class Reading(NamedTuple):
    """What a field stands for."""

    mask: int
    """Bit n is set where n matches; Sunday is bit 0 alone."""
    star: bool
    """The field begins with `*`, which Vixie's rules treat apart."""
    spread: bool
    """It holds an `H`, so that it depends on a name."""


def read(whole: str, field: Field, piece: Piece, name: str) -> Reading:
    """Read a field.

    Raises:
        BadTrigger: it is no field of this kind; shows where.
    """
    mask, spread = 0, False
    for item in piece.items(","):
        reader = _Item(whole, field, name)
        mask |= reader.read(item)
        spread = spread or reader.spread
    if field is WEEKDAY and mask >> 7:
        mask = mask & 0x7F | 1
    return Reading(mask, piece.text.startswith("*"), spread)


class _Item:
    """One item of a field's list."""

    def __init__(self, whole: str, field: Field, name: str) -> None:
        self.spread = False
        self._whole = whole
        self._field = field
        self._name = name

    def read(self, item: Piece) -> int:
        if not item.text:
            raise bad(self._whole, item, f"an item of the {self._field.name} list is missing")
        head, step = item.split("/")
        if head.text[:1] in ("H", "h"):
            return self._hashed(head, step)
        low, high = self._range(head, step)
        if step is None:
            return _mask(low, high, 1)
        return _mask(low, high, self._step(step, low, high))

    def _range(self, head: Piece, step: Piece | None) -> tuple[int, int]:
        field = self._field
        if head.text == "*":
            return field.low, field.high
        first, last = head.split("-")
        low = self._number(first)
        if last is None:
            return low, low if step is None else field.high
        high = self._number(last)
        if field is WEEKDAY and high == 0 and low > 0 and last.text.lower() == "sun":
            high = 7
        if low > high:
            raise bad(
                self._whole,
                head,
                f"the {field.name} range is reversed: {low} comes after {high}; "
                f"for both ends write {low}-{field.high},{field.low}-{high}",
            )
        return low, high

    def _number(self, piece: Piece) -> int:
        field, text = self._field, piece.text
        if text.isascii() and text.isdigit():
            number = int(text) if len(text) <= _DIGITS_MAX else 10**_DIGITS_MAX
            if field.low <= number <= field.high:
                return number
            shown = text if len(text) <= _DIGITS_MAX else "a number of so many digits"
            raise bad(
                self._whole, piece, f"{shown} is no {field.name}, {field.low} to {field.high}"
            )
        if text.lower() in field.names:
            return field.low + field.names.index(text.lower())
        raise bad(self._whole, piece, self._not_known(text))

    def _not_known(self, text: str) -> str:
        field = self._field
        if not text:
            return f"a {field.name} is missing"
        named = f" or a name ({', '.join(field.names)})" if field.names else ""
        said = "this" if len(text) > 2 * _DIGITS_MAX else repr(text)
        return f"{said} is no {field.name}: it takes {field.low} to {field.high}{named}"

    def _step(self, piece: Piece, low: int, high: int) -> int:
        text, field = piece.text, self._field
        if not (text.isascii() and text.isdigit()):
            raise bad(self._whole, piece, "the step after / is a number")
        step = int(text) if len(text) <= _DIGITS_MAX else 10**_DIGITS_MAX
        if step == 0:
            raise bad(self._whole, piece, "a step of 0 never moves on; the smallest is 1")
        if step > field.high - field.low + 1:
            raise bad(
                self._whole,
                piece,
                f"the step is larger than the whole field, {field.low} to {field.high}, so only "
                f"the first of {low}-{high} would match; write {low} if you mean that",
            )
        return step

    def _hashed(self, head: Piece, step: Piece | None) -> int:
        """Read `H`, `H(0-29)`, `H/15` and `H(0-29)/10`."""
        self.spread = True
        low, high = self._bounds(head)
        digest = sha256(f"{self._field.name}\0{self._name}".encode("utf-8", "replace")).digest()
        number = int.from_bytes(digest[:8], "big")
        if step is None:
            return 1 << low + number % (high - low + 1)
        every = self._step(step, low, high)
        return _mask(low + number % min(every, high - low + 1), high, every)

    def _bounds(self, head: Piece) -> tuple[int, int]:
        inner = Piece(head.text[1:], head.start + 1)
        if not inner.text:
            return self._field.low, self._field.spread_high
        if not (inner.text.startswith("(") and inner.text.endswith(")") and "-" in inner.text):
            raise bad(self._whole, inner, "after H comes nothing, /step or a range: H(0-29)")
        low, high = self._range(Piece(inner.text[1:-1], inner.start + 1), None)
        if self._field is WEEKDAY and high > self._field.spread_high:
            high = self._field.spread_high
        return min(low, high), high


def _mask(low: int, high: int, step: int) -> int:
    mask = 0
    for number in range(low, high + 1, step):
        mask |= 1 << number
    return mask
