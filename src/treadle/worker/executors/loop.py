"""The loop executor: async tasks, and sync tasks that have middleware around them.

One asyncio task an attempt, in a context of its own. The last line of the coroutine reports
the outcome: a done callback would cost another turn of the loop. How the code is run is told
in `worker.execute`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextvars import copy_context

from treadle.core.outcome import Outcome, Released
from treadle.worker.attempt import Attempt, CancelReason
from treadle.worker.execute import execute
from treadle.worker.executors.base import Finished
from treadle.worker.executors.bridge import Bridge
from treadle.worker.executors.limits import Limits
from treadle.worker.executors.overdue import Overdue
from treadle.worker.outcomes.describe import coroutine_stack_text


class LoopExecutor:
    """Runs attempts as asyncio tasks; see `base.Executor` for what its methods promise."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bridge: Bridge,
        limits: Limits,
        overdue: Overdue,
        finished: Finished,
    ) -> None:
        self._loop = loop
        self._bridge = bridge
        self._limits = limits
        self._overdue = overdue
        self._finished = finished
        # Also what keeps the attempts alive: the loop itself holds its tasks only weakly.
        self._running: set[Attempt] = set()
        # Attempts begin in copies of this and not of the context of whoever starts them,
        # which is often the coroutine of the attempt that has just ended.
        self._base = copy_context()

    @property
    def running(self) -> Collection[Attempt]:
        """The attempts whose outcome is not known yet."""
        return self._running

    def start(self, attempt: Attempt) -> None:
        """Begin an attempt at the next turn of the loop."""
        self._running.add(attempt)
        attempt.handle = self._loop.create_task(self._run(attempt), context=self._base.copy())

    def soften(self, attempt: Attempt) -> bool:
        """Raise the soft limit where the task waits, be it in a thread or at an `await`."""
        if not self._bridge.soften(attempt):
            attempt.soft_due = True
            self._cancel(attempt)
        return True

    def cancel(self, attempt: Attempt, reason: CancelReason) -> None:
        """Cancel the asyncio task."""
        attempt.reason = reason
        self._cancel(attempt)
        if not attempt.started:
            self._hand_back(attempt)

    def settle(self, attempt: Attempt, reason: CancelReason, outcome: Outcome) -> None:
        """Report `outcome` now; the asyncio task is cancelled and left to itself."""
        attempt.reason = attempt.reason or reason
        self._cancel(attempt)
        if not attempt.started:
            self._hand_back(attempt)
            return
        attempt.settled = True
        self._bridge.retire(attempt)
        self._running.discard(attempt)
        self._overdue.add(attempt, self.stack_of)
        self._finished(attempt, outcome)

    def stack_of(self, attempt: Attempt) -> str:
        """Write where the coroutine waits, or where its thread stands."""
        return self._bridge.stack_of(attempt) or coroutine_stack_text(attempt.code)

    async def _run(self, attempt: Attempt) -> None:
        """Carry one attempt from its start to its report."""
        attempt.started = now = time.monotonic_ns()
        self._limits.watch(attempt, now)
        outcome = await execute(attempt, self._bridge.in_thread)
        # Taken apart here, because attempt and asyncio task hold each other.
        attempt.handle = attempt.code = None
        if attempt.settled:
            self._overdue.end(attempt)
            return
        self._running.discard(attempt)
        self._finished(attempt, outcome)

    def _cancel(self, attempt: Attempt) -> None:
        if attempt.handle is not None:
            attempt.handle.cancel()

    def _hand_back(self, attempt: Attempt) -> None:
        """Report an attempt whose coroutine was cancelled before its first line."""
        self._running.discard(attempt)
        attempt.handle = None
        self._finished(attempt, Released())
