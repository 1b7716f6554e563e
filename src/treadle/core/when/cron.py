"""Cron: due at the local times that an expression names, by Vixie's rules.

The rules are those of crontab(5) as Vixie cron and its successors have them: day of month and
day of week must both match when either begins with `*`, else either is enough. A *fixed* time
(no field of the time of day begins with `*`) that a clock change skips is due once, at the end
of the gap, and one that a clock change repeats is due once, the first time. A *wildcard* time
follows the clock on the wall. `dst=` chooses otherwise for fixed times.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from treadle.core.durations import instant_us
from treadle.core.errors import BadTrigger
from treadle.core.when import dates, zones
from treadle.core.when.parse import Expression, parse

Dst = Literal["standard", "skip", "twice"]

COUNT_MAX: Final = 10_000
"""The most instants one call of `next` gives."""
_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class Cron:
    """Due at the local times that a cron expression names.

    >>> from datetime import UTC, datetime
    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> [f"{due:%a %d %b %H:%M}" for due in Cron("30 9 * * mon-fri").next(noon, 2)]
    ['Mon 05 Jan 09:30', 'Tue 06 Jan 09:30']

    Args:
        expression: minute, hour, day of month, month, day of week, as in crontab(5); a second
            in front makes six. `H` is a number that is spread by the schedule's name. Also
            @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually.
        tz: the name of the IANA time zone in which the expression is read.
        dst: what becomes of a fixed time when clocks change. `standard`: a skipped time is due
            at the end of the gap, a repeated one the first time. `skip`: a skipped time is not
            due at all. `twice`: a repeated time is due both times.
        name: what `H` is spread by; a schedule gives its own name.

    Raises:
        BadTrigger: the expression is wrong or never due (shows where), or the zone is unknown.
        TypeError, ValueError: an argument is of another type, or `dst` is none of the three.
    """

    expression: str
    tz: str = "UTC"
    dst: Dst = "standard"
    name: str | None = field(default=None, kw_only=True)
    _read: Expression = field(init=False, repr=False, compare=False)
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.dst not in ("standard", "skip", "twice"):
            raise ValueError(f"dst must be 'standard', 'skip' or 'twice', not {self.dst!r}")
        object.__setattr__(self, "_zone", zones.load_zone(self.tz))
        object.__setattr__(self, "_read", parse(self.expression, self.name or ""))

    def next(self, after: datetime, count: int = 1) -> list[datetime]:
        """Give the next instants after `after`, in the trigger's zone, earliest first.

        Python compares two times of one zone by their faces, so compare and subtract instants
        around clock changes in UTC.

        They are fewer than `count` (at most 10,000) only where the calendar ends, in year 9998.

        >>> gap = Cron("30 2 * * *", tz="Europe/Paris")
        >>> before = datetime(2026, 3, 28, 12, tzinfo=UTC)
        >>> [str(due) for due in gap.next(before, 2)]
        ['2026-03-29 03:00:00+02:00', '2026-03-30 02:30:00+02:00']

        Raises:
            ValueError: `after` has no time zone or is outside the years 2 to 9998, `count` is
                out of range, or `H` has no name to be spread by.
        """
        due = check_after(after).astimezone(UTC)
        check_count(count)
        if self._read.spread and self.name is None:
            raise BadTrigger(
                f"{self.expression!r} has an H, which is spread by the name of the schedule; "
                "outside a schedule give one: Cron(..., name='nightly')"
            )
        found: list[datetime] = []
        while len(found) < count:
            later = self._after(due)
            if later is None:
                break
            due = later
            found.append(due.astimezone(self._zone))
        return found

    def matches(self, instant: datetime) -> bool:
        """Tell whether this instant is one of the trigger's.

        >>> Cron("0 9 * * *", tz="Asia/Tokyo").matches(datetime(2026, 1, 2, tzinfo=UTC))
        True

        Raises:
            ValueError: as for `next`.
        """
        check_after(instant)
        at = instant.astimezone(UTC)
        # In UTC: two times of one zone compare by their faces, whichever pass they are of.
        return [due.astimezone(UTC) for due in self.next(at - _MICROSECOND)] == [at]

    def shows(self, local: datetime) -> bool:
        """Tell whether the face of a clock that shows `local` is what the expression names."""
        face = local.replace(tzinfo=None, fold=0)
        return dates.first(self._read, face.replace(microsecond=0)) == face

    def for_name(self, name: str) -> Cron:
        """Give this trigger with `H` spread by a name; one that has a name keeps it."""
        return self if self.name is not None or not self._read.spread else replace(self, name=name)

    def _after(self, after: datetime) -> datetime | None:
        """Give the next instant after an instant, both in UTC."""
        here = after.astimezone(self._zone)
        start = here.replace(tzinfo=None, microsecond=0, fold=0)
        repeats = self._read.wildcard or self.dst == "twice"
        found = self._scan(start + _SECOND, after, repeats=repeats)
        if not repeats or here.fold:
            return found
        again = self._second_pass(start)
        return again if again is not None and (found is None or again < found) else found

    def _scan(self, start: datetime, after: datetime, *, repeats: bool) -> datetime | None:
        """Give the first instant after `after` whose local time is `start` or later.

        At most three clock changes lie around a local time, so the loop is short.
        """
        local = dates.first(self._read, start)
        while local is not None:
            read = zones.offsets(local, self._zone)
            first = zones.instant(local, read.before)
            if read.plain:
                return first
            changed = zones.change(local, read, self._zone)
            if read.gap:
                if self.dst != "skip" and not self._read.wildcard:
                    return changed
                local = dates.first(self._read, _at(changed, read.after))
            elif first > after:
                return first
            elif repeats:
                return zones.instant(local, read.after)
            else:
                local = dates.first(self._read, _at(changed, read.before))
        return None

    def _second_pass(self, start: datetime) -> datetime | None:
        """Give what is due in the second pass of the repeated hour whose first pass we are in."""
        read = zones.offsets(start, self._zone)
        if read.plain:
            return None
        begin = _at(zones.change(start, read, self._zone), read.after)
        local = dates.first(self._read, begin)
        return zones.instant(local, read.after) if local is not None and local <= start else None


def check_after(after: datetime) -> datetime:
    """Return an instant from which triggers can count.

    Raises:
        TypeError: it is not a datetime.
        ValueError: it has no time zone, or is outside the years 2 to 9998.
    """
    instant_us(after, "after")
    if not dates.YEAR_FIRST <= after.year <= dates.YEAR_LAST:
        raise ValueError(f"triggers count from the year 2 to the year 9998, not from {after!r}")
    return after


def check_count(count: object) -> None:
    """Refuse a number of instants that no call gives.

    Raises:
        ValueError: it is no int from 1 to 10,000.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= COUNT_MAX:
        raise ValueError(f"count must be an int from 1 to {COUNT_MAX:,}, not {count!r}")


def _at(changed: datetime, offset: timedelta) -> datetime:
    """Give the naive local time of an instant by an offset."""
    return (changed + offset).replace(tzinfo=None)
