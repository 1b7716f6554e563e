"""Oban for Python on PostgreSQL, results recorded with the jobs.

Its own command looks through the working folder for tasks, so this file is the application that
its documentation embeds instead (`python -m bench.peers.oban_postgres`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_oban: Any = importlib.import_module("oban")
_schema: Any = importlib.import_module("oban.schema")
_uvloop: Any = importlib.import_module("uvloop")

_QUEUE = "bench"
_LIMIT = 100
_open: list[Any] = []


@_oban.worker(queue=_QUEUE)
class MarkJob:
    """The job."""

    async def process(self, job: Any) -> Any:  # noqa: ANN401 -- not installed where types are checked
        """Leave a mark and record its number."""
        return _oban.Record(mark(job.args["number"]))


@contextlib.asynccontextmanager
async def _pool() -> AsyncIterator[Any]:
    pool = await _oban.Oban.create_pool(store_url())
    try:
        yield pool
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[None]:
    """Open the producer's connections."""
    async with _pool() as pool, _oban.Oban(pool=pool) as client:
        _open.append(client)
        try:
            yield
        finally:
            _open.clear()


async def enqueue_one(number: int) -> None:
    """Store one job."""
    await _open[0].enqueue(_job(number))


async def enqueue_bulk(numbers: Sequence[int]) -> None:
    """Store many jobs in one statement."""
    await _open[0].enqueue_many(_job(number) for number in numbers)


def _job(number: int) -> Any:  # noqa: ANN401 -- as above
    return MarkJob.new({"number": number})  # type: ignore[attr-defined]


async def _prepare() -> None:
    async with _pool() as pool:
        await _schema.install(pool)


def prepare() -> None:
    """Make the tables."""
    asyncio.run(_prepare())


async def work() -> None:
    """Run what the queue holds until a signal to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with _pool() as pool, _oban.Oban(pool=pool, queues={_QUEUE: _LIMIT}):
        await stop.wait()


PEER = Peer(
    name="oban",
    guarantees="at least once, settled only by the attempt that runs; a dead worker's jobs return "
    "by its lifeline (every 60 s); job row and recorded result kept 1 day",
    distributions=("oban", "psycopg"),
    variants=(
        Variant(
            name="oban:default",
            settings=f"limit={_LIMIT}, pool of 10, LISTEN/NOTIFY, uvloop",
            worker=("-m", "bench.peers.oban_postgres"),
            rates=Rates(single=1_500, bulk=5_000, drain=3_500),
            enqueue_one=enqueue_one,
            enqueue_bulk=enqueue_bulk,
            prepare=prepare,
            session=session,
        ),
    ),
)

if __name__ == "__main__":
    _uvloop.run(work())
