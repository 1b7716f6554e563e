"""SAQ on either of its engines: the queue, the job, and how both are called.

SAQ runs a job again after its worker died only when it may be tried more than once, so every
job is given three tries. It has no public call that stores many jobs at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_saq: Any = importlib.import_module("saq")

queue: Any = _saq.Queue.from_url(store_url())


async def mark_job(_: dict[str, Any], *, number: int) -> int:
    """Leave a mark."""
    return mark(number)


async def enqueue_one(number: int) -> None:
    """Store one job."""
    await queue.enqueue("mark_job", number=number, retries=3)


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[None]:
    """Open the producer's connections."""
    await queue.connect()
    try:
        yield
    finally:
        await queue.disconnect()


async def _prepare() -> None:
    async with session():
        pass


def prepare() -> None:
    """Make what the queue needs, as it does when it connects."""
    asyncio.run(_prepare())


def peer(engine: str, *, library: str, concurrency: int, rates: Rates) -> Peer:
    """Describe SAQ on an engine; its worker finds `settings` in that engine's file."""
    return Peer(
        name="saq",
        guarantees="at least once with retries=3: kept until done, swept back after its timeout; "
        "result kept 10 min",
        distributions=("saq", library),
        variants=(
            Variant(
                name="saq:default",
                settings=f"concurrency={concurrency}, retries=3",
                worker=("-m", "saq", f"bench.peers.saq_{engine}.settings", "--quiet"),
                rates=rates,
                enqueue_one=enqueue_one,
                prepare=prepare,
                session=session,
            ),
        ),
    )
