"""Changing stored schedules: read, decide, write if nobody was faster, else once more.

Every change is a long action (`client.link.Steps`), so that a thread and an event loop carry the
same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from treadle.client.link import Steps
from treadle.core.errors import ScheduleError, ScheduleNotFound, StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import Met, NewJob
from treadle.core.schedule.advance import Step
from treadle.core.schedule.record import Schedule, read_schedule, write_schedule
from treadle.core.schedule.ticks import tick_job
from treadle.store.parts.scheduled import Move, ScheduleRow, Unfired

if TYPE_CHECKING:
    from treadle.store.contract import Store

TRIES: Final = 20
"""How often a change is tried while others change the same schedule."""

Apply = Callable[[Schedule, int], Step]


def move_of(namespace: str, name: str, revision: int, step: Step) -> Move:
    """Write a step as what the store is asked for, with the jobs of its ticks."""
    jobs = tuple(tick_job(namespace, step.schedule, tick) for tick in step.ticks)
    return move_with(name, revision, step, jobs)


def move_with(name: str, revision: int, step: Step, jobs: Sequence[NewJob]) -> Move:
    """Do the same with jobs that are made already."""
    schedule = replace(step.schedule, job=jobs[-1].id) if jobs else step.schedule
    other = step.unfired
    unfired = None if other is None else Unfired(write_schedule(other.schedule), other.due)
    return Move(name, revision, write_schedule(schedule), step.due, tuple(jobs), unfired)


def store_now(store: Store) -> Steps[int]:
    """Read the store's time."""
    found: Any = yield store.due_schedules(0)
    return int(found.now)


def read_one(store: Store, name: str) -> Steps[tuple[ScheduleRow, Schedule]]:
    """Read a schedule that must be there.

    Raises:
        ScheduleNotFound: it is not.
    """
    [row] = yield store.schedules([name])
    if row is None:
        raise ScheduleNotFound(name)
    return row, read_schedule(row.body)


def change(store: Store, name: str, apply: Apply) -> Steps[tuple[Schedule, int | None]]:
    """Change a schedule; give it as it was written, and when it is looked at next.

    Raises:
        ScheduleNotFound: there is none of this name.
        StoreUnavailable: others were faster each time.
    """
    for _ in range(TRIES):
        row, schedule = yield from read_one(store, name)
        now = yield from store_now(store)
        step = apply(schedule, now)
        move = move_with(name, row.revision, step, ())
        [done] = yield store.fire([move])
        if done:
            return step.schedule, step.due
    raise contended(name)


def run_now(store: Store, namespace: str, name: str) -> Steps[tuple[NewJob, Met | None]]:
    """Make a job of a schedule at once; its ticks stay as they are.

    Gives the job, and whom it met when another one holds its key. One with a key is enqueued by
    itself: its key, not the schedule, says what runs beside it.

    Raises:
        ScheduleNotFound, StoreUnavailable: as for `change`.
    """
    for _ in range(TRIES):
        row, schedule = yield from read_one(store, name)
        now = yield from store_now(store)
        job = tick_job(namespace, schedule, now, "now")
        if job.key is not None:
            [fate] = yield store.enqueue(new_id(), [job])
            return job, fate if isinstance(fate, Met) else None
        step = Step(schedule, due=row.due)
        [done] = yield store.fire([move_with(name, row.revision, step, (job,))])
        if done:
            return job, None
    raise contended(name)


def drop(store: Store, name: str) -> Steps[bool]:
    """Delete a schedule; its jobs stay. False where there was none.

    Raises:
        ScheduleError: it is on its way to another store, where it may lie already.
        StoreUnavailable: others were faster each time.
    """
    for _ in range(TRIES):
        [row] = yield store.schedules([name])
        if row is None:
            return False
        schedule = readable(row)
        if schedule is not None and schedule.sealed is not None:
            raise ScheduleError(
                f"schedule {name!r} is between two stores, sealed by a `treadle move` that has "
                "not ended: give that command again, then remove it where it is"
            )
        [done] = yield store.fire([Move(name, row.revision, None)])
        if done:
            return True
    raise contended(name)


def contended(name: str) -> StoreUnavailable:
    """Make the error for a schedule that others keep changing."""
    return StoreUnavailable(
        f"schedule {name!r} was changed by others each of {TRIES} times that this call read it; "
        "send it again"
    )


def readable(row: ScheduleRow) -> Schedule | None:
    """Read a schedule; None for bytes that are none."""
    try:
        return read_schedule(row.body)
    except ScheduleError:
        return None
