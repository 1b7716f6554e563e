"""Deciding about many schedules at once, in part before they are due.

What is due in a moment is read and decided beforehand, so that at the instant only the write is
left: a thousand schedules of `0 * * * *` are due at once. What was decided is kept in memory
alone and used only while it must be what would be decided now: the schedule has the revision it
had, its last job has ended, and no further tick has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.client.schedules.changes import move_of, readable
from treadle.client.schedules.sync import is_record
from treadle.core.durations import MINUTE, SECOND
from treadle.core.errors import ScheduleError
from treadle.core.schedule.advance import Last, Step, advance
from treadle.core.schedule.record import Schedule
from treadle.core.schedule.ticks import trigger_of
from treadle.core.when.triggers import Every
from treadle.store.parts.scheduled import Move, ScheduleRow

if TYPE_CHECKING:
    from treadle.store.contract import Store

_log = logging.getLogger("treadle.worker")

_WARNED_MAX: Final = 1_000
_BYTES_MAX: Final = 16 << 20
"""Of schedules that are decided about beforehand, at most."""
_CHUNK: Final = 20
"""Decided about beforehand in one go; then the line's jobs have their turn."""
_USABLE: Final = SECOND
"""For so long after it is due a decision made beforehand holds, at most."""


class Decided(NamedTuple):
    """What is to become of some schedules."""

    moves: list[Move]
    dues: list[int | None]
    """When each of those that were decided about is looked at again."""
    cancels: list[tuple[ScheduleRow, Step]]
    """Those whose last job is to be cancelled before."""


class Early(NamedTuple):
    """A decision that was made before its schedule was due."""

    revision: int
    due: int
    until: int
    """From then on it may be another one."""
    last: bytes | None
    """It holds only when this job has ended."""
    move: Move
    task: str | None
    """The task of its jobs, when it makes some."""


