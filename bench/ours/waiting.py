"""Waiting for results: how soon an end is seen, and what a thousand waiters cost."""

from __future__ import annotations

from bench.harness.figures import Figures
from bench.harness.plan import Plan
from bench.harness.systems import Site
from bench.measures.idle import warmed_worker


def result_wait(place: Site, plan: Plan) -> Figures:
    """Return how long after its end another process sees a job's result."""
    return _client(place, "wait-results", f"--count={plan.waits}")


def waiters(place: Site, plan: Plan) -> Figures:
    """Return the processor share of a process in which many coroutines wait for results."""
    words = (f"--count={plan.waiters}", f"--seconds={plan.waiters_s}")
    return _client(place, "waiters", *words)


def _client(place: Site, action: str, *words: str) -> Figures:
    """Run a client beside an idle worker and return its figures."""
    with warmed_worker(place):
        answer = place.program("bench.ours.client", action, *words)
    return {name: float(str(value)) for name, value in answer.items()}
