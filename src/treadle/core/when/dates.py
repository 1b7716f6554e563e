"""Which local time matches an expression next? Calendar arithmetic without any zone."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Final

from treadle.core.when.parse import Expression

YEAR_FIRST: Final = 2
YEAR_LAST: Final = 9_998
"""A year is left at both ends, so that no zone leads out of what a datetime can hold."""
_CYCLE: Final = 400
"""Years after which dates and weekdays repeat."""


def first(expression: Expression, start: datetime) -> datetime | None:
    """Give the first matching naive local time at or after `start`, which has whole seconds.

    None: there is none before the year 9999.
    """
    if _is_day(expression, start.date()):
        found = _time(expression, start.time())
        if found is not None:
            return datetime.combine(start.date(), found)
    earliest = _earliest(expression)
    for day in _dates(expression, start.date()):
        if day > start.date():
            return datetime.combine(day, earliest)
    return None


def _earliest(expression: Expression) -> time:
    hour, minute, second = (_lowest(mask, 0) or 0 for mask in _clock(expression))
    return time(hour, minute, second)


def _clock(expression: Expression) -> tuple[int, int, int]:
    return expression.hours, expression.minutes, expression.seconds


def _lowest(mask: int, at_least: int) -> int | None:
    """Give the lowest number in the mask that is not below `at_least`."""
    rest = mask >> at_least
    return at_least + (rest & -rest).bit_length() - 1 if rest else None


def _time(expression: Expression, start: time) -> time | None:
    """Give the first matching time of day at or after `start`."""
    hours, minutes, seconds = _clock(expression)
    hour = _lowest(hours, start.hour)
    if hour is None:
        return None
    if hour == start.hour:
        minute = _lowest(minutes, start.minute)
        if minute == start.minute:
            second = _lowest(seconds, start.second)
            if second is not None:
                return time(hour, start.minute, second)
            minute = _lowest(minutes, start.minute + 1)
        if minute is not None:
            return time(hour, minute, _lowest(seconds, 0) or 0)
        hour = _lowest(hours, start.hour + 1)
        if hour is None:
            return None
    return time(hour, _lowest(minutes, 0) or 0, _lowest(seconds, 0) or 0)


def _dates(expression: Expression, start: date) -> Iterator[date]:
    """Give the matching dates from `start` on, for one cycle of the calendar."""
    last = min(start.year + _CYCLE, YEAR_LAST)
    for year in range(start.year, last + 1):
        first_month = start.month if year == start.year else 1
        for month in range(first_month, 13):
            if expression.months >> month & 1:
                first_day = start.day if (year, month) == (start.year, start.month) else 1
                yield from _days(expression, year, month, first_day)


def _days(expression: Expression, year: int, month: int, first_day: int) -> Iterator[date]:
    """Give the matching dates of one month."""
    weekday, length = monthrange(year, month)
    for day in range(first_day, length + 1):
        # The calendar counts from Monday, cron from Sunday.
        if _fits(expression, day, (weekday + day) % 7):
            yield date(year, month, day)


def _fits(expression: Expression, day: int, weekday: int) -> bool:
    on_day = bool(expression.days >> day & 1)
    on_weekday = bool(expression.weekdays >> weekday & 1)
    return (on_day and on_weekday) if expression.both_days else (on_day or on_weekday)


def _is_day(expression: Expression, day: date) -> bool:
    return bool(expression.months >> day.month & 1) and _fits(
        expression, day.day, day.isoweekday() % 7
    )
