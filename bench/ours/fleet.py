"""Many worker processes on one queue: do they still drain as fast as few, or wait for each other?

The workers start on a paused queue, so that none is still being started while others drain, and
are let loose together. The same store is filled and drained by one, two, four and twenty.
"""

from __future__ import annotations

import contextlib

from bench.harness.figures import Figures
from bench.harness.marks import Drain, read_marks, summarise_drain
from bench.harness.plan import Plan
from bench.harness.processes import BenchError
from bench.harness.systems import Site
from bench.measures.draining import wait_for_jobs
from bench.ours.watch import watched_locks

_FEW = (1, 2, 4)
_MANY = 20
_START_LIMIT_S = 60


def fleet(place: Site, plan: Plan) -> Figures:
    """Return the rate of 20 worker processes, that of fewer, and how long the 20 waited for locks.

    Raises:
        BenchError: a worker ended, or a backlog was not empty within the limit.
    """
    few = {count: _drain(place, plan, count)[0].jobs_per_s for count in _FEW}
    many, waits = _drain(place, plan, _MANY)
    return {
        "jobs_per_s": many.jobs_per_s,
        "best_of_few_jobs_per_s": max(few.values()),
        **{f"of_{count}_jobs_per_s": rate for count, rate in few.items()},
        "processes": _MANY,
        "count": plan.fleet_jobs,
        "missing": many.missing,
        "duplicates": many.duplicates,
        "smallest_share_percent": many.smallest_share_percent,
        **waits,
    }


def _drain(place: Site, plan: Plan, processes: int) -> tuple[Drain, Figures]:
    """Fill the paused queue, start the workers, and let them go; return the drain and the waits.

    Who waits for a lock is looked at while jobs run, not while workers start or stop.
    """
    place.marks.unlink(missing_ok=True)
    place.program("bench.ours.client", "pause")
    place.drive("fill", count=plan.fleet_jobs)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(place.worker()) for _ in range(processes)]
        words = (f"--count={processes}", f"--seconds={_START_LIMIT_S}")
        up = place.program("bench.ours.client", "await-workers", *words)
        if up["workers"] != processes:
            raise BenchError(f"{up['workers']} of {processes} workers registered in time")
        with watched_locks(place.store) as waits:
            place.program("bench.ours.client", "resume")
            what = f"{plan.fleet_jobs} jobs run by {processes} worker(s)"
            limit_s = plan.drain_limit_s
            wait_for_jobs(place, plan.fleet_jobs, limit_s=limit_s, what=what, workers=workers)
    drained = summarise_drain(read_marks(place.marks), plan.fleet_jobs, processes)
    return drained, waits.figures()
