"""Ticks: counting them, and making the job of one.

A job's id is made from the namespace, the schedule, its incarnation and the tick, so a tick that
is sent again can never make a second job.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from msgspec import json

from treadle.core.durations import SECOND, as_datetime, instant_us
from treadle.core.job import NewJob
from treadle.core.schedule.record import Plan, Schedule
from treadle.core.when.triggers import AnyTrigger, Every, read_trigger

TICKS_MAX: Final = 100
"""The most ticks of one schedule that one write makes jobs of."""
_LAST: Final = 253_370_764_800 * SECOND
"""The beginning of the year 9999, up to which triggers count."""

trigger_of = lru_cache(maxsize=20_000)(read_trigger)
"""Reads a stored trigger; parsing is what a tick costs, and the same ones come again."""


def next_tick(trigger: AnyTrigger, after: int) -> int | None:
    """Give the first tick after an instant; None when there is none."""
    if after >= _LAST:
        return None
    found = trigger.next(as_datetime(after))
    return instant_us(found[0], "tick") if found else None


class Due(NamedTuple):
    """The ticks of a span that matter."""

    first: int | None
    """None: there is none in it."""
    last: int | None
    following: int | None
    """The first one behind it."""


@lru_cache(maxsize=4_096)
def due_ticks(trigger: AnyTrigger, after: int, until: int) -> Due:
    """Find the ticks after one instant and not after another: the first, the last, the next.

    Two steps where there is one, as nearly always; else about 50, because halving finds the last
    one however many lie between: a second's ticks of a month's outage are 2.6 million. What was
    found is kept, as schedules of one expression that were looked at together are so again.
    """
    first = next_tick(trigger, after)
    if first is None or first > until:
        return Due(None, None, first)
    following = next_tick(trigger, first)
    if following is None or following > until:
        return Due(first, first, following)
    last = _last(trigger, following, until)
    return Due(first, last, next_tick(trigger, last))


def _last(trigger: AnyTrigger, known: int, until: int) -> int:
    """Find the last tick not after an instant, from a known one on."""
    low, high = known, until  # A tick follows what is below `low`; none follows `high`.
    found = known
    while high - low > 1:
        middle = (low + high) // 2
        tick = next_tick(trigger, middle)
        if tick is not None and tick <= until:
            found, low = tick, middle
        else:
            high = middle
        if found >= high:
            break
    return found


def ticks_between(trigger: AnyTrigger, after: int, until: int, limit: int) -> list[int]:
    """Give the ticks after one instant and not after another, oldest first, at most `limit`."""
    found: list[int] = []
    tick = next_tick(trigger, after)
    while tick is not None and tick <= until and len(found) < limit:
        found.append(tick)
        tick = next_tick(trigger, tick)
    return found


def tick_id(namespace: str, schedule: Schedule, tick: int, kind: str = "tick") -> bytes:
    """Make the id of a tick's job: a UUID of version 7 with the tick's millisecond in front."""
    said = f"{namespace}\0{schedule.name}\0{schedule.incarnation}\0{kind}\0{tick}"
    digest = int.from_bytes(sha256(said.encode("utf-8", "replace")).digest()[:10])
    milliseconds = max(0, tick) // 1000 & (1 << 48) - 1
    number = milliseconds << 80 | digest
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    return number.to_bytes(16, "big")


def jittered(schedule: Schedule, tick: int) -> int:
    """Give when a tick's job may start: the tick, and a part of the jitter by its hash."""
    jitter = schedule.plan.jitter
    if not jitter:
        return tick
    said = f"{schedule.incarnation}\0{tick}".encode()
    return tick + int.from_bytes(sha256(said).digest()[:8]) % (jitter + 1)


def tick_job(namespace: str, schedule: Schedule, tick: int, kind: str = "tick") -> NewJob:
    """Make the job of a tick."""
    plan = schedule.plan
    at = jittered(schedule, tick) if kind == "tick" else None
    return NewJob(
        tick_id(namespace, schedule, tick, kind),
        plan.task,
        plan.args,
        plan.queue,
        plan.priority,
        at,
        0,
        None if at is None else _expires_at(plan, tick, at),
        None,
        plan.attempts_max,
        plan.policy,
        plan.tags,
        _meta(schedule, tick),
        plan.tenant,
        plan.cost,
        plan.gates,
        plan.key,
    )


def _expires_at(plan: Plan, tick: int, starts_at: int) -> int | None:
    """Give when a tick's job expires: the next tick is the one after its start, jitter and all."""
    if plan.expires == "next":
        trigger = trigger_of(plan.trigger)
        if isinstance(trigger, Every) and trigger.after == "end":
            return None
        return next_tick(trigger, starts_at)
    return None if plan.expires is None else tick + plan.expires


def _meta(schedule: Schedule, tick: int) -> bytes:
    """Write what tells the task which tick it is for, beside the schedule's own meta."""
    own: dict[str, Any] = {} if schedule.plan.meta is None else json.decode(schedule.plan.meta)
    said = {"schedule": schedule.name, "tick": as_datetime(tick).isoformat()}
    return json.encode(own | said)
