"""A cron expression, read as a whole."""

from __future__ import annotations

from typing import Final, NamedTuple

from treadle.core.when import fields
from treadle.core.when.text import TEXT_MAX, Piece, bad, words

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIVE: Final = (fields.MINUTE, fields.HOUR, fields.DAY, fields.MONTH, fields.WEEKDAY)
_SIX: Final = (fields.SECOND, *_FIVE)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTH_NAMES: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


class Expression(NamedTuple):
    """What an expression stands for: masks of the numbers that match (bit n for n)."""

    seconds: int
    minutes: int
    hours: int
    days: int
    months: int
    weekdays: int
    """Sunday is bit 0."""
    both_days: bool
    """Day of month and day of week must both match; else either is enough."""
    wildcard: bool
    """A field of the time of day begins with `*`, so clock changes are followed as they come."""
    spread: bool
    """It holds an `H`, so that it depends on a name."""


def parse(text: str, name: str = "") -> Expression:
    """Read an expression; `name` is what its `H` fields are spread by.

    Raises:
        TypeError: it is not a str.
        BadTrigger: it is no expression, or is due on no date of any year.
    """
    if not isinstance(text, str):
        raise TypeError(f"a cron expression is a str, not {type(text).__name__}")
    if len(text) > TEXT_MAX:
        why = f"it has {len(text):,} characters, and {TEXT_MAX:,} are the most"
        raise bad(text[: TEXT_MAX + 1], Piece("", TEXT_MAX), why)
    parts = words(text)
    if len(parts) == 1 and parts[0].text.startswith("@"):
        return parse(_nickname(text, parts[0]), name)
    if len(parts) not in (len(_FIVE), len(_SIX)):
        raise _miscounted(text, parts)
    kinds = _SIX if len(parts) == len(_SIX) else _FIVE
    readings = [
        fields.read(text, kind, part, name) for kind, part in zip(kinds, parts, strict=True)
    ]
    if kinds is _FIVE:
        readings.insert(0, fields.Reading(1, star=False, spread=False))
    second, minute, hour, day, month, weekday = readings
    both = day.star or weekday.star
    if both:
        _check_due(text, day.mask, month.mask, parts[-3])
    return Expression(
        second.mask,
        minute.mask,
        hour.mask,
        day.mask,
        month.mask,
        weekday.mask,
        both_days=both,
        wildcard=second.star or minute.star or hour.star,
        spread=any(reading.spread for reading in readings),
    )


def _nickname(text: str, part: Piece) -> str:
    known = NICKNAMES.get(part.text.lower())
    if known is not None:
        return known
    if part.text.lower() == "@reboot":
        raise bad(text, part, "@reboot is no time; use a start-up hook of the application")
    raise bad(text, part, f"there is no such nickname; there are {', '.join(NICKNAMES)}")


def _miscounted(text: str, parts: list[Piece]) -> Exception:
    count = len(parts)
    if count > len(_SIX):
        at = Piece(text[parts[len(_SIX)].start :], parts[len(_SIX)].start)
    else:
        at = Piece("", parts[-1].end if parts else 0)
    return bad(
        text,
        at,
        f"it has {count} field{'s' * (count != 1)}, and five are needed: minute, hour, day of "
        "month, month, day of week (a sixth, in front of them, is the second)",
    )


def _check_due(text: str, days: int, months: int, at: Piece) -> None:
    """Refuse dates that no year has; each other date meets every weekday within 400 years."""
    chosen = [number for number in range(12) if months >> number + 1 & 1]
    first = (days & -days).bit_length() - 1
    if first > max(_DAYS[number] for number in chosen):
        names = [_MONTH_NAMES[number] for number in chosen]
        said = f"{names[0]} has" if len(names) == 1 else f"{', '.join(names)} have"
        raise bad(text, at, f"it is never due: {said} no day {first}")
