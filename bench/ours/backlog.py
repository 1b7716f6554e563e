"""Drains that only treadle is asked: a large mixed backlog, a single slot, a pure no-op.

The large backlog holds 5 priorities, 20 queues and a tenth of delayed jobs that come due while
it drains; the small one is the same mixture whose delayed tenth stays behind. So the large
one carries the cost of staging and the small one does not: the comparison is not flattered.
"""

from __future__ import annotations

import time

from bench.harness.figures import Figures, slope_per_s
from bench.harness.marks import count_marks, read_marks, summarise_drain
from bench.harness.plan import Plan
from bench.harness.processes import Running, wait_until
from bench.harness.systems import Site
from bench.ours.peek import drained, finished, peek

_NEVER_S = 36_000
_SAMPLE_S = 1.0
_SAMPLES_FOR_GROWTH = 10


class MemoryLog:
    """The resident memory of a worker, sampled at most once a second."""

    def __init__(self, worker: Running) -> None:
        """Watch `worker` from now on."""
        self._worker = worker
        self._next = time.monotonic()
        self.times_s: list[float] = []
        self.rss_mb: list[float] = []

    def look(self) -> None:
        """Take a sample if a second has passed since the last one."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SAMPLE_S
            self.times_s.append(now)
            self.rss_mb.append(self._worker.cost().rss_mb)

    def figures(self) -> Figures:
        """Return the highest sample, and the fitted growth over the last half of many samples."""
        middle = len(self.times_s) // 2
        times, values = self.times_s[middle:], self.rss_mb[middle:]
        found: Figures = {"samples": len(self.rss_mb)}
        if self.rss_mb:
            found["rss_max_mb"] = max(self.rss_mb)
        if len(self.rss_mb) >= _SAMPLES_FOR_GROWTH:
            found["rss_growth_last_half_mb"] = slope_per_s(times, values) * (times[-1] - times[0])
        return found


def backlog_small(place: Site, plan: Plan) -> Figures:
    """Return the drain rate of a small mixed backlog; its delayed tenth does not come due."""
    return _backlog(place, plan, count=plan.backlog_small, delay_s=_NEVER_S, due_percent=90)


def backlog_large(place: Site, plan: Plan) -> Figures:
    """Return the drain rate of a large mixed backlog and the worker's memory meanwhile."""
    delay_s = plan.backlog_delay_s
    return _backlog(place, plan, count=plan.backlog_large, delay_s=delay_s, due_percent=100)


def _backlog(place: Site, plan: Plan, *, count: int, delay_s: float, due_percent: int) -> Figures:
    words = ("fill-mixed", f"--count={count}", f"--seconds={delay_s}")
    filled = place.program("bench.ours.client", *words)
    due = count * due_percent // 100
    with place.worker() as worker:
        memory = MemoryLog(worker)

        def done() -> bool:
            run = count_marks(place.marks)
            if run > 0:
                memory.look()
            return run >= due

        limit_s = plan.backlog_limit_s
        wait_until(done, timeout_s=limit_s, what=f"drain of {due} mixed jobs", workers=[worker])
    result = summarise_drain(read_marks(place.marks), due, processes=1)
    return {
        "jobs_per_s": result.jobs_per_s,
        "count": due,
        "seconds": result.seconds,
        "fill_seconds": float(str(filled["seconds"])),
        "missing": result.missing,
        "duplicates": result.duplicates,
        **memory.figures(),
    }


def concurrency_1(place: Site, plan: Plan) -> Figures:
    """Return the drain rate of tiny async jobs by a worker with a single slot."""
    count = int(place.system.variant.drain_rate * plan.drain_s / 2)
    place.drive("fill", count=count)
    with place.worker(["--concurrency", "1"]) as worker:
        wait_until(
            lambda: count_marks(place.marks) >= count,
            timeout_s=plan.drain_limit_s,
            what=f"{count} tiny jobs in one slot",
            workers=[worker],
        )
    result = summarise_drain(read_marks(place.marks), count, processes=1)
    return {"jobs_per_s": result.jobs_per_s, "count": count, "seconds": result.seconds}


def no_op(place: Site, plan: Plan) -> Figures:
    """Return the drain rate of jobs that do nothing, by the store's own finishing times."""
    count = int(place.system.variant.drain_rate * plan.drain_s)
    place.program("bench.ours.client", "fill-no-op", f"--count={count}")
    with place.worker() as worker, peek(place.store) as store:
        wait_until(
            lambda: drained(store),
            timeout_s=plan.drain_limit_s,
            what=f"{count} no-op jobs settled",
            workers=[worker],
        )
        result = finished(store)
    rate = (result.count - 1) / result.seconds if result.seconds > 0 else 0.0
    return {
        "jobs_per_s": rate,
        "count": count,
        "seconds": result.seconds,
        "missing": count - result.count,
    }
