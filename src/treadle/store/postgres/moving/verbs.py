"""The verbs by which whole jobs leave and come, each one transaction; see `store.parts.moving`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from treadle.core.job import AttemptRecord, JobRecord, write_error
from treadle.store.parts.moving import Parcel, SameStore, Seal, check_parcels
from treadle.store.postgres.control import named
from treadle.store.postgres.engine.pack import Value, blobs, int8s, lenient, text, texts, uuids
from treadle.store.postgres.engine.runner import Runner, Talk, drive
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call, Rows
from treadle.store.postgres.gates.line import written
from treadle.store.postgres.keys.freeing import freeing
from treadle.store.postgres.moving.starts import read_starts, take_starts
from treadle.store.postgres.news.ears import WORK, Ears
from treadle.store.postgres.reads import attempt_of, record_of
from treadle.store.postgres.tenants.turns import turns

if TYPE_CHECKING:
    from treadle.core.gates.arriving import Starts

_INT4_MAX: Final = 2**31 - 1


class PostgresMoving:
    """Moves of one PostgreSQL store."""

    def __init__(self, runner: Runner, sql: Statements, ears: Ears) -> None:
        """Take what the store's own verbs are made of."""
        self._runner = runner
        self._sql = sql
        self._ears = ears

    def refuses(self, record: JobRecord) -> str | None:
        """Refuse names that the server's texts cannot hold, and numbers that its columns cannot."""
        for name in ("task", "queue", "tenant"):
            if "\0" in (getattr(record, name) or ""):
                return f"its {name} has a zero character, which PostgreSQL cannot store"
        numbers = (record.attempt, record.forgiven, record.crashes, record.attempts_max or 0)
        if max(map(abs, numbers)) > _INT4_MAX:
            return "a count of its attempts is beyond 32 bits"
        return None

    async def seal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[Parcel | None]:
        """Seal what waits, and give it whole."""
        check_parcels(ids)
        return await drive(self._runner.run(lambda: _seal(self._sql, ids, seal)))

    async def adopt(self, parcels: Sequence[Parcel], seal: Seal) -> Sequence[bool]:
        """Write jobs as they were given."""
        check_parcels(parcels)
        ids = [parcel.record.id for parcel in parcels]
        here = await drive(self._runner.run(lambda: _sealed_here(self._sql, ids, seal.other)))
        if here:
            raise SameStore(here[0])
        return await drive(self._runner.run(lambda: _adopt(self._sql, parcels, seal)))

    async def unseal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Give sealed jobs their state and reason back."""
        check_parcels(ids)
        ring, giving = self._ears.ring(WORK), turns(self._sql)
        return await drive(
            self._runner.run(lambda: _change(self._sql, "unseal", ids, seal, ring, giving))
        )

    async def drop(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Delete sealed jobs; their keys go to who waits behind."""
        check_parcels(ids)
        ring, keyed = self._ears.ring(WORK), freeing(self._sql, uuids(named(ids)))
        return await drive(
            self._runner.run(lambda: _change(self._sql, "drop_sealed", ids, seal, ring, keyed))
        )

    async def starts(self, name: str) -> Starts | None:
        """Give what has started in a sliding window."""
        return await drive(self._runner.run(lambda: read_starts(self._sql, name)))

    async def receive(self, starts: Starts, move: str) -> bool:
        """Let starts of another store count."""
        return await drive(self._runner.run(lambda: take_starts(self._sql, starts, move)))


def _seal(sql: Statements, ids: Sequence[bytes], seal: Seal) -> Talk[Sequence[Parcel | None]]:
    which, mark = uuids(named(ids)), text(str(seal))
    calls: list[Call] = [
        (sql["seal"], (which, mark)),
        (sql["parcels"], (which, mark)),
        (sql["past_attempts"], (which,)),
        (sql["past_logs"], (which,)),
    ]
    _, (_, rows, past, lines) = yield Ask(calls)
    attempts: dict[bytes, list[AttemptRecord]] = defaultdict(list)
    for job, *told in past:
        attempts[job].append(attempt_of(told))
    logs: dict[bytes, list[tuple[int, int, str, str]]] = defaultdict(list)
    for job, attempt, at, level, said in lines:
        logs[job].append((attempt, at, level, said))
    found = {}
    for *record, cost, parked_at, ran in rows:
        told_of = record_of(record)
        past_of, said_of = tuple(attempts[told_of.id]), tuple(logs[told_of.id])
        found[told_of.id] = Parcel(told_of, cost, parked_at, ran, past_of, said_of)
    return [found.get(id_) for id_ in ids]


def _sealed_here(sql: Statements, ids: Sequence[bytes], seal: Seal) -> Talk[list[bytes]]:
    _, [rows] = yield Ask([(sql["sealed_here"], (uuids(named(ids)), text(str(seal))))])
    return [id_ for (id_,) in rows]


