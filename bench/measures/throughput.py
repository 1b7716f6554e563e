"""How fast jobs go in, and how fast one or two worker processes take them out.

A drain starts its workers beside a waiting backlog, and its rate comes from the marks that the
jobs leave, not from the clock of whoever watches. Asked of every system alike.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from bench.harness.figures import Figures
from bench.harness.marks import read_marks, summarise_drain
from bench.harness.plan import Plan
from bench.harness.systems import Site
from bench.measures.draining import wait_for_jobs

_SMALLEST_RUN = 200


def enqueue_single(place: Site, plan: Plan) -> Figures:
    """Return jobs a second stored by one thread that enqueues one job at a time."""
    count = max(_SMALLEST_RUN, int(place.system.variant.single_rate * plan.enqueue_s))
    return _rate(place.drive("single", count=count))


def enqueue_bulk(place: Site, plan: Plan) -> Figures:
    """Return jobs a second stored in calls of 1,000."""
    count = max(_SMALLEST_RUN, int(place.system.variant.bulk_rate * plan.enqueue_s))
    return _rate(place.drive("bulk", count=count))


def drain_by_one(place: Site, plan: Plan) -> Figures:
    """Return the rate at which one worker process runs a waiting backlog."""
    return drain(place, plan, processes=1)


def drain_by_two(place: Site, plan: Plan) -> Figures:
    """Return the rate of two worker processes, and the smaller one's share of the work."""
    return drain(place, plan, processes=2)


def drain(place: Site, plan: Plan, *, processes: int) -> Figures:
    """Fill a backlog, start the workers, and read the marks once every job has run.

    Raises:
        BenchError: a worker ended, or the backlog was not empty within the limit.
    """
    count = max(_SMALLEST_RUN, int(place.system.variant.drain_rate * plan.drain_s))
    place.drive("fill", count=count)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(place.worker()) for _ in range(processes)]
        what = f"{count} jobs run by {processes} worker(s)"
        wait_for_jobs(place, count, limit_s=plan.drain_limit_s, what=what, workers=workers)
        memory = workers[0].cost()
    result = summarise_drain(read_marks(place.marks), count, processes)
    waits = [wait for worker in workers for wait in _lock_waits(worker.log)]
    waited = {"lock_wait_p99_ms": max(waits)} if waits else {}
    return waited | {
        "jobs_per_s": result.jobs_per_s,
        "count": count,
        "seconds": result.seconds,
        "missing": result.missing,
        "duplicates": result.duplicates,
        "smallest_share_percent": result.smallest_share_percent,
        "rss_mb": memory.rss_mb,
        "pss_mb": memory.pss_mb,
    }


def _lock_waits(log: Path) -> list[float]:
    """Read the p99 wait for the write lock (ms) that a worker tells of as it leaves."""
    text = log.read_text(errors="replace")
    return [
        float(p99) for p99 in re.findall(r"waits for the lock of the store: .*p99 ([\d.]+)", text)
    ]


def _rate(answer: dict[str, object]) -> Figures:
    count, seconds = float(str(answer["count"])), float(str(answer["seconds"]))
    return {"jobs_per_s": count / seconds, "count": count, "seconds": seconds}
