"""The thread executor: sync tasks without middleware, one thread each.

What it runs is `worker.execute.execute_in_thread`; the threads are the pool's. A task that is
to end gets an error raised in its thread; one that does not stop for that loses its thread to
`overdue`, and the pool makes another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextvars import copy_context
from typing import cast

from treadle.core.outcome import Outcome, Released
from treadle.core.signals import SoftTimeout
from treadle.worker.attempt import Attempt, CancelReason
from treadle.worker.execute import execute_in_thread
from treadle.worker.executors.base import Finished
from treadle.worker.executors.limits import Limits
from treadle.worker.executors.overdue import Overdue
from treadle.worker.executors.pool import Pool
from treadle.worker.executors.seat import Work
from treadle.worker.outcomes.raised import Interrupted, outcome_of


class ThreadExecutor:
    """Runs attempts in threads; see `base.Executor` for what its methods promise."""

    def __init__(self, pool: Pool, limits: Limits, overdue: Overdue, finished: Finished) -> None:
        self._pool = pool
        self._limits = limits
        self._overdue = overdue
        self._finished = finished
        self._running: set[Attempt] = set()
        # Each job runs in a copy of this, so that nothing it sets is met by the next one.
        self._base = copy_context()

    @property
    def running(self) -> Collection[Attempt]:
        """The attempts whose outcome is not known yet."""
        return self._running

    def start(self, attempt: Attempt) -> None:
        """Hand an attempt to a thread."""
        # The limits are set first: the task may ask for its deadline in its first line.
        self._limits.watch(attempt, time.monotonic_ns())
        self._pool.put(Work(attempt, _call, outcome_of, self._done, self._base.copy()))
        self._running.add(attempt)

    def soften(self, attempt: Attempt) -> bool:
        """Raise the soft limit in the thread."""
        attempt.soft_sent = attempt.seat is not None and attempt.seat.strike(attempt, SoftTimeout)
        return attempt.soft_sent

    def cancel(self, attempt: Attempt, reason: CancelReason) -> None:
        """Raise an error in the thread that ends the task."""
        if self._end(attempt, reason):
            self._finished(attempt, Released())

    def settle(self, attempt: Attempt, reason: CancelReason, outcome: Outcome) -> None:
        """Report `outcome` now; the thread is given up."""
        if self._end(attempt, reason):
            self._finished(attempt, Released())
            return
        attempt.settled = True
        self._pool.retire(attempt)
        self._running.discard(attempt)
        self._overdue.add(attempt, self.stack_of)
        self._finished(attempt, outcome)

    def stack_of(self, attempt: Attempt) -> str:
        """Write where the thread stands."""
        return attempt.seat.stack_of(attempt) if attempt.seat else ""

    def _end(self, attempt: Attempt, reason: CancelReason) -> bool:
        """Stop the code, once; True when it had not begun and is no longer running."""
        first, attempt.reason = attempt.reason is None, attempt.reason or reason
        if self._pool.withdraw(attempt):
            self._running.discard(attempt)
            return True
        if first and attempt.seat is not None:
            attempt.seat.strike(attempt, Interrupted)
        return False

    def _done(self, attempt: Attempt, result: object) -> None:
        if attempt.settled:
            self._overdue.end(attempt)
            return
        self._running.discard(attempt)
        self._finished(attempt, cast("Outcome", result))


def _call(attempt: Attempt, leave: Callable[[], None]) -> Outcome:
    attempt.started = time.monotonic_ns()
    return execute_in_thread(attempt, leave)
