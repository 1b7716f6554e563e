"""One look at the schedules: read what is due, decide, write it by compare-and-set.

Any number of workers may do so at once; a move that somebody else has made is refused by the
store and costs nothing. A worker that dies at any point leaves the schedule due, or moved with
its job: there is nothing in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.client.schedules.changes import move_of, readable
from treadle.client.schedules.sync import is_record
from treadle.core import fault
from treadle.core.durations import MINUTE
from treadle.core.errors import ScheduleError
from treadle.core.schedule.advance import Last, Step, advance
from treadle.core.schedule.record import Schedule
from treadle.core.schedule.ticks import trigger_of
from treadle.core.when.triggers import Every
from treadle.store.contract import BATCH_MAX
from treadle.store.scheduled import Move, ScheduleRow

if TYPE_CHECKING:
    from treadle.store.contract import Store

_log = logging.getLogger("treadle.worker")

PAGE: Final = 200
"""Schedules that one look reads: small, so that the first jobs start while others are read."""
PAGES_MAX: Final = 50
_WARNED_MAX: Final = 1_000


class Look(Struct, frozen=True):
    """What a look came to; durations in microseconds."""

    due: int = 0
    """How many schedules were due."""
    won: int = 0
    """How many of them this look moved."""
    jobs: int = 0
    next_in: int | None = None
    """How long until the next one is due; None: none is."""
    late: int = 0
    """How long the longest due one had been due."""
    workers: int = 1
    first: str = ""
    more: bool = False
    """There may be more that is due."""


class Firing:
    """What a worker does with schedules."""

    def __init__(self, store: Store, namespace: str, knows: Callable[[str], bool]) -> None:
        """Take the store, the namespace, and who tells whether a task's code is here."""
        self._store = store
        self._namespace = namespace
        self._knows = knows
        self._warned: set[str] = set()

    async def catch_up(self) -> int:
        """Fire all that is due, a bounded number of pages; give how many jobs that made.

        Raises:
            StoreError: the store does not answer.
        """
        jobs = 0
        for _ in range(PAGES_MAX):
            look = await self.look()
            jobs += look.jobs
            if not look.more:
                break
        return jobs

    async def look(self, *, at_least_late: int = 0) -> Look:
        """Fire what is due, at most a page; only look when nothing is due for so long.

        Raises:
            StoreError: the store does not answer.
        """
        found = await self._store.due_schedules(PAGE)
        rows, now = found.rows, found.now
        late = max((now - row.due for row in rows if row.due is not None), default=0)
        seen = Look(len(rows), 0, 0, found.next_due, late, found.workers, found.first)
        if not rows:
            return seen
        if late < at_least_late:
            return Look(len(rows), 0, 0, 0, late, found.workers, found.first)
        fault.point("fire.before_decide")
        moves, nexts = await self._decide(rows, now)
        won = jobs = 0
        for part in _parts(moves):
            done = await self._store.fire(part)
            won += sum(done)
            jobs += sum(len(move.jobs) for move, did in zip(part, done, strict=True) if did)
        following = [due - now for due in nexts if due is not None]
        if found.next_due is not None:
            following.append(found.next_due)
        next_in = min(following, default=None)
        # A schedule that has many ticks to make up for is due still; one left to others is, too,
        # but there is nothing more to do about it here.
        left = len(rows) - len(moves)
        full = len(rows) >= PAGE and bool(moves)
        more = full or won + left < len(rows) or (next_in is not None and next_in <= 0)
        return Look(
            len(rows), won, jobs, next_in, late, found.workers, found.first, more
        )  # fmt: skip

    async def _decide(
        self, rows: Sequence[ScheduleRow], now: int
    ) -> tuple[list[Move], list[int | None]]:
        """Give the moves of these schedules, and when they are looked at again."""
        moves: list[Move] = []
        found: list[tuple[ScheduleRow, Schedule]] = []
        for row in rows:
            schedule = None if is_record(row.name) else readable(row)
            if schedule is None:
                moves += self._leave(row, now, "its record cannot be read here")
            else:
                found.append((row, schedule))
        lasts = await self._lasts([schedule for _, schedule in found])
        steps: list[tuple[ScheduleRow, Step]] = []
        for row, schedule in found:
            step = self._step(schedule, now, lasts)
            if isinstance(step, ScheduleError):
                moves += self._leave(row, now, str(step))
                continue
            moves.append(move_of(self._namespace, row.name, row.revision, step))
            steps.append((row, step))
        await self._cancel([(row, step) for row, step in steps if step.cancel])
        return moves, [step.due for _, step in steps]

    async def _cancel(self, steps: Sequence[tuple[ScheduleRow, Step]]) -> None:
        """Cancel the last jobs of schedules that are still as they were read.

        Before the write, not after it: a worker that dies in between leaves the tick due.
        """
        if not steps:
            return
        fault.point("fire.before_cancel")
        present = await self._store.schedules([row.name for row, _ in steps])
        jobs = [
            step.schedule.job
            for (row, step), found in zip(steps, present, strict=True)
            if found is not None and found.revision == row.revision and step.schedule.job
        ]
        if jobs:
            await self._store.cancel(jobs)
            fault.point("fire.after_cancel")

    def _leave(self, row: ScheduleRow, now: int, why: str) -> list[Move]:
        """Leave a schedule to workers that can read it; after a minute let others pass it."""
        if row.name not in self._warned and len(self._warned) < _WARNED_MAX:
            self._warned.add(row.name)
            _log.warning("schedule %r is left to workers that can read it: %s", row.name, why)
        if row.due is None or now - row.due < MINUTE:
            return []
        return [Move(row.name, row.revision, row.body, now + MINUTE)]

    def _step(self, schedule: Schedule, now: int, lasts: dict[bytes, Last]) -> Step | ScheduleError:
        """Decide about one schedule; give why not when its trigger cannot be read."""
        last = Last() if schedule.job is None else lasts.get(schedule.job, Last())
        try:
            step = advance(schedule, now, last)
        except ScheduleError as error:
            return error
        if step.ticks and not self._knows(schedule.plan.task):
            self._warn(schedule)
        return step

    def _warn(self, schedule: Schedule) -> None:
        if schedule.name in self._warned or len(self._warned) >= _WARNED_MAX:
            return
        self._warned.add(schedule.name)
        _log.warning(
            "schedule %r makes jobs of %s, whose code is not here: they wait for a worker that "
            "has it; if the task is gone, run `treadle schedules remove`",
            schedule.name,
            schedule.plan.task,
        )

    async def _lasts(self, schedules: Sequence[Schedule]) -> dict[bytes, Last]:
        """Learn what became of the last jobs, of those schedules for which it matters."""
        wanted = [s.job for s in schedules if s.job is not None and s.plan.overlap != "allow"]
        timed = [s.job for s in schedules if s.job is not None and _from_the_end(s)]
        if not wanted and not timed:
            return {}
        ended = set(await self._store.ended(wanted)) if wanted else set()
        lasts = {job: Last(live=job not in ended) for job in wanted}
        for job, record in zip(timed, await self._store.get(timed) if timed else (), strict=True):
            over = record is None or record.state.is_terminal
            lasts[job] = Last(not over, None if record is None else record.finished_at)
        return lasts


def _from_the_end(schedule: Schedule) -> bool:
    """Tell whether a schedule counts from the end of its last job."""
    try:
        trigger = trigger_of(schedule.plan.trigger)
    except ScheduleError:
        return False
    return isinstance(trigger, Every) and trigger.after == "end"


def _parts(moves: Sequence[Move]) -> list[list[Move]]:
    """Divide moves so that no part makes more jobs than one write takes."""
    parts: list[list[Move]] = [[]]
    jobs = 0
    for move in moves:
        if parts[-1] and jobs + len(move.jobs) > BATCH_MAX:
            parts.append([])
            jobs = 0
        parts[-1].append(move)
        jobs += len(move.jobs)
    return parts
