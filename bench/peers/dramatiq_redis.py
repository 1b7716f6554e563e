"""Dramatiq on Redis with its Results middleware.

It has no public call that stores many jobs at once.
"""

from __future__ import annotations

import importlib
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_dramatiq: Any = importlib.import_module("dramatiq")
_broker: Any = importlib.import_module("dramatiq.brokers.redis")
_results: Any = importlib.import_module("dramatiq.results")
_backends: Any = importlib.import_module("dramatiq.results.backends.redis")

broker: Any = _broker.RedisBroker(url=store_url())
broker.add_middleware(_results.Results(backend=_backends.RedisBackend(url=store_url())))
_dramatiq.set_broker(broker)
marked: Any = _dramatiq.actor(mark, actor_name="mark", queue_name="bench", store_results=True)

PEER = Peer(
    name="dramatiq",
    guarantees="at least once: acknowledged after the run, a dead worker's jobs return after "
    "60 s and some traffic; result kept 10 min",
    distributions=("dramatiq", "redis"),
    variants=(
        Variant(
            name="dramatiq:results",
            settings="--processes 1 --threads 8, Results middleware",
            worker=(
                *("-m", "dramatiq", "bench.peers.dramatiq_redis"),
                *("--processes", "1", "--threads", "8"),
            ),
            rates=Rates(single=8_500, bulk=8_500, drain=2_100),
            enqueue_one=marked.send,
        ),
    ),
)
