"""The verbs of schedules, as the store's face has them; see `store.parts.scheduled`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from treadle.core import fault
from treadle.core.job import Met
from treadle.store.batches import check_batch
from treadle.store.contract import BATCH_MAX
from treadle.store.parts.scheduled import DueSchedules, Move, ScheduleRow, check_moves, unfired_of
from treadle.store.sqlite.engine.bell import WORK, FileBell, MemoryBell
from treadle.store.sqlite.engine.runner import Runner, drive
from treadle.store.sqlite.enqueue import enqueue
from treadle.store.sqlite.gates.line import meet
from treadle.store.sqlite.keys.steps import carry
from treadle.store.sqlite.keys.taking import take_all

Statements = dict[str, str]


class SqliteSchedules:
    """Schedules of a store in SQLite."""

    _runner: Runner
    _sql: Statements
    _bell: FileBell | MemoryBell

    async def due_schedules(self, limit: int, *, now: int | None = None) -> DueSchedules:
        """Read what is due; see the contract."""
        return await drive(self._runner.read(lambda db, at: _due(db, self._sql, limit, at), now))

    async def schedules(self, names: Sequence[str]) -> Sequence[ScheduleRow | None]:
        """Read schedules by name."""
        return await drive(self._runner.read(lambda db, _: _named(db, self._sql, names)))

    async def schedules_page(self, after: str, limit: int) -> Sequence[ScheduleRow]:
        """Read schedules in the order of their names."""

        def body(db: sqlite3.Connection, _: int) -> list[ScheduleRow]:
            rows = db.execute(self._sql["schedules_page"], (after, limit))
            return [ScheduleRow(*row) for row in rows]

        return await drive(self._runner.read(body))

    async def fire(self, moves: Sequence[Move], *, now: int | None = None) -> Sequence[bool]:
        """Write the moves that hold, with their jobs; see the contract."""
        if not moves:
            return []
        jobs = check_moves(moves, BATCH_MAX)
        check_batch(jobs)

        def body(db: sqlite3.Connection, at: int) -> list[bool]:
            done = [_move(db, self._sql, move) for move in moves]
            _store(db, self._sql, [m for m, did in zip(moves, done, strict=True) if did], at)
            fault.point("fire.before_commit")
            return done

        done = await drive(self._runner.write(body, now))
        fault.point("fire.after_commit")
        if jobs:
            self._bell.ring(WORK)
        return done


def _due(db: sqlite3.Connection, sql: Statements, limit: int, now: int) -> DueSchedules:
    rows = [ScheduleRow(*row) for row in db.execute(sql["schedules_due"], (now, limit))]
    [following] = db.execute(sql["schedules_next"], (now,)).fetchone()
    workers, first = db.execute(sql["schedules_crew"]).fetchone()
    return DueSchedules(rows, now, None if following is None else following - now, workers, first)


def _named(
    db: sqlite3.Connection, sql: Statements, names: Sequence[str]
) -> list[ScheduleRow | None]:
    rows = [db.execute(sql["schedule"], (name,)).fetchone() for name in names]
    return [None if row is None else ScheduleRow(*row) for row in rows]


def _move(db: sqlite3.Connection, sql: Statements, move: Move) -> bool:
    if move.body is None:
        statement = "schedule_drop"
    else:
        statement = "schedule_move" if move.revision else "schedule_make"
    values = {
        "name": move.name, "revision": move.revision, "due": move.due, "body": move.body,
    }  # fmt: skip
    return db.execute(sql[statement], values).rowcount > 0


def _store(db: sqlite3.Connection, sql: Statements, moves: Sequence[Move], now: int) -> None:
    """Store the jobs of moves that hold; a schedule none of whose jobs was stored is told so."""
    jobs = [job for move in moves for job in move.jobs]
    if not jobs:
        return
    queues = sorted({job.queue for job in jobs})
    if all(job.key is None for job in jobs):
        enqueue(db, sql, jobs, queues, now)
        return
    db.executemany(sql["insert_queue"], [(name,) for name in queues])
    fates = meet(db, sql, jobs, carry(db, sql, take_all(jobs, now)), now)
    met = {job.id for job, fate in zip(jobs, fates, strict=True) if isinstance(fate, Met)}
    for name, other in unfired_of(moves, lambda job: job.id in met):
        db.execute(sql["schedule_unfired"], (other.due, other.body, name))
