"""What a worker costs while there is nothing to do: processor time and memory.

The worker has run one job before, so that whatever it loads late is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.harness.figures import Figures
from bench.harness.marks import count_marks
from bench.harness.plan import Plan
from bench.harness.processes import Running, wait_until
from bench.harness.systems import Site

_WARM_LIMIT_S = 30.0
_SETTLE_S = 1.0


@contextmanager
def warmed_worker(place: Site) -> Iterator[Running]:
    """Run a worker that has already done one job and has been idle for a second.

    Raises:
        BenchError: it did not run that job within 30 s.
    """
    place.drive("warm")
    with place.worker() as worker:
        wait_until(
            lambda: count_marks(place.marks) > 0,
            timeout_s=_WARM_LIMIT_S,
            what=f"{place.system.name}: the first job of a fresh worker",
            workers=[worker],
        )
        # The measure is of an idle worker, and nothing announces that a foreign one is idle.
        time.sleep(_SETTLE_S)
        yield worker


def idle(place: Site, plan: Plan) -> Figures:
    """Return the processor share and the memory of an idle worker and its children.

    The kernel counts processor time in ticks of 10 ms, so 20 s resolve 0.05 % of a core.

    Raises:
        BenchError: the worker ended.
    """
    with warmed_worker(place) as worker:
        before = worker.cost()
        start = time.monotonic()
        time.sleep(plan.idle_s)
        after = worker.cost()
        seconds = time.monotonic() - start
        worker.check_alive()
    return {
        "cpu_percent": 100 * (after.cpu_s - before.cpu_s) / seconds,
        "cpu_s": after.cpu_s - before.cpu_s,
        "seconds": seconds,
        "rss_mb": after.rss_mb,
        "pss_mb": after.pss_mb,
        "processes": after.processes,
    }
