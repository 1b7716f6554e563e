"""The verbs of schedules, as the store's face has them; see `store.parts.scheduled`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.core import fault
from treadle.core.ids import new_id
from treadle.core.job import Met
from treadle.store.contract import BATCH_MAX
from treadle.store.parts.scheduled import DueSchedules, Move, ScheduleRow, check_moves, unfired_of
from treadle.store.postgres.engine.pack import blobs, int8, int8s, text, texts
from treadle.store.postgres.engine.runner import Runner, Talk, drive
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.keys.taking import enqueue_keyed
from treadle.store.postgres.line.enqueue import check_jobs, enqueue
from treadle.store.postgres.news.ears import WORK, Ears

if TYPE_CHECKING:
    from treadle.store.postgres.engine.sql import Statements


class PostgresSchedules:
    """Schedules of a store in PostgreSQL."""

    _runner: Runner
    _sql: Statements
    _ears: Ears

    async def due_schedules(self, limit: int, *, now: int | None = None) -> DueSchedules:
        """Read what is due; see the contract."""
        return await drive(self._runner.run(lambda: _due(self._sql, limit), now))

    async def schedules(self, names: Sequence[str]) -> Sequence[ScheduleRow | None]:
        """Read schedules by name."""
        return await drive(self._runner.run(lambda: _named(self._sql, names)))

    async def schedules_page(self, after: str, limit: int) -> Sequence[ScheduleRow]:
        """Read schedules in the order of their names."""
        return await drive(self._runner.run(lambda: _page(self._sql, after, limit)))

    async def fire(self, moves: Sequence[Move], *, now: int | None = None) -> Sequence[bool]:
        """Write the moves that hold, with their jobs; see the contract."""
        if not moves:
            return []
        check_jobs(check_moves(moves, BATCH_MAX))
        ring = self._ears.ring(WORK)
        done = await drive(self._runner.run(lambda: _fire(self._sql, moves, ring), now))
        fault.point("fire.after_commit")
        return done


def _due(sql: Statements, limit: int) -> Talk[DueSchedules]:
    now, (rows, [[following]], [[workers, first]]) = yield Ask(
        [
            (sql["schedules_due"], (int8(limit),)),
            (sql["schedules_next"], ()),
            (sql["schedules_crew"], ()),
        ]
    )
    next_due = None if following is None else following - now
    return DueSchedules([ScheduleRow(*row) for row in rows], now, next_due, workers, first)


def _named(sql: Statements, names: Sequence[str]) -> Talk[Sequence[ScheduleRow | None]]:
    _, [rows] = yield Ask([(sql["schedules_named"], (texts(names),))])
    found = {row[0]: ScheduleRow(*row) for row in rows}
    return [found.get(name) for name in names]


def _page(sql: Statements, after: str, limit: int) -> Talk[Sequence[ScheduleRow]]:
    _, [rows] = yield Ask([(sql["schedules_page"], (text(after), int8(limit)))])
    return [ScheduleRow(*row) for row in rows]


def _fire(sql: Statements, moves: Sequence[Move], ring: Sequence[Call]) -> Talk[Sequence[bool]]:
    """Move what holds, then store the jobs of just that, in one transaction."""
    _, answers = yield Ask(_calls(sql, moves), end=False)
    won = {name for rows in answers for (name,) in rows}
    held = [move for move in moves if move.name in won]
    fault.point("fire.before_commit")
    yield from _store(sql, held, ring)
    return [move.name in won for move in moves]


def _store(sql: Statements, moves: Sequence[Move], ring: Sequence[Call]) -> Talk[None]:
    """Store the jobs of moves that hold, and end the transaction."""
    jobs = [job for move in moves for job in move.jobs]
    queues = sorted({job.queue for job in jobs})
    if not jobs:
        yield Ask([])
        return
    if all(job.key is None for job in jobs):
        yield from enqueue(sql, new_id(), jobs, queues, ring, beside=True)
        return
    fates = yield from enqueue_keyed(sql, new_id(), jobs, queues, (), end=False)
    met = {job.id for job, fate in zip(jobs, fates, strict=True) if isinstance(fate, Met)}
    told = unfired_of(moves, lambda job: job.id in met)
    values = (
        texts([name for name, _ in told]),
        int8s([other.due for _, other in told]),
        blobs([other.body for _, other in told]),
    )
    yield Ask([(sql["schedules_unfired"], values)] if told else [], after=ring)


def _calls(sql: Statements, moves: Sequence[Move]) -> list[Call]:
    """Write the moves as one statement a kind."""
    made = [move for move in moves if move.body is not None and not move.revision]
    moved = [move for move in moves if move.body is not None and move.revision]
    dropped = [move for move in moves if move.body is None]
    calls: list[Call] = []
    if made:
        calls.append((sql["schedules_make"], (_names(made), _dues(made), _bodies(made))))
    if moved:
        values = (_names(moved), _revisions(moved), _dues(moved), _bodies(moved))
        calls.append((sql["schedules_move"], values))
    if dropped:
        calls.append((sql["schedules_drop"], (_names(dropped), _revisions(dropped))))
    return calls


def _names(moves: Sequence[Move]) -> bytes:
    return texts([move.name for move in moves])


def _revisions(moves: Sequence[Move]) -> bytes:
    return int8s([move.revision for move in moves])


def _dues(moves: Sequence[Move]) -> bytes:
    return int8s([move.due for move in moves])


def _bodies(moves: Sequence[Move]) -> bytes:
    return blobs([move.body for move in moves])
