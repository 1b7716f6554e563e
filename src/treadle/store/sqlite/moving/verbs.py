"""The verbs by which jobs leave and come, each one write transaction; see `store.parts.moving`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.core.gates.gate import read_gates, write_gates
from treadle.core.job import AttemptRecord, JobRecord, write_error
from treadle.store.parts.moving import Parcel, SameStore, Seal, check_parcels
from treadle.store.sqlite.engine.bell import WORK, FileBell, MemoryBell
from treadle.store.sqlite.engine.runner import Runner, drive
from treadle.store.sqlite.gates.book import Book
from treadle.store.sqlite.keys.freeing import ENDED, free
from treadle.store.sqlite.moving.starts import read_starts, take_starts
from treadle.store.sqlite.reads import attempt_of, record_of

if TYPE_CHECKING:
    from treadle.core.gates.arriving import Starts

Statements = dict[str, str]


class SqliteMoving:
    """Moves of one SQLite store."""

    def __init__(self, runner: Runner, sql: Statements, bell: FileBell | MemoryBell) -> None:
        """Take what the store's own verbs are made of."""
        self._runner = runner
        self._sql = sql
        self._bell = bell

    def refuses(self, record: JobRecord) -> str | None:  # noqa: ARG002 -- the contract
        """Refuse nothing: what another store could keep fits into a row."""
        return None

    async def seal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[Parcel | None]:
        """Seal what waits, and give it whole."""
        check_parcels(ids)
        return await drive(
            self._runner.write(lambda db, at: [_sealed(db, self._sql, i, seal, at) for i in ids])
        )

    async def adopt(self, parcels: Sequence[Parcel], seal: Seal) -> Sequence[bool]:
        """Write jobs as they were given."""
        check_parcels(parcels)
        return await drive(
            self._runner.write(lambda db, _: [_adopted(db, self._sql, p, seal) for p in parcels])
        )

    async def unseal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Give sealed jobs their state and reason back."""
        check_parcels(ids)
        done = await drive(
            self._runner.write(lambda db, _: [_unsealed(db, self._sql, i, seal) for i in ids])
        )
        self._bell.ring(WORK)
        return done

    async def drop(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Delete sealed jobs; their keys go to who waits behind."""
        check_parcels(ids)
        done = await drive(
            self._runner.write(lambda db, at: [_dropped(db, self._sql, i, seal, at) for i in ids])
        )
        self._bell.ring(WORK)
        return done

    async def starts(self, name: str) -> Starts | None:
        """Give what has started in a sliding window."""
        return await drive(
            self._runner.read(lambda db, at: read_starts(Book(db, self._sql, at), name))
        )

    async def receive(self, starts: Starts, move: str) -> bool:
        """Let starts of another store count."""
        return await drive(
            self._runner.write(lambda db, at: take_starts(Book(db, self._sql, at), starts, move))
        )


def _sealed(
    db: sqlite3.Connection, sql: Statements, id_: bytes, seal: Seal, now: int
) -> Parcel | None:
    values = {"id": id_, "seal": str(seal), "now": now}
    db.execute(sql["seal"], values)
    row = db.execute(sql["parcel"], values).fetchone()
    if row is None:
        return None
    *record, cost, parked_at, ran = row
    attempts = [attempt_of(past) for past in db.execute(sql["past_attempts"], (id_,))]
    logs = db.execute(sql["logs"], (id_,)).fetchall()
    return Parcel(record_of(record), cost, parked_at, ran, tuple(attempts), tuple(logs))


def _adopted(db: sqlite3.Connection, sql: Statements, parcel: Parcel, seal: Seal) -> bool:
    id_ = parcel.record.id
    if not db.execute(sql["adopt"], _row(parcel, seal)).rowcount:
        there = db.execute(sql["sealed_reason"], (id_,)).fetchone()
        if there is not None and str(there[0]).startswith(str(seal.other)):
            raise SameStore(id_)
        return False
    db.execute(sql["insert_queue"], (parcel.record.queue,))
    db.executemany(sql["adopt_attempt"], [_attempt(id_, one) for one in parcel.attempts])
    lines = [(id_, line, *told) for line, told in enumerate(parcel.logs, 1)]
    db.executemany(sql["adopt_log"], lines)
    return True


def _row(parcel: Parcel, seal: Seal) -> tuple[Any, ...]:
    r = parcel.record
    return (
        r.id, r.task, r.queue, str(r.state), r.priority, r.attempt, r.claim, r.args, r.created_at,
        r.run_at, r.attempts_max, r.forgiven, r.crashes, r.policy, r.started_at, r.finished_at,
        r.expires_at, r.keep_until, r.worker, r.outcome, parcel.reason(seal), r.error, r.tags,
        r.meta, r.tenant, r.progress, parcel.cost, parcel.parked_at, parcel.ran, _as_here(r.gates),
    )  # fmt: skip


def _as_here(gates: bytes | None) -> bytes | None:
    """Write gates as this store does, whose index looks for the text; another one spaces it out.

    What a hand has damaged stays as it is.
    """
    try:
        return write_gates(read_gates(gates))
    except ValueError:
        return gates


def _attempt(job: bytes, one: AttemptRecord) -> tuple[Any, ...]:
    error = None if one.error is None else write_error(one.error)
    return (
        job, one.attempt, one.claim, one.worker, one.started_at, one.finished_at, one.outcome,
        error, one.ran,
    )  # fmt: skip


def _unsealed(db: sqlite3.Connection, sql: Statements, id_: bytes, seal: Seal) -> bool:
    row = db.execute(sql["sealed_reason"], (id_,)).fetchone()
    if row is None or not str(row[0]).startswith(str(seal)):
        return False
    state, _, reason = str(row[0]).removeprefix(str(seal)).partition("|")
    return db.execute(sql["unseal"], (state, reason or None, id_, row[0])).rowcount > 0


def _dropped(db: sqlite3.Connection, sql: Statements, id_: bytes, seal: Seal, now: int) -> bool:
    gone = db.execute(sql["drop_sealed"], {"id": id_, "seal": str(seal)}).rowcount > 0
    if gone:
        db.execute(sql["delete_attempts"], (id_,))
        db.execute(sql["delete_logs"], (id_,))
        free(db, sql, [id_], ENDED, now)
    return gone
