"""taskiq on Redis streams, its broker with acknowledgements, results in Redis.

It has no public call that stores many jobs at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_taskiq_redis: Any = importlib.import_module("taskiq_redis")

broker: Any = _taskiq_redis.RedisStreamBroker(store_url()).with_result_backend(
    _taskiq_redis.RedisAsyncResultBackend(store_url())
)


@broker.task(task_name="mark")  # type: ignore[untyped-decorator]
async def mark_job(number: int) -> int:
    """Leave a mark."""
    return mark(number)


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[None]:
    """Open the producer's connections."""
    await broker.startup()
    try:
        yield
    finally:
        await broker.shutdown()


async def _prepare() -> None:
    async with session():
        pass


def prepare() -> None:
    """Make the stream's consumer group, as the broker does when it starts."""
    asyncio.run(_prepare())


PEER = Peer(
    name="taskiq",
    guarantees="at least once: acknowledged when saved, a dead worker's jobs return after 10 min "
    "and a new message; result kept",
    distributions=("taskiq", "taskiq-redis", "redis"),
    variants=(
        Variant(
            name="taskiq:stream",
            settings="RedisStreamBroker, --workers 1 --max-async-tasks 100 --max-prefetch 100, "
            "ack when_saved, uvloop",
            worker=(
                *("-m", "taskiq", "worker", "bench.peers.taskiq_redis:broker", "--workers", "1"),
                *("--max-async-tasks", "100", "--max-prefetch", "100"),
                *("--ack-type", "when_saved", "--log-level", "WARNING"),
            ),
            rates=Rates(single=5_300, bulk=5_300, drain=2_900),
            enqueue_one=mark_job.kiq,
            prepare=prepare,
            session=session,
        ),
    ),
)
