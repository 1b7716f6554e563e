"""Celery on Redis with late acknowledgement, in its two pools that suit short jobs.

`acks_late` is what its documentation names for jobs that must not be lost with their worker.
Celery has no call that stores many jobs at once.
"""

from __future__ import annotations

import importlib
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_celery: Any = importlib.import_module("celery")

app: Any = _celery.Celery("bench", broker=store_url(), backend=store_url())
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=100,
    broker_connection_retry_on_startup=True,
)
marked: Any = app.task(name="mark")(mark)

_WORKER = (
    *("-m", "celery", "--app", "bench.peers.celery_redis:app", "worker"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"),
)

PEER = Peer(
    name="celery",
    guarantees="at least once: acks_late; a dead worker's jobs return after the visibility timeout "
    "(1 h by default); result kept 1 day",
    distributions=("celery", "kombu", "redis"),
    variants=(
        Variant(
            name="celery:prefork",
            settings="prefork -c 2, acks_late, prefetch x 100, no gossip, mingle or heartbeat",
            worker=(*_WORKER, "--pool", "prefork", "--concurrency", "2"),
            rates=Rates(single=2_500, bulk=2_500, drain=1_400),
            enqueue_one=marked.delay,
        ),
        Variant(
            name="celery:threads",
            settings="threads -c 4, acks_late, prefetch x 100, no gossip, mingle or heartbeat",
            worker=(*_WORKER, "--pool", "threads", "--concurrency", "4"),
            rates=Rates(single=2_500, bulk=2_500, drain=1_400),
            enqueue_one=marked.delay,
        ),
    ),
)
