"""How soon an idle worker in another process starts a job that was just enqueued.

The job carries the monotonic time just before its enqueue call, and its mark the time at which
it began, so the figure includes the call itself and any fsync in it.
"""

from __future__ import annotations

from bench.harness.figures import Figures, percentile
from bench.harness.marks import count_marks, read_marks
from bench.harness.plan import Plan
from bench.harness.processes import wait_until
from bench.harness.systems import Site
from bench.measures.idle import warmed_worker

_LAST_JOB_LIMIT_S = 20.0
_WARM_UPS = 1
"""Jobs that go before those that count, by which the enqueuing process warms up."""


def latency(place: Site, plan: Plan) -> Figures:
    """Enqueue single jobs 20 to 50 ms apart to an idle worker; return the delay to their start.

    Raises:
        BenchError: the worker ended, or some job had not started 20 s after the last call.
    """
    with warmed_worker(place) as worker:
        before = count_marks(place.marks)
        place.drive("spaced", count=plan.latency_jobs)
        wait_until(
            lambda: count_marks(place.marks) >= before + _WARM_UPS + plan.latency_jobs,
            timeout_s=_LAST_JOB_LIMIT_S,
            what=f"{place.system.name}: start of all {plan.latency_jobs} single jobs",
            workers=[worker],
        )
    delays_ms = sorted((one.at_ns - one.number) / 1e6 for one in read_marks(place.marks))
    return {
        "p50_ms": percentile(delays_ms, 50),
        "p95_ms": percentile(delays_ms, 95),
        "p99_ms": percentile(delays_ms, 99),
        "max_ms": delays_ms[-1],
        "count": len(delays_ms),
    }
