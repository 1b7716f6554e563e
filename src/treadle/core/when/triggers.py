"""The other triggers, what all have in common, and how a trigger is stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal, Protocol

from msgspec import json

from treadle.core.durations import Duration, as_datetime, instant_us, to_us
from treadle.core.errors import BadTrigger
from treadle.core.when import dates
from treadle.core.when.cron import Cron, check_after, check_count

After = Literal["start", "end"]

PERIOD_MIN: Final = 1_000
"""Microseconds between two ticks of an interval, at least."""


class Trigger(Protocol):
    """What a schedule needs of its trigger; `Cron`, `Every` and `At` have it."""

    def next(self, after: datetime, count: int = 1) -> list[datetime]:
        """Give the next instants after `after`, earliest first; fewer where there are no more."""
        ...

    def matches(self, instant: datetime) -> bool:
        """Tell whether this instant is one of the trigger's."""
        ...


@dataclass(frozen=True)
class Every:
    """Due at a fixed rate, or a fixed delay after the last job of a schedule has ended.

    >>> from datetime import UTC, datetime
    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> [f"{due:%H:%M:%S}" for due in Every(90).next(noon, 2)]
    ['12:01:30', '12:03:00']

    Args:
        period: seconds or a timedelta, from 1 ms to 100 years.
        anchor: an instant that is due, from which all others are counted in both directions.
            Without it a schedule spreads its ticks by its own name, so that many schedules of
            one period do not fire together; outside a schedule 1970 began on a tick.
        after: `start`: a fixed rate, whatever the jobs do. `end`: the period begins again when
            the last job has ended.
        name: what the ticks are spread by; a schedule gives its own name.

    Raises:
        TypeError, ValueError: an argument is of another type or out of its range, the anchor
            has no time zone, or there is an anchor for a delay.
    """

    period: Duration
    anchor: datetime | None = None
    after: After = "start"
    name: str | None = field(default=None, kw_only=True)
    _period: int = field(init=False, repr=False, compare=False)
    _phase: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        period = to_us(self.period, "period")
        if period < PERIOD_MIN:
            raise ValueError(f"period must be at least 1 ms, not {self.period}")
        if self.after not in ("start", "end"):
            raise ValueError(f"after must be 'start' or 'end', not {self.after!r}")
        if self.anchor is not None and self.after == "end":
            raise ValueError("a delay after the end of a job has no anchor; leave out one of them")
        object.__setattr__(self, "_period", period)
        object.__setattr__(self, "_phase", self._find_phase(period))

    def _find_phase(self, period: int) -> int:
        if self.anchor is not None:
            return instant_us(self.anchor, "anchor") % period
        if self.name is None:
            return 0
        return int.from_bytes(sha256(self.name.encode("utf-8", "replace")).digest()[:8]) % period

    @property
    def period_us(self) -> int:
        """The period in microseconds."""
        return self._period

    def next(self, after: datetime, count: int = 1) -> list[datetime]:
        """Give the next instants after `after`, in UTC, earliest first.

        For `after="end"` this takes `after` for the end of a job, and each job for one that
        takes no time.

        Raises:
            ValueError: `after` has no time zone, or `count` is not from 1 to 10,000.
        """
        begin = instant_us(check_after(after), "after")
        check_count(count)
        if self.after == "start":
            begin -= (begin - self._phase) % self._period
        found = (begin + number * self._period for number in range(1, count + 1))
        return [due for due in map(as_datetime, found) if due.year <= dates.YEAR_LAST]

    def matches(self, instant: datetime) -> bool:
        """Tell whether this instant is one of the trigger's; a delay has none of its own.

        Raises:
            ValueError: it has no time zone.
        """
        at = instant_us(check_after(instant), "instant")
        return self.after == "start" and (at - self._phase) % self._period == 0

    def for_name(self, name: str) -> Every:
        """Give this trigger spread by a name, unless it has one or an anchor."""
        fixed = self.name is not None or self.anchor is not None or self.after == "end"
        return self if fixed else replace(self, name=name)


@dataclass(frozen=True)
class At:
    """Due once.

    >>> from datetime import UTC, datetime
    >>> party = At(datetime(2026, 12, 31, 18, tzinfo=UTC))
    >>> party.next(datetime(2026, 12, 31, tzinfo=UTC), 2)
    [datetime.datetime(2026, 12, 31, 18, 0, tzinfo=datetime.timezone.utc)]

    Raises:
        TypeError, ValueError: the instant is no datetime, or has no time zone.
    """

    instant: datetime

    def __post_init__(self) -> None:
        instant_us(self.instant, "instant")

    def next(self, after: datetime, count: int = 1) -> list[datetime]:
        """Give the instant when it lies after `after`, else nothing.

        Raises:
            ValueError: `after` has no time zone, or `count` is not from 1 to 10,000.
        """
        begin = instant_us(after, "after")
        check_count(count)
        return [self.instant] if instant_us(self.instant, "instant") > begin else []

    def matches(self, instant: datetime) -> bool:
        """Tell whether this is the instant.

        Raises:
            ValueError: it has no time zone.
        """
        return instant_us(instant, "instant") == instant_us(self.instant, "instant")

    def for_name(self, name: str) -> At:  # noqa: ARG002 -- the other triggers spread by it
        """Give this trigger: one instant cannot be spread."""
        return self


AnyTrigger = Cron | Every | At


def write_trigger(trigger: AnyTrigger) -> bytes:
    """Encode a trigger for the store.

    >>> write_trigger(Cron("@daily", tz="Asia/Tokyo"))
    b'{"cron":"@daily","tz":"Asia/Tokyo","dst":"standard","name":null}'
    """
    said: dict[str, Any]
    if isinstance(trigger, Cron):
        said = {"cron": trigger.expression, "tz": trigger.tz, "dst": trigger.dst}
        said["name"] = trigger.name
    elif isinstance(trigger, Every):
        anchor = None if trigger.anchor is None else instant_us(trigger.anchor, "anchor")
        said = {"every": trigger.period_us, "anchor": anchor, "after": trigger.after}
        said["name"] = trigger.name
    else:
        said = {"at": instant_us(trigger.instant, "instant")}
    return json.encode(said)


def read_trigger(raw: bytes) -> AnyTrigger:
    """Decode a stored trigger.

    Raises:
        BadTrigger: the bytes are no trigger (a row changed by hand, or a newer version's).
    """
    try:
        said = json.decode(raw, type=dict[str, Any])
        if "cron" in said:
            return Cron(said["cron"], said["tz"], said["dst"], name=said["name"])
        if "every" in said:
            anchor = None if said["anchor"] is None else as_datetime(said["anchor"])
            return Every(
                timedelta(microseconds=said["every"]), anchor, said["after"], name=said["name"]
            )
        return At(as_datetime(said["at"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadTrigger(f"{raw[:200]!r} is no stored trigger: {error}") from None
