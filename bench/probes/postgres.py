"""Probe: which driver and which tables carry jobs in PostgreSQL fastest, in treadle's batches.

It enqueues jobs and takes them out again: each transaction settles the batch before (with a
result) and claims the next one with SKIP LOCKED, whole rows returned. Three ways of speaking
(asyncpg; psycopg's own connection with pipeline and binary cursors; libpq through psycopg.pq
with arrays packed here) meet three layouts (`one` table whose row changes its state; a small
table of live jobs with `history` beside it; `narrow` tables of what is ready and running
beside the bodies). One connection, the server's own durability. docs/adr/0009 has the figures.
"""

# ruff: noqa: S608 -- the statements are put together from this file's own constants

from __future__ import annotations

import argparse
import asyncio
import json
import select
import struct
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

_ARGS = b"[[7],{}]"
_RESULT = b"7"
_BODY = """
    id uuid not null, task text not null, queue text not null, priority smallint not null,
    tag bigint not null default 0, number bigint not null default 0,
    attempt integer not null default 0, args bytea not null, attempts_max integer, policy bytea,
    created_at bigint not null, run_at bigint not null, expires_at bigint, tags bytea, meta bytea,
    tenant text
"""
_RUN = "state text not null default 'ready', worker text, started_at bigint"
_END = "finished_at bigint, keep_until bigint, ran bigint, outcome text, result bytea"
_RETURNED = (
    "j.priority, j.tag, j.id, j.number, j.task, j.queue, j.attempt, j.args, j.attempts_max, "
    "j.policy, j.created_at, j.run_at, j.expires_at, j.tags, j.meta, j.tenant"
)
_NEW = """
    insert into probe_jobs (id, task, queue, priority, args, created_at, run_at)
    select id, 'bench.mark', 'default', 0, args, 1, 1
    from unnest($1::uuid[], $2::bytea[]) as given (id, args)
    on conflict do nothing
"""
_PICK = """
    select id from probe_{table} where {ready} queue = 'default'
    order by priority desc, tag, id limit $1::bigint for update skip locked
"""
_GIVEN = "unnest($1::uuid[], $2::bigint[], $3::bytea[]) as g (id, number, result)"
_CLAIM_UPDATE = f"""
    with picked as ({_PICK.format(table="jobs", ready="state = 'ready' and")})
    update probe_jobs j set state = 'running', number = number + 1, attempt = attempt + 1,
        worker = 'w1', started_at = 2
    from picked where j.id = picked.id returning {_RETURNED}
"""

LAYOUTS = {
    "one": {
        "schema": f"""
            create table probe_jobs ({_BODY}, {_RUN}, {_END}, primary key (id));
            create index on probe_jobs (queue, priority desc, tag, id) where state = 'ready';
            create index on probe_jobs (worker) where state = 'running';
            create index on probe_jobs (keep_until) where keep_until is not null;
        """,
        "enqueue": _NEW,
        "settle": f"""
            update probe_jobs j set state = 'succeeded', outcome = 'succeeded', finished_at = 3,
                keep_until = 4, ran = 5, result = g.result
            from {_GIVEN} where j.id = g.id and j.number = g.number and j.state = 'running'
        """,
        "claim": _CLAIM_UPDATE,
    },
    "history": {
        "schema": f"""
            create table probe_jobs ({_BODY}, {_RUN}, primary key (id));
            create table probe_history ({_BODY}, {_RUN}, {_END});
            create index on probe_history (id);
            create index on probe_jobs (queue, priority desc, tag, id) where state = 'ready';
            create index on probe_jobs (worker) where state = 'running';
        """,
        "enqueue": _NEW,
        "settle": f"""
            with gone as (
                delete from probe_jobs j using {_GIVEN}
                where j.id = g.id and j.number = g.number and j.state = 'running'
                returning j.*, g.result
            )
            insert into probe_history
            select id, task, queue, priority, tag, number, attempt, args, attempts_max, policy,
                created_at, run_at, expires_at, tags, meta, tenant, 'succeeded', worker,
                started_at, 3, 4, 5, 'succeeded', result from gone
        """,
        "claim": _CLAIM_UPDATE,
    },
    "narrow": {
        "schema": f"""
            create table probe_jobs ({_BODY}, primary key (id));
            create table probe_ready (queue text not null, priority smallint not null,
                tag bigint not null, id uuid not null);
            create unique index on probe_ready (queue, priority desc, tag, id);
            create table probe_running (id uuid primary key, number bigint not null,
                attempt integer not null, worker text not null, started_at bigint not null);
            create index on probe_running (worker);
            create table probe_history ({_BODY}, {_RUN}, {_END});
            create index on probe_history (id);
            create index on probe_history (keep_until);
        """,
        "enqueue": f"""
            with made as ({_NEW} returning queue, priority, tag, id)
            insert into probe_ready select queue, priority, tag, id from made
        """,
        "settle": f"""
            with run as (
                delete from probe_running r using {_GIVEN}
                where r.id = g.id and r.number = g.number returning r.*, g.result
            ), gone as (
                delete from probe_jobs j using run where j.id = run.id
                returning j.*, run.number as n, run.attempt as a, run.worker, run.started_at,
                    run.result
            )
            insert into probe_history
            select id, task, queue, priority, tag, n, a, args, attempts_max, policy,
                created_at, run_at, expires_at, tags, meta, tenant, 'succeeded', worker,
                started_at, 3, 4, 5, 'succeeded', result from gone
        """,
        "claim": f"""
            with picked as ({_PICK.format(table="ready", ready="")}), gone as (
                delete from probe_ready r using picked
                where r.queue = 'default' and r.id = picked.id and r.priority = 0 and r.tag = 0
            ), run as (
                insert into probe_running
                select j.id, j.number + 1, j.attempt + 1, 'w1', 2
                from picked join probe_jobs j on j.id = picked.id returning id, number
            )
            select j.priority, j.tag, j.id, run.number, j.task, j.queue, j.attempt, j.args,
                j.attempts_max, j.policy, j.created_at, j.run_at, j.expires_at, j.tags, j.meta,
                j.tenant from run join probe_jobs j on j.id = run.id
        """,
    },
}

