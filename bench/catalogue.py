"""The catalogue: which measures there are, who is asked them, and which probes run beside them.

To add a measure, write a function `(Site, Plan) -> Figures` and name it here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.bars import ASYNC
from bench.harness.figures import Figures
from bench.harness.plan import Plan
from bench.harness.systems import Site, System
from bench.measures.idle import idle
from bench.measures.latency import latency
from bench.measures.throughput import drain_by_one, drain_by_two, enqueue_bulk, enqueue_single
from bench.ours.backlog import backlog_large, backlog_small, concurrency_1, no_op
from bench.ours.holding import long_jobs
from bench.ours.waiting import result_wait, waiters


def everyone(_: System) -> bool:
    """Ask every system."""
    return True


def with_bulk(system: System) -> bool:
    """Ask the systems that can store many jobs at once."""
    return system.variant.bulk


def our_async(system: System) -> bool:
    """Ask treadle's async variant only."""
    return system.name == ASYNC


@dataclass(frozen=True)
class Measure:
    """A question: its name in the data, the function that answers it once, and who is asked.

    `once` marks those too long to repeat.
    """

    name: str
    take: Callable[[Site, Plan], Figures]
    asked: Callable[[System], bool] = everyone
    once: bool = False


MEASURES = (
    Measure("enqueue_single", enqueue_single),
    Measure("enqueue_bulk", enqueue_bulk, asked=with_bulk),
    Measure("drain_1", drain_by_one),
    Measure("drain_2", drain_by_two),
    Measure("latency", latency),
    Measure("idle", idle, once=True),
    Measure("no_op", no_op, asked=our_async),
    Measure("concurrency_1", concurrency_1, asked=our_async),
    Measure("backlog_small", backlog_small, asked=our_async),
    Measure("backlog_large", backlog_large, asked=our_async, once=True),
    Measure("result_wait", result_wait, asked=our_async),
    Measure("waiters", waiters, asked=our_async, once=True),
    Measure("long_jobs", long_jobs, asked=our_async, once=True),
)


@dataclass(frozen=True)
class Probe:
    """A program in `bench/probes/` and its arguments."""

    name: str
    words: Callable[[Plan, Path], list[str]]


PROBES = (
    Probe("fsync", lambda _, directory: [f"--directory={directory}"]),
    Probe(
        "sqlite-batch",
        lambda plan, directory: [f"--directory={directory}", f"--count={plan.probe_jobs}"],
    ),
    Probe("asyncio-tasks", lambda plan, _: [f"--count={plan.probe_jobs}"]),
)
