"""RQ on Redis: its worker without a fork a job, and the default one that forks."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_redis: Any = importlib.import_module("redis")
_rq: Any = importlib.import_module("rq")

# Read by `rq worker --config`.
REDIS_URL = store_url()

_queue: Any = _rq.Queue("bench", connection=_redis.Redis.from_url(REDIS_URL))
_WORKER = ("-m", "rq.cli", "worker", "bench", "--config", "bench.peers.rq_redis", "--quiet")
_RATES_SINGLE, _RATES_BULK = 4_000, 19_000


def enqueue_one(number: int) -> object:
    """Store one job."""
    return _queue.enqueue(mark, number)


def enqueue_bulk(numbers: Sequence[int]) -> object:
    """Store many jobs in one pipeline."""
    return _queue.enqueue_many([_queue.prepare_data(mark, (number,)) for number in numbers])


PEER = Peer(
    name="rq",
    guarantees="a job that runs as its worker dies is marked failed later, rerun only with Retry; "
    "result kept 500 s",
    distributions=("rq", "redis"),
    variants=(
        Variant(
            name="rq:simple",
            settings="SimpleWorker (no fork a job), job descriptions not logged",
            worker=(
                *(*_WORKER, "--worker-class", "rq.worker.SimpleWorker"),
                "--disable-job-desc-logging",
            ),
            rates=Rates(single=_RATES_SINGLE, bulk=_RATES_BULK, drain=500),
            enqueue_one=enqueue_one,
            enqueue_bulk=enqueue_bulk,
        ),
        Variant(
            name="rq:fork",
            settings="Worker (the default: a fork a job)",
            worker=_WORKER,
            rates=Rates(single=_RATES_SINGLE, bulk=_RATES_BULK, drain=100),
            enqueue_one=enqueue_one,
            enqueue_bulk=enqueue_bulk,
        ),
    ),
)
