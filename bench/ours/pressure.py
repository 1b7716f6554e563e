"""What usually makes a queue on PostgreSQL slow: dead rows that stay, and history that grows.

Another session's open transaction keeps every dead row behind the claims; ten million finished
jobs stand where a careless index would be scanned. Each is measured as a rate before and after.
"""

from __future__ import annotations

from bench.harness.figures import Figures
from bench.harness.marks import Mark, rates_by_part, read_marks, summarise_drain
from bench.harness.plan import Plan
from bench.harness.systems import Site
from bench.measures.draining import wait_for_jobs
from bench.ours.watch import grow_history, held_snapshot

_TENTHS = 10


def held_transaction(place: Site, plan: Plan) -> Figures:
    """Return the rate of the first and of the last tenth of a drain beside an open transaction.

    The other session takes its snapshot before the jobs are stored, so that nothing they leave
    behind can be cleared away.

    Raises:
        BenchError: the worker ended, or the backlog was not empty within the limit.
    """
    with held_snapshot(place.store):
        marks = _drain(place, plan.held_jobs, plan.held_limit_s)
    tenths = rates_by_part(marks, _TENTHS)
    result = summarise_drain(marks, plan.held_jobs, processes=1)
    return {
        "jobs_per_s": result.jobs_per_s,
        "first_tenth_jobs_per_s": tenths[0],
        "last_tenth_jobs_per_s": tenths[-1],
        "slowest_tenth_jobs_per_s": min(tenths),
        "count": plan.held_jobs,
        "missing": result.missing,
        "duplicates": result.duplicates,
    }


def large_history(place: Site, plan: Plan) -> Figures:
    """Return the rate of a drain before and after the history has grown by many finished jobs.

    Raises:
        BenchError: the worker ended, a backlog was not empty within the limit, or no table of
            this store looks like the history.
    """
    count = int(place.system.variant.drain_rate * plan.drain_s)
    empty = summarise_drain(_drain(place, count, plan.drain_limit_s), count, processes=1)
    rows = grow_history(place.store, plan.history_rows, limit_s=plan.history_limit_s)
    full = summarise_drain(_drain(place, count, plan.drain_limit_s), count, processes=1)
    return {
        "jobs_per_s": full.jobs_per_s,
        "empty_jobs_per_s": empty.jobs_per_s,
        "history_rows": rows,
        "count": count,
        "missing": empty.missing + full.missing,
        "duplicates": empty.duplicates + full.duplicates,
    }


def _drain(place: Site, count: int, limit_s: float) -> list[Mark]:
    """Fill a backlog, let one worker run it, and return the marks."""
    place.marks.unlink(missing_ok=True)
    place.drive("fill", count=count)
    with place.worker() as worker:
        what = f"{count} jobs run"
        wait_for_jobs(place, count, limit_s=limit_s, what=what, workers=[worker])
    return read_marks(place.marks)
