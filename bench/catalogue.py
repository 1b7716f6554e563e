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
from bench.ours.fleet import fleet
from bench.ours.holding import long_jobs
from bench.ours.pressure import held_transaction, large_history
from bench.ours.waiting import result_wait, waiters

EVERY_ENGINE = ("sqlite", "redis", "postgres")
SERVERS = ("redis", "postgres")
POSTGRES = ("postgres",)
_SERVER_BATCH = 500
"""Jobs a round trip of the server probes; larger batches than a worker's only raise the bar."""


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

    `engines` are those on which it is asked; `once` marks what is too long to repeat.
    """

    name: str
    take: Callable[[Site, Plan], Figures]
    asked: Callable[[System], bool] = everyone
    engines: tuple[str, ...] = EVERY_ENGINE
    once: bool = False


# What a run that takes too long can spare stands last.
MEASURES = (
    Measure("enqueue_single", enqueue_single),
    Measure("enqueue_bulk", enqueue_bulk, asked=with_bulk),
    Measure("drain_1", drain_by_one),
    Measure("drain_2", drain_by_two),
    Measure("fleet", fleet, asked=our_async, engines=SERVERS),
    Measure("held_transaction", held_transaction, asked=our_async, engines=POSTGRES, once=True),
    Measure("large_history", large_history, asked=our_async, engines=POSTGRES, once=True),
    Measure("latency", latency),
    Measure("idle", idle, once=True),
    Measure("no_op", no_op, asked=our_async, engines=("sqlite",)),
    Measure("concurrency_1", concurrency_1, asked=our_async),
    Measure("backlog_small", backlog_small, asked=our_async, engines=("sqlite",)),
    Measure("backlog_large", backlog_large, asked=our_async, engines=("sqlite",), once=True),
    Measure("result_wait", result_wait, asked=our_async),
    Measure("waiters", waiters, asked=our_async, once=True),
    Measure("long_jobs", long_jobs, asked=our_async, engines=("sqlite",), once=True),
)


@dataclass(frozen=True)
class Probe:
    """A program in `bench/probes/`, its arguments, and the engines beside which it runs."""

    name: str
    words: Callable[[Plan, Path, str], list[str]]
    engines: tuple[str, ...] = EVERY_ENGINE


def _on_server(plan: Plan, _: Path, store: str) -> list[str]:
    return [f"--url={store}", f"--count={plan.probe_jobs}", f"--batch={_SERVER_BATCH}"]


PROBES = (
    Probe("fsync", lambda _, directory, __: [f"--directory={directory}"]),
    Probe(
        "sqlite-batch",
        lambda plan, directory, _: [f"--directory={directory}", f"--count={plan.probe_jobs}"],
        engines=("sqlite",),
    ),
    Probe("redis", _on_server, engines=("redis",)),
    Probe("postgres", _on_server, engines=("postgres",)),
    Probe("asyncio-tasks", lambda plan, _, __: [f"--count={plan.probe_jobs}"]),
)
