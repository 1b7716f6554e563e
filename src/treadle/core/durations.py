"""Durations and instants: how seconds and datetimes become whole microseconds.

Inside treadle every duration is an int of microseconds and every instant an int of
microseconds since 1970-01-01 UTC, so that no rounding differs between stores.
Public calls take seconds (int or float) or `timedelta`, and aware datetimes.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

Duration = int | float | timedelta

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
# 100 years: far beyond any sensible delay, and far below what a 64-bit column overflows at.
DURATION_MAX = 36_525 * DAY


def to_us(value: Duration, name: str) -> int:
    """Turn seconds or a timedelta into whole microseconds.

    Raises:
        TypeError: `value` is neither a number nor a timedelta.
        ValueError: it is negative, not finite, or over 100 years.
    """
    if isinstance(value, timedelta):
        micros = value // _MICROSECOND
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be seconds (int or float) or a timedelta, not {type(value).__name__}"
        raise TypeError(msg)
    elif isinstance(value, float) and not math.isfinite(value):
        msg = f"{name} must be finite, not {value}"
        raise ValueError(msg)
    else:
        micros = round(value * SECOND)
    if not 0 <= micros <= DURATION_MAX:
        msg = f"{name} must be between 0 s and 100 years, not {value}"
        raise ValueError(msg)
    return micros


def instant_us(value: object, name: str) -> int:
    """Turn an aware datetime into microseconds since the epoch.

    Raises:
        TypeError: `value` is not a datetime.
        ValueError: it has no timezone, so it names no instant, or UTC has no year for it.
    """
    if not isinstance(value, datetime):
        msg = f"{name} must be a datetime, not {type(value).__name__}"
        raise TypeError(msg)
    if value.utcoffset() is None:
        msg = f"{name} has no timezone: {value!r}; attach one, for example tzinfo=datetime.UTC"
        raise ValueError(msg)
    micros = (value - _EPOCH) // _MICROSECOND
    if not _FIRST <= micros <= _LAST:
        raise ValueError(f"{name} is outside the years 1 to 9999 in UTC: {value!r}")
    return micros


def as_datetime(micros: int) -> datetime:
    """Turn microseconds since the epoch into an aware datetime in UTC.

    What no datetime can hold, from a damaged row, becomes the first or the last one: a job
    must be shown whatever its row says.
    """
    return _EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))


def utc_text(micros: int) -> str:
    """Write an instant (microseconds since the epoch) for people, to the second.

    >>> utc_text(1_770_000_000_000_000)
    '2026-02-02 02:40:00Z'
    """
    return as_datetime(micros).strftime("%Y-%m-%d %H:%M:%SZ")