def _adopt(sql: Statements, parcels: Sequence[Parcel], seal: Seal) -> Talk[Sequence[bool]]:
    """Write jobs, their attempts and logs in one transaction."""
    waiting = [parcel for parcel in parcels if not parcel.is_dead]
    dead = [parcel for parcel in parcels if parcel.is_dead]
    queues = sorted({parcel.record.queue for parcel in parcels})
    calls: list[Call] = [
        (sql["insert_queues"], (texts(queues),)),
        (sql["adopt_waiting"], [*_columns(waiting, seal), _gates(waiting)]),
        (sql["adopt_dead"], [*_columns(dead, seal), *_ends(dead), _gates(dead)]),
    ]
    if any(parcel.attempts for parcel in parcels):
        calls.append((sql["adopt_attempts"], _attempts(parcels)))
    if any(parcel.logs for parcel in parcels):
        calls.append((sql["adopt_logs"], _logs(parcels)))
    _, (_, live, ended, *_) = yield Ask(calls)
    written = {id_ for rows in (live, ended) for (id_,) in rows}
    return [parcel.record.id in written for parcel in parcels]


def _columns(parcels: Sequence[Parcel], seal: Seal) -> list[Value]:
    """Give the columns that every job has."""
    jobs = [parcel.record for parcel in parcels]
    return [
        uuids([job.id for job in jobs]),
        texts([job.task for job in jobs]),
        texts([job.queue for job in jobs]),
        int8s([job.priority for job in jobs]),
        int8s([job.claim for job in jobs]),
        int8s([job.attempt for job in jobs]),
        int8s([job.forgiven for job in jobs]),
        int8s([job.crashes for job in jobs]),
        int8s([job.attempts_max for job in jobs]),
        blobs([job.args for job in jobs]),
        blobs([job.policy for job in jobs]),
        int8s([job.created_at for job in jobs]),
        int8s([job.run_at for job in jobs]),
        int8s([job.expires_at for job in jobs]),
        int8s([parcel.parked_at for parcel in parcels]),
        texts([lenient(parcel.reason(seal)) for parcel in parcels]),
        blobs([job.error for job in jobs]),
        blobs([job.tags for job in jobs]),
        blobs([job.meta for job in jobs]),
        texts([job.tenant for job in jobs]),
        int8s([parcel.cost for parcel in parcels]),
        blobs([job.progress for job in jobs]),
    ]


def _gates(parcels: Sequence[Parcel]) -> Value:
    return texts([written(parcel.record.gates) for parcel in parcels])


def _ends(parcels: Sequence[Parcel]) -> list[Value]:
    """Give the columns of how dead letters ended; what one lacks is its start."""
    jobs = [parcel.record for parcel in parcels]
    errors = [job.error_info() for job in jobs]
    return [
        texts([job.worker for job in jobs]),
        int8s([job.started_at for job in jobs]),
        int8s([job.created_at if job.finished_at is None else job.finished_at for job in jobs]),
        int8s([job.as_of if job.keep_until is None else job.keep_until for job in jobs]),
        texts([job.outcome for job in jobs]),
        int8s([parcel.ran for parcel in parcels]),
        texts([None if error is None else lenient(error.type) for error in errors]),
    ]


def _attempts(parcels: Sequence[Parcel]) -> list[Value]:
    every = [(parcel.record.id, one) for parcel in parcels for one in parcel.attempts]
    errors = [None if one.error is None else write_error(one.error) for _, one in every]
    return [
        uuids([job for job, _ in every]),
        int8s([one.attempt for _, one in every]),
        int8s([one.claim for _, one in every]),
        texts([one.worker for _, one in every]),
        int8s([one.started_at for _, one in every]),
        int8s([one.finished_at for _, one in every]),
        texts([one.outcome for _, one in every]),
        blobs(errors),
        int8s([one.ran for _, one in every]),
    ]


def _logs(parcels: Sequence[Parcel]) -> list[Value]:
    every = [
        (parcel.record.id, line, *told)
        for parcel in parcels
        for line, told in enumerate(parcel.logs, 1)
    ]
    return [
        uuids([row[0] for row in every]),
        int8s([row[1] for row in every]),
        int8s([row[2] for row in every]),
        int8s([row[3] for row in every]),
        texts([lenient(row[4]) for row in every]),
        texts([lenient(row[5]) for row in every]),
    ]


def _change(
    sql: Statements,
    name: str,
    ids: Sequence[bytes],
    seal: Seal,
    ring: Sequence[Call],
    then: Sequence[Call] = (),
) -> Talk[Sequence[bool]]:
    """Unseal or drop; tell of each id whether it was done."""
    rows: Rows
    call = sql[name], (uuids(named(ids)), text(str(seal)))
    _, (rows, *_) = yield Ask([call, *then], after=ring)
    done = {id_ for (id_,) in rows}
    return [id_ in done for id_ in ids]
