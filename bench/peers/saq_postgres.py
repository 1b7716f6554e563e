"""SAQ on PostgreSQL; its pool has 20 connections, and more jobs at once than that are slower."""

from __future__ import annotations

from bench.peers import saq_jobs
from bench.peers.base import Rates

_CONCURRENCY = 20

settings = {
    "queue": saq_jobs.queue,
    "functions": [saq_jobs.mark_job],
    "concurrency": _CONCURRENCY,
}

PEER = saq_jobs.peer(
    "postgres",
    library="psycopg",
    concurrency=_CONCURRENCY,
    rates=Rates(single=1_800, bulk=1_800, drain=740),
)
