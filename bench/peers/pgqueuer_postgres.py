"""PgQueuer on PostgreSQL through asyncpg, in batches of 100 and of 500."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_asyncpg: Any = importlib.import_module("asyncpg")
_pgqueuer: Any = importlib.import_module("pgqueuer")
_driver: Any = importlib.import_module("pgqueuer.db")
_queries: Any = importlib.import_module("pgqueuer.queries")

_ENTRYPOINT = "mark"
_open: list[Any] = []


async def mark_job(job: Any) -> None:  # noqa: ANN401 -- not installed where types are checked
    """Leave a mark; what a job returns is not kept."""
    mark(int(job.payload))


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[Any]:
    """Give `pgq run` its application for as long as it runs."""
    connection = await _asyncpg.connect(store_url())
    try:
        application = _pgqueuer.PgQueuer(_driver.AsyncpgDriver(connection))
        application.entrypoint(_ENTRYPOINT)(mark_job)
        yield application
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[None]:
    """Open the producer's connection."""
    connection = await _asyncpg.connect(store_url())
    _open.append(_queries.Queries(_driver.AsyncpgDriver(connection)))
    try:
        yield
    finally:
        _open.clear()
        await connection.close()


async def enqueue_one(number: int) -> None:
    """Store one job."""
    await _open[0].enqueue(_ENTRYPOINT, b"%d" % number)


async def enqueue_bulk(numbers: Sequence[int]) -> None:
    """Store many jobs in one statement."""
    await _open[0].enqueue(
        [_ENTRYPOINT] * len(numbers), [b"%d" % number for number in numbers], [0] * len(numbers)
    )


async def _prepare() -> None:
    async with session():
        await _open[0].install()


def prepare() -> None:
    """Make the tables, with PgQueuer's default durability."""
    asyncio.run(_prepare())


def _variant(name: str, batch: int) -> Variant:
    return Variant(
        name=name,
        settings=f"asyncpg, --batch-size {batch}, uvloop",
        worker=(
            *("-m", "pgqueuer", "run", "bench.peers.pgqueuer_postgres:serve"),
            *("--batch-size", str(batch), "--log-level", "WARNING"),
        ),
        rates=Rates(single=3_000, bulk=90_000, drain=17_000),
        enqueue_one=enqueue_one,
        enqueue_bulk=enqueue_bulk,
        prepare=prepare,
        session=session,
    )


PEER = Peer(
    name="pgqueuer",
    guarantees="at least once: a job without heartbeat for 30 s is taken again; status kept in a "
    "log, no result value",
    distributions=("pgqueuer", "asyncpg"),
    variants=(_variant("pgqueuer:batch-100", 100), _variant("pgqueuer:batch-500", 500)),
)
