"""The bars on PostgreSQL."""

from __future__ import annotations

from typing import Final

from bench.bars import servers
from bench.bars.comparing import ASYNC, Group, at_least, at_most, best_peer, times
from bench.harness.report import Results, Verdict

POSTGRES_PROBE: Final = "probe:postgres"
PGQUEUER: Final = "pgqueuer:"


def _drain(results: Results) -> list[Verdict]:
    one = results.median(ASYNC, "drain_1", "jobs_per_s")
    two = results.median(ASYNC, "drain_2", "jobs_per_s")
    pgqueuer = results.best(PGQUEUER, "drain_1", "jobs_per_s")
    pgqueuer_two = results.best(PGQUEUER, "drain_2", "jobs_per_s")
    others = best_peer(results, "drain_1", "jobs_per_s", apart_from=PGQUEUER)
    return [
        *servers.drain(results, POSTGRES_PROBE),
        at_least("drain, 1 process, 1.5 x pgqueuer", one, times(pgqueuer, 1.5), "jobs/s"),
        at_least("drain, 1 process, 10 x every other peer", one, times(others, 10), "jobs/s"),
        at_least("drain, 2 processes, pgqueuer's two", two, pgqueuer_two, "jobs/s"),
    ]


def _enqueue(results: Results) -> list[Verdict]:
    return servers.enqueue_many(results, 100_000.0)


def _latency(results: Results) -> list[Verdict]:
    return servers.latency(results, p50_ms=2.0)


def _pressure(results: Results) -> list[Verdict]:
    waits = results.median(ASYNC, "fleet", "lock_wait_p99_ms")
    first = results.median(ASYNC, "held_transaction", "first_tenth_jobs_per_s")
    last = results.median(ASYNC, "held_transaction", "last_tenth_jobs_per_s")
    before = results.median(ASYNC, "large_history", "empty_jobs_per_s")
    after = results.median(ASYNC, "large_history", "jobs_per_s")
    return [
        at_most("lock waits of 20 processes, p99", waits, 50.0, "ms"),
        at_least(
            "a held transaction: last tenth, 70 % of the first", last, times(first, 0.7), "jobs/s"
        ),
        at_least("a large history: 90 % of the rate without", after, times(before, 0.9), "jobs/s"),
    ]


GROUPS: Final[tuple[Group, ...]] = (_drain, _enqueue, _latency, servers.fleet, _pressure)
