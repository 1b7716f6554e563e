"""streaQ on Redis streams; its scripts are functions, which need Redis 7."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_streaq: Any = importlib.import_module("streaq")

worker: Any = _streaq.Worker(
    redis_url=store_url(), concurrency=64, anyio_kwargs={"use_uvloop": True}
)


@worker.task(name="mark", silent=True)  # type: ignore[untyped-decorator]
async def mark_job(number: int) -> int:
    """Leave a mark."""
    return mark(number)


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[None]:
    """Open the producer's connections."""
    async with worker:
        yield


async def enqueue_one(number: int) -> None:
    """Store one job."""
    await mark_job.enqueue(number)


async def enqueue_bulk(numbers: Sequence[int]) -> None:
    """Store many jobs in one pipeline."""
    await worker.enqueue_many([mark_job.enqueue(number) for number in numbers])


PEER = Peer(
    name="streaq",
    guarantees="at least once: a dead worker's jobs return after 60 s; result kept 5 min",
    distributions=("streaq", "coredis"),
    variants=(
        Variant(
            name="streaq:default",
            settings="concurrency=64, uvloop, job lines not logged",
            worker=("-m", "streaq", "run", "bench.peers.streaq_redis:worker"),
            rates=Rates(single=5_400, bulk=20_000, drain=2_000),
            enqueue_one=enqueue_one,
            enqueue_bulk=enqueue_bulk,
            session=session,
        ),
    ),
)
