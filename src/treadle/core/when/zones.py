"""Time zones: which instants does a local time name, and when do clocks change?

PEP 495 gives both readings of a local time: `fold=0` by the offset before a change, `fold=1`
by the one after it. Where they agree the time is plain; where the clock was set forward
neither is on a clock, and where it was set back both are.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from treadle.core.errors import BadTrigger

_SECOND = timedelta(seconds=1)


class Offsets(NamedTuple):
    """The offsets from UTC by which a local time may be read."""

    before: timedelta
    after: timedelta

    @property
    def plain(self) -> bool:
        """Whether the local time names one instant."""
        return self.before == self.after

    @property
    def gap(self) -> bool:
        """Whether clocks skip this local time."""
        return self.before < self.after


@lru_cache(maxsize=1_024)
def load_zone(name: object) -> ZoneInfo:
    """Find a zone by its name in the IANA database.

    Raises:
        TypeError: the name is not a str.
        BadTrigger: no zone has that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"tz takes the name of a zone, not {type(name).__name__}")
    fault = BadTrigger(
        f"no time zone is called {name[:60]!r}; names are those of the IANA database, "
        "for example 'UTC', 'Europe/Paris' or 'America/New_York'"
    )
    if name == "localtime":  # It is another zone on another machine.
        raise fault
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise fault from None


def offsets(local: datetime, zone: ZoneInfo) -> Offsets:
    """Read a naive local time by both offsets."""
    before = local.replace(tzinfo=zone, fold=0).utcoffset()
    after = local.replace(tzinfo=zone, fold=1).utcoffset()
    return Offsets(before or timedelta(), after or timedelta())


def instant(local: datetime, offset: timedelta) -> datetime:
    """Give the instant, in UTC, of a naive local time by an offset."""
    return (local - offset).replace(tzinfo=UTC)


def change(local: datetime, read: Offsets, zone: ZoneInfo) -> datetime:
    """Give the instant, in UTC, at which the clock change around a local time happens."""
    low, high = sorted((instant(local, read.before), instant(local, read.after)))
    was = low.astimezone(zone).utcoffset()
    steps = (high - low) // _SECOND
    first, last = 0, steps
    while last - first > 1:
        middle = (first + last) // 2
        if (low + middle * _SECOND).astimezone(zone).utcoffset() == was:
            first = middle
        else:
            last = middle
    return low + last * _SECOND
