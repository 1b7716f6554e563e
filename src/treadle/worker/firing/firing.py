"""One look at the schedules: read what is due, decide, write it by compare-and-set.

Any number of workers may do so at once; a move that somebody else has made is refused by the
store and costs nothing. A worker that dies at any point leaves the schedule due, or moved with
its job: there is nothing in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.core import fault
from treadle.core.durations import SECOND
from treadle.core.schedule.advance import Step
from treadle.store.contract import BATCH_MAX
from treadle.store.parts.scheduled import Move, ScheduleRow
from treadle.worker.firing.deciding import Deciding, Early

if TYPE_CHECKING:
    from treadle.store.contract import Store

PAGE: Final = 500
"""Schedules that one look reads."""
PAGES_MAX: Final = 50
AHEAD: Final = 2 * SECOND
"""How near what is due next must be to be decided about beforehand."""
AHEAD_MORE: Final = SECOND // 10
"""What is due so soon after it is decided about with it."""
AHEAD_MAX: Final = 1_000
"""Schedules that are decided about beforehand, at most."""
CROWD: Final = 32
"""So many that are due at one instant are read again just before it."""


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
    now: int = 0
    """The store's time when it was read."""


class Firing:
    """What a worker does with schedules."""

    def __init__(self, store: Store, namespace: str, knows: Callable[[str], bool]) -> None:
        """Take the store, the namespace, and who tells whether a task's code is here."""
        self._store = store
        self._deciding = Deciding(store, namespace, knows)
        self._ahead_to = 0
        self._crowd_at: int | None = None
        self._armed: list[Early] = []

    def is_crowd(self, look: Look) -> bool:
        """Tell whether many that are due next were decided about for that very instant."""
        return look.next_in is not None and look.now + look.next_in == self._crowd_at

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

    async def prepare(self, look: Look) -> None:
        """Decide about what is due next before it is, when that is near: see `deciding`.

        Raises:
            StoreError: the store does not answer.
        """
        if look.next_in is None or look.next_in > AHEAD:
            return
        due = look.now + look.next_in
        if due <= self._ahead_to <= due + AHEAD:
            return
        until = due + AHEAD_MORE
        found = await self._store.due_schedules(AHEAD_MAX, now=until)
        self._ahead_to = until
        await self._deciding.beforehand(found.rows, look.now)
        crowd = sum(row.due == due for row in found.rows)
        self._crowd_at = due if crowd >= CROWD else None

    async def arm(self) -> None:
        """Read a crowd again, just before it is due: then the next look has but to write it.

        Raises:
            StoreError: the store does not answer.
        """
        if self._crowd_at is None:
            return
        found = await self._store.due_schedules(AHEAD_MAX, now=self._crowd_at)
        self._armed = await self._deciding.still(found.rows, self._crowd_at)

    async def _look_armed(self) -> Look | None:
        """Fire a page of what is armed; None when none of it is due, or holds any more.

        Time may have stepped or stood still since, so the store's is asked for; whatever was
        changed has another revision and is refused, and the next look reads it.
        """
        page, self._armed = self._armed[:PAGE], self._armed[PAGE:]
        seen = await self._store.due_schedules(0)
        held = [one for one in page if one.due <= seen.now < one.until]
        if not held:
            self._armed = []
            return None
        won, jobs = await self._write([one.move for one in held])
        self._deciding.check(held)
        late = seen.now - min(one.due for one in held)
        return Look(
            len(held), won, jobs, 0, late, seen.workers, seen.first, more=True, now=seen.now
        )  # fmt: skip

    async def _write(self, moves: Sequence[Move]) -> tuple[int, int]:
        """Write moves; give how many held, and how many jobs they made."""
        won = jobs = 0
        fault.point("fire.before_write")
        for part in _parts(moves):
            done = await self._store.fire(part)
            won += sum(done)
            jobs += sum(len(move.jobs) for move, did in zip(part, done, strict=True) if did)
        return won, jobs

    async def look(self, *, at_least_late: int = 0) -> Look:
        """Fire what is due, at most a page; only look when nothing is due for so long.

        Raises:
            StoreError: the store does not answer.
        """
        if self._armed and (armed := await self._look_armed()) is not None:
            return armed
        found = await self._store.due_schedules(PAGE)
        rows, now = found.rows, found.now
        late = max((now - row.due for row in rows if row.due is not None), default=0)
        seen = Look(len(rows), 0, 0, found.next_due, late, found.workers, found.first, now=now)
        if not rows:
            return seen
        if late < at_least_late:
            return Look(len(rows), 0, 0, 0, late, found.workers, found.first, now=now)
        moves, nexts, cancels = await self._deciding.decide(rows, now)
        await self._cancel(cancels)
        won, jobs = await self._write(moves)
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
            len(rows), won, jobs, next_in, late, found.workers, found.first, more, now
        )  # fmt: skip

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
