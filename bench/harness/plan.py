"""The plan: how many jobs, repetitions and seconds each measure gets, quick or full.

Counts are a system's own rough rate times some seconds, so that a slow peer does not hold up
the run and a fast one is not over before it is warm.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from bench.harness.processes import BenchError


@dataclass(frozen=True)
class Plan:
    """Sizes of one run of the suite; seconds are targets, limits are hard."""

    name: str
    repetitions: int
    every_variant: bool
    """False: of each peer only the variant that it names first."""
    enqueue_s: float
    drain_s: float
    drain_limit_s: float
    latency_jobs: int
    idle_s: float
    backlog_small: int
    backlog_large: int
    backlog_delay_s: float
    backlog_limit_s: float
    waits: int
    waiters: int
    waiters_s: float
    long_job_s: float
    holding_s: float
    probe_jobs: int
    fleet_jobs: int
    held_jobs: int
    held_limit_s: float
    history_rows: int
    history_limit_s: float
    total_limit_s: float


FULL: Final = Plan(
    name="full",
    repetitions=3,
    every_variant=True,
    enqueue_s=2.0,
    drain_s=4.0,
    drain_limit_s=60.0,
    latency_jobs=200,
    idle_s=20.0,
    backlog_small=10_000,
    backlog_large=1_000_000,
    backlog_delay_s=10.0,
    backlog_limit_s=120.0,
    waits=200,
    waiters=1_000,
    waiters_s=20.0,
    long_job_s=5.0,
    holding_s=20.0,
    probe_jobs=200_000,
    fleet_jobs=60_000,
    held_jobs=2_000_000,
    held_limit_s=240.0,
    history_rows=10_000_000,
    history_limit_s=240.0,
    total_limit_s=25 * 60.0,
)

QUICK: Final = Plan(
    name="quick",
    repetitions=1,
    every_variant=False,
    enqueue_s=0.3,
    drain_s=0.6,
    drain_limit_s=15.0,
    latency_jobs=30,
    idle_s=2.0,
    backlog_small=10_000,
    backlog_large=60_000,
    backlog_delay_s=0.5,
    backlog_limit_s=20.0,
    waits=20,
    waiters=1_000,
    waiters_s=2.0,
    long_job_s=1.0,
    holding_s=2.0,
    probe_jobs=40_000,
    fleet_jobs=8_000,
    held_jobs=20_000,
    held_limit_s=60.0,
    history_rows=100_000,
    history_limit_s=60.0,
    total_limit_s=110.0,
)

_SERVER_FULL: Final = replace(
    FULL,
    repetitions=2,
    enqueue_s=1.0,
    drain_s=3.0,
    latency_jobs=120,
    idle_s=10.0,
    probe_jobs=60_000,
)
_SERVER_QUICK: Final = replace(QUICK, probe_jobs=20_000, total_limit_s=300.0)


def plan_for(engine: str, *, quick: bool) -> Plan:
    """Return the sizes of a run on an engine.

    Server engines have three times the peers, so each measure of one takes less time and is
    taken twice.
    """
    if engine == "sqlite":
        return QUICK if quick else FULL
    return _SERVER_QUICK if quick else _SERVER_FULL


class Clock:
    """The time that the whole run may take."""

    def __init__(self, limit_s: float) -> None:
        """Start counting now."""
        self._limit_s = limit_s
        self._start = time.monotonic()

    def check(self) -> None:
        """Do nothing while there is time left.

        Raises:
            BenchError: the run's time is used up, so this measure is left out.
        """
        if time.monotonic() - self._start > self._limit_s:
            raise BenchError(f"left out: the run's {self._limit_s:.0f} s were used up before it")
