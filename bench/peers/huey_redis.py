"""Huey on Redis: its consumer blocks in a pop, so there is no polling to tune.

Huey has no public call that stores many jobs at once.
"""

from __future__ import annotations

import importlib
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_huey: Any = importlib.import_module("huey")

queue: Any = _huey.RedisHuey("bench", url=store_url())
marked: Any = queue.task(name="mark")(mark)

PEER = Peer(
    name="huey",
    guarantees="at most once: popped before it runs, lost with its worker; result kept until read",
    distributions=("huey", "redis"),
    variants=(
        Variant(
            name="huey:default",
            settings="RedisHuey defaults (blocking pop); -w 2 -k thread",
            worker=(
                *("-m", "huey.bin.huey_consumer", "bench.peers.huey_redis.queue"),
                *("-w", "2", "-k", "thread", "-q"),
            ),
            rates=Rates(single=11_500, bulk=11_500, drain=5_200),
            enqueue_one=marked,
        ),
    ),
)
