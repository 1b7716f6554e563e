"""backfill: the jobs of ticks that are past, page by page.

A tick's job has the id that it would have had in its time. So what was made before is found and
left alone, and a backfill that was cut short is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from treadle.client.link import Steps
from treadle.client.schedules.changes import read_one, store_now
from treadle.client.schedules.views import Backfilled
from treadle.core.durations import as_datetime, instant_us
from treadle.core.errors import ScheduleError
from treadle.core.ids import new_id
from treadle.core.job import Met
from treadle.core.schedule.record import Schedule
from treadle.core.schedule.ticks import tick_job, ticks_between, trigger_of
from treadle.core.when.triggers import Every

if TYPE_CHECKING:
    from treadle.store.contract import Store

BACKFILL_MAX: Final = 10_000
"""Ticks that one call makes jobs of at most."""
PAGE: Final = 200


def backfill(
    store: Store, namespace: str, name: str, between: tuple[datetime, datetime], limit: int
) -> Steps[Backfilled]:
    """Make the jobs of past ticks; see `Schedules.backfill`."""
    start, end = instant_us(between[0], "start"), instant_us(between[1], "end")
    if not 1 <= limit <= BACKFILL_MAX:
        raise ValueError(f"limit must be from 1 to {BACKFILL_MAX:,}, not {limit}")
    if end < start:
        raise ValueError(f"a backfill goes from start to end, and {between[1]} is before the start")
    _, schedule = yield from read_one(store, name)
    now = yield from store_now(store)
    if end > now:
        raise ValueError(f"a backfill is of what is past, and {between[1]} is not yet")
    plan = schedule.plan
    start = start if plan.starts is None else max(start, plan.starts)
    end = end if plan.ends is None else min(end, plan.ends + 1)
    trigger = trigger_of(plan.trigger)
    if isinstance(trigger, Every) and trigger.after == "end":
        raise ScheduleError(f"schedule {name!r} has a fixed delay, which has no ticks of its own")
    made, there, seen, cursor = 0, 0, 0, start - 1
    for _ in range(BACKFILL_MAX):
        page = ticks_between(trigger, cursor, end - 1, min(PAGE, limit - seen))
        if not page:
            break
        count, met = yield from _make(store, namespace, schedule, page)
        made, there = made + count, there + len(page) - count - met
        seen, cursor = seen + len(page), page[-1]
    complete = not ticks_between(trigger, cursor, end - 1, 1)
    until = instant_us(between[1], "end") if complete else cursor + 1
    return Backfilled(made, there, as_datetime(until), complete)


def _make(
    store: Store, namespace: str, schedule: Schedule, ticks: Sequence[int]
) -> Steps[tuple[int, int]]:
    """Store the jobs that are not there; give how many, and how many found their key held."""
    # An old tick's job must not have expired, nor wait for its jitter, before it is made.
    plan = replace(schedule.plan, expires=None, jitter=0)
    past = replace(schedule, plan=plan)
    jobs = [replace(tick_job(namespace, past, tick), at=None) for tick in ticks]
    stored: Any = yield store.get([job.id for job in jobs])
    missing = [job for job, record in zip(jobs, stored, strict=True) if record is None]
    if not missing:
        return 0, 0
    fates: Any = yield store.enqueue(new_id(), missing)
    met = sum(isinstance(fate, Met) for fate in fates)
    return len(missing) - met, met
