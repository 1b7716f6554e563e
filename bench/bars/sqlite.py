"""The bars on SQLite."""

from __future__ import annotations

from typing import Final

from bench.bars.comparing import ASYNC, PROBE, Group, at_least, at_most, plus, times
from bench.harness.report import Results, Verdict

SQLITE_PROBE: Final = "probe:sqlite-batch"
FSYNC_PROBE: Final = "probe:fsync"


def _drain(results: Results) -> list[Verdict]:
    one = results.median(ASYNC, "drain_1", "jobs_per_s")
    two = results.median(ASYNC, "drain_2", "jobs_per_s")
    share = results.median(ASYNC, "drain_2", "smallest_share_percent")
    wait = results.median(ASYNC, "drain_2", "lock_wait_p99_ms")
    probe = results.median(SQLITE_PROBE, PROBE, "exchange_jobs_per_s")
    huey = results.best("huey:", "drain_1", "jobs_per_s")
    return [
        at_least("drain, 1 process, against the SQLite probe", one, times(probe, 0.25), "jobs/s"),
        at_least("drain, 1 process, against 10 x Huey", one, times(huey, 10), "jobs/s"),
        at_least("drain, 2 processes, 90 % of one", two, times(one, 0.9), "jobs/s"),
        at_least("drain, 2 processes, smaller share", share, 30.0, "%"),
        at_most("drain, 2 processes, write lock p99", wait, 20.0, "ms"),
    ]


def _enqueue(results: Results) -> list[Verdict]:
    single = results.median(ASYNC, "enqueue_single", "jobs_per_s")
    bulk = results.median(ASYNC, "enqueue_bulk", "jobs_per_s")
    huey = results.best("huey:", "enqueue_single", "jobs_per_s")
    insert = results.median(SQLITE_PROBE, PROBE, "insert_jobs_per_s")
    wanted = None if insert is None else min(100_000.0, insert / 2)
    return [
        at_least("single enqueue against Huey", single, huey, "jobs/s"),
        at_least("enqueue_many, 100,000 or half the probe", bulk, wanted, "jobs/s"),
    ]


def _latency(results: Results) -> list[Verdict]:
    fsync = results.median(FSYNC_PROBE, PROBE, "p50_ms")
    p50 = results.median(ASYNC, "latency", "p50_ms")
    p99 = results.median(ASYNC, "latency", "p99_ms")
    cpu = results.median(ASYNC, "idle", "cpu_percent")
    two_fsyncs = times(fsync, 2)
    return [
        at_most("latency p50, 1 ms + 2 fsyncs", p50, plus(two_fsyncs, 1.0), "ms"),
        at_most("latency p99, 8 ms + 2 fsyncs", p99, plus(two_fsyncs, 8.0), "ms"),
        at_most("idle processor time", cpu, 1.0, "%"),
    ]


def _waiting(results: Results) -> list[Verdict]:
    seen = results.median(ASYNC, "result_wait", "p50_ms")
    waiters = results.median(ASYNC, "waiters", "cpu_percent")
    return [
        at_most("result seen after it is settled, p50", seen, 5.0, "ms"),
        at_most("1,000 waiters' processor time", waiters, 5.0, "%"),
    ]


def _backlog(results: Results) -> list[Verdict]:
    small = results.median(ASYNC, "backlog_small", "jobs_per_s")
    large = results.median(ASYNC, "backlog_large", "jobs_per_s")
    memory = results.median(ASYNC, "backlog_large", "rss_max_mb")
    growth = results.median(ASYNC, "backlog_large", "rss_growth_last_half_mb")
    return [
        at_least("large backlog, 80 % of the small one's rate", large, times(small, 0.8), "jobs/s"),
        at_most("worker memory over the large backlog", memory, 80.0, "MB"),
        at_most("memory growth over its last half", growth, 1.0, "MB"),
    ]


def _narrow(results: Results) -> list[Verdict]:
    narrow = results.median(ASYNC, "concurrency_1", "jobs_per_s")
    held = results.median(ASYNC, "long_jobs", "held_beyond_running_jobs")
    return [
        at_least("concurrency 1, tiny jobs", narrow, 10_000.0, "jobs/s"),
        at_most("long jobs held beyond those that run", held, 0.0, "jobs"),
    ]


GROUPS: Final[tuple[Group, ...]] = (_drain, _enqueue, _latency, _waiting, _backlog, _narrow)
