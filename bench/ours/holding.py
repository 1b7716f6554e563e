"""Long jobs: a worker may hold no more claims than it runs.

A worker that buffers long jobs keeps them from its neighbours for as long as its own run, so
claims beyond free slots are only right while jobs are tiny.
"""

from __future__ import annotations

import time

from bench.harness.figures import Figures
from bench.harness.marks import count_marks
from bench.harness.plan import Plan
from bench.harness.processes import wait_until
from bench.harness.systems import Site
from bench.ours.peek import held, peek

_SLOTS = 4
_START_LIMIT_S = 30.0
_LOOK_S = 0.05


def long_jobs(place: Site, plan: Plan) -> Figures:
    """Return how many claims a worker with 4 slots held at most beyond those, with long jobs."""
    count = _SLOTS * 10
    words = ("fill-long", f"--count={count}", f"--seconds={plan.long_job_s}")
    place.program("bench.ours.client", *words)
    with place.worker(["--concurrency", str(_SLOTS)]) as worker, peek(place.store) as store:
        wait_until(
            lambda: count_marks(place.marks) > 0,
            timeout_s=_START_LIMIT_S,
            what="start of the first long job",
            workers=[worker],
        )
        seen = []
        deadline = time.monotonic() + plan.holding_s
        while time.monotonic() < deadline:
            seen.append(held(store))
            time.sleep(_LOOK_S)
        worker.check_alive()
        started = count_marks(place.marks)
    return {
        "held_beyond_running_jobs": max(0, max(seen) - _SLOTS),
        "held_max_jobs": max(seen),
        "slots": _SLOTS,
        "started_jobs": started,
        "samples": len(seen),
    }