Ids = Sequence[bytes]


class Driver(Protocol):
    """One way of speaking: whole batches, ids as 16 bytes."""

    async def enqueue(self, ids: Ids) -> None:
        """Store a batch."""
        ...

    async def exchange(self, settled: Sequence[tuple[bytes, int]], want: int) -> list[Any]:
        """Settle and claim in one transaction; return the claims as (id, number)."""
        ...


class Asyncpg:
    """asyncpg with its prepared statements, in an explicit transaction."""

    def __init__(self, url: str, sql: dict[str, str]) -> None:
        self._url, self._sql = url, sql

    async def start(self) -> Asyncpg:
        """Connect; ids travel as bytes."""
        self._db = await asyncpg.connect(self._url)
        await self._db.set_type_codec(
            "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
        )
        return self

    async def enqueue(self, ids: Ids) -> None:
        """Store a batch."""
        await self._db.execute(self._sql["enqueue"], ids, [_ARGS] * len(ids))

    async def exchange(self, settled: Sequence[tuple[bytes, int]], want: int) -> list[Any]:
        """Settle and claim: four round trips."""
        async with self._db.transaction():
            if settled:
                ids, numbers = [i for i, _ in settled], [n for _, n in settled]
                await self._db.execute(self._sql["settle"], ids, numbers, [_RESULT] * len(ids))
            rows = await self._db.fetch(self._sql["claim"], want)
        return [(row[2], row[3]) for row in map(tuple, rows)]


class Psycopg:
    """psycopg's own connection: a pipeline, raw cursors, binary both ways."""

    def __init__(self, url: str, sql: dict[str, str]) -> None:
        self._url = url
        self._sql = {name: text.encode() for name, text in sql.items()}

    async def start(self) -> Psycopg:
        """Connect; statements are prepared at once."""
        self._db = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, prepare_threshold=0, cursor_factory=psycopg.AsyncRawCursor
        )
        return self

    async def enqueue(self, ids: Ids) -> None:
        """Store a batch."""
        values = [[uuid.UUID(bytes=i) for i in ids], [_ARGS] * len(ids)]
        await self._db.execute(self._sql["enqueue"], values, binary=True)

    async def exchange(self, settled: Sequence[tuple[bytes, int]], want: int) -> list[Any]:
        """Settle and claim in one round trip, which is one transaction."""
        async with self._db.pipeline():
            if settled:
                ids = [uuid.UUID(bytes=i) for i, _ in settled]
                values = [ids, [n for _, n in settled], [_RESULT] * len(ids)]
                await self._db.execute(self._sql["settle"], values, binary=True)
            cursor = await self._db.execute(self._sql["claim"], [want], binary=True)
            rows = await cursor.fetchall()
        return [(row[2].bytes, row[3]) for row in rows]


_UUIDS, _INTS, _BYTES = 2950, 20, 17


def _array(kind: int, values: Sequence[bytes]) -> bytes:
    """Write a one-dimensional array as the server's binary format has it."""
    parts = [struct.pack(">iiiii", 1, 0, kind, len(values), 1)]
    for value in values:
        parts += (struct.pack(">i", len(value)), value)
    return b"".join(parts)