class Deciding:
    """What a worker thinks about schedules."""

    def __init__(self, store: Store, namespace: str, knows: Callable[[str], bool]) -> None:
        """Take the store, the namespace, and who tells whether a task's code is here."""
        self._store = store
        self._namespace = namespace
        self._knows = knows
        self._warned: set[str] = set()
        self._early: dict[str, Early] = {}

    async def beforehand(self, rows: Sequence[ScheduleRow], now: int) -> None:
        """Decide about schedules that are due in a moment, as of the instant of each."""
        self._early = {name: one for name, one in self._early.items() if one.until > now}
        size = 0
        for number, row in enumerate(rows, start=1):
            size += len(row.body)
            if size > _BYTES_MAX:
                return
            early = self._one_early(row, now)
            if early is not None:
                self._early[row.name] = early
            if not number % _CHUNK:
                await asyncio.sleep(0)

    def _one_early(self, row: ScheduleRow, now: int) -> Early | None:
        """Decide about one schedule as if its last job had ended; None where that cannot be."""
        schedule = _read(row)
        if schedule is None or row.due is None or row.due <= now or _from_the_end(schedule):
            return None
        try:
            step = advance(schedule, row.due, Last())
        except ScheduleError:
            return None
        grace = schedule.plan.grace
        until = row.due + (_USABLE if grace is None else min(_USABLE, grace + 1))
        if step.due is not None:
            until = min(until, step.due)
        last = None if schedule.plan.overlap == "allow" else schedule.job
        move = move_of(self._namespace, row.name, row.revision, step)
        task = schedule.plan.task if step.ticks else None
        return Early(row.revision, row.due, until, last, move, task)

    async def still(self, rows: Sequence[ScheduleRow], due: int) -> list[Early]:
        """Give what was decided beforehand and still holds of schedules that are due by then.

        Raises:
            StoreError: what became of their last jobs is not known.
        """
        found = [
            one
            for row in rows
            if (one := self._early.get(row.name)) is not None
            and one.revision == row.revision
            and one.due <= due
        ]
        waited = [one.last for one in found if one.last is not None]
        ended = set(await self._store.ended(waited)) if waited else set()
        return [one for one in found if one.last is None or one.last in ended]

    def check(self, fired: Sequence[Early]) -> None:
        """Warn of jobs whose code is not here, among those that were decided about beforehand."""
        for one in fired:
            self._check_task(one.move.name, one.task)

    async def decide(self, rows: Sequence[ScheduleRow], now: int) -> Decided:
        """Give what is to become of these schedules.

        Raises:
            StoreError: what became of their last jobs is not known.
        """
        early = {row.name: one for row in rows if (one := self._known(row, now)) is not None}
        read = {row.name: _read(row) for row in rows if row.name not in early}
        waited = [one.last for one in early.values() if one.last is not None]
        lasts = await self._lasts([one for one in read.values() if one is not None], waited)
        decided = Decided([], [], [])
        for row in rows:
            one = early.get(row.name)
            if one is not None and (one.last is None or not lasts[one.last].live):
                decided.moves.append(one.move)
                decided.dues.append(one.move.due)
                self._check_task(row.name, one.task)
            else:
                self._decide(
                    row, read[row.name] if one is None else _read(row), lasts, now, decided
                )
        return decided

    def _known(self, row: ScheduleRow, now: int) -> Early | None:
        """Give what was decided about a schedule beforehand, when it still holds."""
        one = self._early.pop(row.name, None)
        if one is None or one.revision != row.revision or not one.due <= now < one.until:
            return None
        return one

    def _decide(
        self,
        row: ScheduleRow,
        schedule: Schedule | None,
        lasts: dict[bytes, Last],
        now: int,
        decided: Decided,
    ) -> None:
        """Decide about one schedule now."""
        if schedule is None:
            decided.moves.extend(self._leave(row, now, "its record cannot be read here"))
            return
        last = Last() if schedule.job is None else lasts.get(schedule.job, Last())
        try:
            step = advance(schedule, now, last)
        except ScheduleError as error:
            decided.moves.extend(self._leave(row, now, str(error)))
            return
        decided.moves.append(move_of(self._namespace, row.name, row.revision, step))
        decided.dues.append(step.due)
        if step.cancel:
            decided.cancels.append((row, step))
        self._check_task(row.name, schedule.plan.task if step.ticks else None)

    def _leave(self, row: ScheduleRow, now: int, why: str) -> list[Move]:
        """Leave a schedule to workers that can read it; after a minute let others pass it."""
        if self._may_warn(row.name):
            _log.warning("schedule %r is left to workers that can read it: %s", row.name, why)
        if row.due is None or now - row.due < MINUTE:
            return []
        return [Move(row.name, row.revision, row.body, now + MINUTE)]

    def _check_task(self, name: str, task: str | None) -> None:
        """Warn of jobs whose code is not here."""
        if task is not None and not self._knows(task) and self._may_warn(name):
            _log.warning(
                "schedule %r makes jobs of %s, whose code is not here: they wait for a worker "
                "that has it; if the task is gone, run `treadle schedules remove`",
                name,
                task,
            )

    def _may_warn(self, name: str) -> bool:
        """Tell whether a schedule was not warned of yet; from now on it was."""
        if name in self._warned or len(self._warned) >= _WARNED_MAX:
            return False
        self._warned.add(name)
        return True

    async def _lasts(
        self, schedules: Sequence[Schedule], waited: Sequence[bytes]
    ) -> dict[bytes, Last]:
        """Learn what became of these jobs, and of the last ones of schedules where it matters."""
        wanted = [s.job for s in schedules if s.job is not None and s.plan.overlap != "allow"]
        wanted += waited
        timed = [s.job for s in schedules if s.job is not None and _from_the_end(s)]
        if not wanted and not timed:
            return {}
        ended = set(await self._store.ended(wanted)) if wanted else set()
        lasts = {job: Last(live=job not in ended) for job in wanted}
        for job, record in zip(timed, await self._store.get(timed) if timed else (), strict=True):
            over = record is None or record.state.is_terminal
            lasts[job] = Last(not over, None if record is None else record.finished_at)
        return lasts


def _read(row: ScheduleRow) -> Schedule | None:
    return None if is_record(row.name) else readable(row)


def _from_the_end(schedule: Schedule) -> bool:
    """Tell whether a schedule counts from the end of its last job."""
    try:
        trigger = trigger_of(schedule.plan.trigger)
    except ScheduleError:
        return False
    return isinstance(trigger, Every) and trigger.after == "end"
