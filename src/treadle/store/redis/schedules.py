"""The verbs of schedules, as the store's face has them; see `store.parts.scheduled`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.core import fault
from treadle.store.batches import check_batch
from treadle.store.contract import BATCH_MAX
from treadle.store.parts.scheduled import DueSchedules, Move, ScheduleRow, check_moves
from treadle.store.redis.engine.runner import Runner
from treadle.store.redis.rows import Words, head_of, job_words, own_words, read_number
from treadle.store.redis.scripts import script

if TYPE_CHECKING:
    from treadle.core.clock import Clock

_HELD = ord("1")


class RedisSchedules:
    """Schedules of a store in Redis."""

    _runner: Runner
    _clock: Clock | None

    async def due_schedules(self, limit: int, *, now: int | None = None) -> DueSchedules:
        """Read what is due; see the contract."""
        at, rows, following, workers, first = await self._told("due", now, (limit,))
        here = int(at)
        next_due = read_number(following)
        return DueSchedules(
            [row for flat in rows if (row := _row(flat)) is not None],
            here,
            None if next_due is None else next_due - here,
            workers,
            first.decode(errors="replace"),
        )

    async def schedules(self, names: Sequence[str]) -> Sequence[ScheduleRow | None]:
        """Read schedules by name."""
        return [_row(flat) for flat in await self._told("schedules", None, ("names", *names))]

    async def schedules_page(self, after: str, limit: int) -> Sequence[ScheduleRow]:
        """Read schedules in the order of their names."""
        rows = await self._told("schedules", None, ("page", after, limit))
        return [row for flat in rows if (row := _row(flat)) is not None]

    async def fire(self, moves: Sequence[Move], *, now: int | None = None) -> Sequence[bool]:
        """Write the moves that hold, with their jobs; see the contract."""
        if not moves:
            return []
        check_batch(check_moves(moves, BATCH_MAX))
        done = await self._told("fire", now, _move_words(moves))
        fault.point("fire.after_commit")
        return [said == _HELD for said in done]

    async def _told(self, name: str, now: int | None, words: Sequence[Any]) -> Any:  # noqa: ANN401
        if now is None and self._clock is not None:
            now = self._clock.wall()
        said = "" if now is None else str(now)
        # A fire that is sent again finds the revisions risen and does nothing; what it says then
        # is less than the first answer was, so it is not sent again by itself.
        steps = self._runner.script(script(name), (said, *words), again=name != "fire")
        return await self._runner.run(steps)


def _move_words(moves: Sequence[Move]) -> Words:
    """Write moves for `fire`; that a job has the head of the one before it takes no words.

    Raises:
        OverflowError, ValueError: as `job_words` says.
    """
    words: Words = []
    head: tuple[Any, ...] | None = None
    for move in moves:
        jobs, other = move.jobs, move.unfired
        alike = len(jobs) == 1 and jobs[0].key is None and head_of(jobs[0]) == head
        letters = ("-" if move.body is None else "k") + ("-" if other is None else "o")
        letters += "-" if not jobs else "a" if alike else "j"
        due = "" if move.due is None else move.due
        words += (move.name, move.revision, due, letters, move.body or b"")
        if other is not None:
            words += ("" if other.due is None else other.due, other.body)
        if alike:
            words += own_words(jobs[0])
        elif jobs:
            said = job_words(jobs)
            words += (len(jobs), len(said), *said)
            head = head_of(jobs[-1])
    return words


def _row(flat: Sequence[Any]) -> ScheduleRow | None:
    name, revision, due, body = flat
    if read_number(revision) is None or body is None:
        return None
    return ScheduleRow(name.decode(errors="replace"), int(revision), read_number(due), body)
