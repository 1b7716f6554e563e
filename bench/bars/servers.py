"""The bars that both server engines share; only their heights differ."""

from __future__ import annotations

from bench.bars.comparing import ASYNC, PROBE, at_least, at_most, best_peer, times
from bench.harness.report import Results, Verdict

_DRAIN_FLOOR = 25_000.0


def drain(results: Results, probe: str) -> list[Verdict]:
    """One worker process against the floor and the raw probe, and two against one."""
    one = results.median(ASYNC, "drain_1", "jobs_per_s")
    two = results.median(ASYNC, "drain_2", "jobs_per_s")
    raw = results.median(probe, PROBE, "exchange_per_s")
    return [
        at_least("drain, 1 process", one, _DRAIN_FLOOR, "jobs/s"),
        at_least("drain, 1 process, 40 % of the raw probe", one, times(raw, 0.4), "jobs/s"),
        at_least("drain, 2 processes, more than one", two, one, "jobs/s"),
    ]


def enqueue_many(results: Results, floor: float) -> list[Verdict]:
    """Storing jobs in bulk against a floor."""
    bulk = results.median(ASYNC, "enqueue_bulk", "jobs_per_s")
    return [at_least("enqueue_many", bulk, floor, "jobs/s")]


def single_enqueue(results: Results) -> list[Verdict]:
    """Storing one job at a time against the peer that does it fastest."""
    single = results.median(ASYNC, "enqueue_single", "jobs_per_s")
    fastest = best_peer(results, "enqueue_single", "jobs_per_s")
    return [at_least("single sync enqueue against the fastest peer", single, fastest, "jobs/s")]


def latency(results: Results, p50_ms: float) -> list[Verdict]:
    """How soon an idle worker starts a job, and what it costs to be that idle."""
    p50 = results.median(ASYNC, "latency", "p50_ms")
    p99 = results.median(ASYNC, "latency", "p99_ms")
    cpu = results.median(ASYNC, "idle", "cpu_percent")
    return [
        at_most("latency p50", p50, p50_ms, "ms"),
        at_most("latency p99", p99, 5.0, "ms"),
        at_most("idle processor time", cpu, 1.0, "%"),
    ]


def fleet(results: Results) -> list[Verdict]:
    """Twenty worker processes on one queue against the best of one, two and four."""
    many = results.median(ASYNC, "fleet", "jobs_per_s")
    few = results.median(ASYNC, "fleet", "best_of_few_jobs_per_s")
    return [at_least("drain, 20 processes, 70 % of few at best", many, times(few, 0.7), "jobs/s")]
