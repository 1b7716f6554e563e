"""SAQ on Redis."""

from __future__ import annotations

from bench.peers import saq_jobs
from bench.peers.base import Rates

_CONCURRENCY = 100

settings = {
    "queue": saq_jobs.queue,
    "functions": [saq_jobs.mark_job],
    "concurrency": _CONCURRENCY,
}

PEER = saq_jobs.peer(
    "redis",
    library="redis",
    concurrency=_CONCURRENCY,
    rates=Rates(single=7_400, bulk=7_400, drain=2_600),
)
