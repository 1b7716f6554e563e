"""arq on Redis with its fastest polling, and with its defaults.

It has no public call that stores many jobs at once.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_arq: Any = importlib.import_module("arq")
_connections: Any = importlib.import_module("arq.connections")

_SETTINGS: Any = _connections.RedisSettings.from_dsn(store_url())
_pools: list[Any] = []

# One line a job at INFO is what costs a short job most.
QUIET = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}


async def mark_job(_: dict[str, Any], number: int) -> int:
    """Leave a mark."""
    return mark(number)


class Tuned:
    """Settings of a worker that looks every 10 ms and runs many jobs at once."""

    functions = (mark_job,)
    redis_settings = _SETTINGS
    max_jobs = 500
    poll_delay = 0.01


class Default:
    """Settings of a worker as it comes."""

    functions = (mark_job,)
    redis_settings = _SETTINGS


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[None]:
    """Open the producer's connections."""
    pool = await _arq.create_pool(_SETTINGS)
    _pools.append(pool)
    try:
        yield
    finally:
        _pools.remove(pool)
        await pool.aclose()


async def enqueue_one(number: int) -> None:
    """Store one job."""
    await _pools[0].enqueue_job("mark_job", number)


_QUIETLY = ("--custom-log-dict", "bench.peers.arq_redis.QUIET")

PEER = Peer(
    name="arq",
    guarantees="at least once: kept until done, a dead worker's jobs return after job_timeout "
    "+ 10 s (310 s by default); result kept 1 h",
    distributions=("arq", "redis", "hiredis"),
    variants=(
        Variant(
            name="arq:fastest-polling",
            settings="max_jobs=500, poll_delay=0.01, job lines not logged",
            worker=("-m", "arq", "bench.peers.arq_redis.Tuned", *_QUIETLY),
            rates=Rates(single=3_600, bulk=3_600, drain=2_900),
            enqueue_one=enqueue_one,
            session=session,
        ),
        Variant(
            name="arq:default",
            settings="max_jobs=10, poll_delay=0.5 (defaults), job lines not logged",
            worker=("-m", "arq", "bench.peers.arq_redis.Default", *_QUIETLY),
            rates=Rates(single=3_600, bulk=3_600, drain=200),
            enqueue_one=enqueue_one,
            session=session,
        ),
    ),
)
