"""The bars on Redis."""

from __future__ import annotations

from typing import Final

from bench.bars import servers
from bench.bars.comparing import ASYNC, Group, at_least, best_peer, times
from bench.harness.report import Results, Verdict

REDIS_PROBE: Final = "probe:redis"


def _drain(results: Results) -> list[Verdict]:
    one = results.median(ASYNC, "drain_1", "jobs_per_s")
    fastest = best_peer(results, "drain_1", "jobs_per_s")
    return [
        *servers.drain(results, REDIS_PROBE),
        at_least("drain, 1 process, 5 x the fastest peer", one, times(fastest, 5), "jobs/s"),
    ]


def _enqueue(results: Results) -> list[Verdict]:
    return [*servers.enqueue_many(results, 70_000.0), *servers.single_enqueue(results)]


def _latency(results: Results) -> list[Verdict]:
    return servers.latency(results, p50_ms=1.0)


GROUPS: Final[tuple[Group, ...]] = (_drain, _enqueue, _latency, servers.fleet)
