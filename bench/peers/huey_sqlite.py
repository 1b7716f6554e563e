"""Huey on SQLite, as its documentation starts it and at its fastest polling.

Both variants store the same jobs; they differ only in how often an idle worker looks. Huey has
no public call that stores many jobs at once.
"""

from __future__ import annotations

import importlib
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_file, store_url

_huey: Any = importlib.import_module("huey")

# Huey's own defaults: write-ahead log, and SQLite's default synchronous=FULL. No keyword here.
queue: Any = _huey.SqliteHuey("bench", filename=str(store_file(store_url())))
marked: Any = queue.task(name="mark")(mark)

_CONSUMER = ("-m", "huey.bin.huey_consumer", "bench.peers.huey_sqlite.queue", "-w", "1")
_RATES = Rates(single=7_500, bulk=7_500, drain=3_500)

PEER = Peer(
    name="huey",
    guarantees="at most once: popped before it runs, lost with its worker; result kept until read",
    distributions=("huey",),
    variants=(
        Variant(
            name="huey:default",
            settings="SqliteHuey defaults (WAL, synchronous=FULL); -w 1 -k thread, polls 0.1-10 s",
            worker=(*_CONSUMER, "-k", "thread", "-q"),
            rates=_RATES,
            enqueue_one=marked,
        ),
        Variant(
            name="huey:fastest-polling",
            settings="as default, -d 0.005 -m 0.005 (polls every 5 ms)",
            worker=(*_CONSUMER, "-k", "thread", "-q", "-d", "0.005", "-m", "0.005"),
            rates=_RATES,
            enqueue_one=marked,
        ),
    ),
)