class Libpq:
    """libpq as psycopg.pq wraps it, its pipeline always on, arrays packed here."""

    def __init__(self, url: str, sql: dict[str, str]) -> None:
        self._url = url
        self._sql = {name: text.encode() for name, text in sql.items()}

    async def start(self) -> Libpq:
        """Connect."""
        self._db = pq.PGconn.connect(self._url.encode())
        if self._db.status != pq.ConnStatus.OK:
            raise ConnectionError(self._db.get_error_message())
        self._db.nonblocking = 1
        self._db.enter_pipeline_mode()
        for name, text in self._sql.items():
            self._db.send_prepare(name.encode(), text)
        await self._answers()
        return self

    def _send(self, name: str, values: Sequence[bytes]) -> None:
        self._db.send_query_prepared(
            name.encode(), values, [pq.Format.BINARY] * len(values), pq.Format.BINARY
        )

    async def _answers(self) -> list[pq.abc.PGresult]:
        db, loop = self._db, asyncio.get_running_loop()
        db.pipeline_sync()
        poll = select.poll()
        found: list[pq.abc.PGresult] = []
        while db.flush():
            poll.register(db.socket, select.POLLIN | select.POLLOUT)
            poll.poll()
            db.consume_input()
        while True:
            while not db.is_busy():
                result = db.get_result()
                if result is None:
                    continue
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    return found
                if result.status == pq.ExecStatus.FATAL_ERROR:
                    raise ConnectionError(result.get_error_message())
                found.append(result)
            readable = loop.create_future()
            loop.add_reader(db.socket, readable.set_result, None)
            try:
                await readable
            finally:
                loop.remove_reader(db.socket)
            db.consume_input()

    async def enqueue(self, ids: Ids) -> None:
        """Store a batch."""
        self._send("enqueue", [_array(_UUIDS, ids), _array(_BYTES, [_ARGS] * len(ids))])
        await self._answers()

    async def exchange(self, settled: Sequence[tuple[bytes, int]], want: int) -> list[Any]:
        """Settle and claim in one round trip, every column of the claims read."""
        if settled:
            numbers = [struct.pack(">q", number) for _, number in settled]
            values = [_array(_UUIDS, [i for i, _ in settled]), _array(_INTS, numbers)]
            self._send("settle", [*values, _array(_BYTES, [_RESULT] * len(settled))])
        self._send("claim", [struct.pack(">q", want)])
        result = (await self._answers())[-1]
        reader = Transformer()
        reader.set_pgresult(result)
        return [(row[2].bytes, row[3]) for row in reader.load_rows(0, result.ntuples, tuple)]


DRIVERS: dict[str, type[Asyncpg | Psycopg | Libpq]] = {
    "asyncpg": Asyncpg,
    "psycopg": Psycopg,
    "libpq": Libpq,
}


async def measure(url: str, driver: str, layout: str, count: int, batch: int) -> dict[str, Any]:
    """Return jobs a second into and out of the tables, and the client's own share of it."""
    tables = LAYOUTS[layout]
    with psycopg.connect(url, autocommit=True) as db:
        names = ", ".join(f"probe_{name}" for name in ("jobs", "ready", "running", "history"))
        db.execute(f"drop table if exists {names}")
        db.execute(tables["schema"])
    statements = {name: text for name, text in tables.items() if name != "schema"}
    spoken: Driver = await DRIVERS[driver](url, statements).start()
    ids = [(n + 1).to_bytes(16, "big") for n in range(count)]
    start, cpu = time.perf_counter(), time.process_time()
    for first in range(0, count, batch):
        await spoken.enqueue(ids[first : first + batch])
    stored, stored_cpu = time.perf_counter(), time.process_time()
    held: list[Any] = []
    done = 0
    while done < count:
        held = await spoken.exchange(held, batch)
        done += len(held)
    await spoken.exchange(held, 1)
    end, end_cpu = time.perf_counter(), time.process_time()
    return {
        "driver": driver, "layout": layout, "batch": batch, "count": count,
        "enqueue_per_s": round(count / (stored - start)),
        "exchange_per_s": round(count / (end - stored)),
        "enqueue_client_us": round((stored_cpu - cpu) / count * 1e6, 2),
        "exchange_client_us": round((end_cpu - stored_cpu) / count * 1e6, 2),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.probes.postgres")
    parser.add_argument("--url", required=True)
    parser.add_argument("--driver", choices=DRIVERS, default="libpq")
    parser.add_argument("--layout", choices=LAYOUTS, default="history")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--batch", type=int, default=200)
    words = parser.parse_args()
    figures = asyncio.run(measure(words.url, words.driver, words.layout, words.count, words.batch))
    sys.stdout.write(json.dumps(figures) + "\n")
