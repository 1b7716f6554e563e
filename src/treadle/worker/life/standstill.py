"""Did the whole process stand still, so that nobody could beat?

A thread of its own keeps the lease whatever the event loop does, but not when no thread runs:
when the process is stopped, as by a suspended machine, or when C code keeps Python's interpreter
lock. The lease may end meanwhile, and another worker then runs the jobs again. Nothing in here can
prevent that; it names the tasks, since what the other worker sees is the same as a death.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from treadle.core.ids import id_text

if TYPE_CHECKING:
    from treadle.core.job import Claim
    from treadle.worker.attempt import Attempt

_log = logging.getLogger("treadle.worker")

_NAMED_MAX: Final = 5


class Standstill:
    """Tells of a standstill when it is over; `woke` is for one thread, which rests in between."""

    def __init__(self, running: Callable[[], Iterable[Attempt]], warn_after: float) -> None:
        """Take who gives the attempts under way, and the seconds that are worth a report."""
        self.warn_after = warn_after
        self._running = running
        self._cpu = time.process_time()
        self._ended: deque[Claim] = deque(maxlen=_NAMED_MAX)

    def ended(self, claim: Claim) -> None:
        """Take a claim whose attempt was under way for at least `warn_after`, and is over.

        It may be settled before the thread that looks has its turn.
        """
        self._ended.append(claim)

    def woke(self, late: float) -> None:
        """Report a rest that ended so many seconds later than it should have."""
        cpu = time.process_time()
        if late >= self.warn_after:
            claims = [*self._ended.copy(), *(one.claim for one in self._running() if one.started)]
            self._report(late, cpu - self._cpu, {claim.id: claim.task for claim in claims})
        self._ended.clear()
        self._cpu = cpu

    def _report(self, late: float, cpu: float, jobs: dict[bytes, str]) -> None:
        named = [f"{task} (job {id_text(id_)})" for id_, task in jobs.items()]
        more = len(named) - _NAMED_MAX
        told = ", ".join(named[:_NAMED_MAX]) or "no job"
        _log.warning(
            "no thread of this worker ran for %.1f s, in which it used %.1f s of processor time: "
            "its process was stopped, or C code kept Python's interpreter lock. A lease that ends "
            "meanwhile is as a worker that has died. At work: %s%s",
            late,
            cpu,
            told,
            f" and {more} more" if more > 0 else "",
        )
