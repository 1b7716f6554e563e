"""When is an attempt's time over? Soft and hard limits, watched with a single timer.

Starting a job costs one comparison: the timer stands at the earliest limit that was known
when it was set, and only then are the running attempts (at most one a slot) looked through.
Limits count from the first line of a coroutine and from the hand-over to a thread, on the
monotonic clock. What a limit does to the code is the executor's part.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from treadle.worker.attempt import Attempt
from treadle.worker.executors.base import Executor
from treadle.worker.outcomes.raised import hard_limit_us, timed_out

_NEVER: Final = 1 << 62
# Many limits close together are met in one look, so that looking costs little of the loop.
_APART_NS: Final = 2_000_000
_AGAIN_NS: Final = 10_000_000


class Limits:
    """Watches the time limits of all running attempts; for the loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._executors: Sequence[Executor] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._next = _NEVER

    def attach(self, *executors: Executor) -> None:
        """Name the executors whose running attempts are looked through."""
        self._executors = executors

    def watch(self, attempt: Attempt, now: int) -> None:
        """Set the limits of an attempt that begins now (monotonic nanoseconds)."""
        first = attempt.hard_at = now + hard_limit_us(attempt) * 1000
        soft = attempt.policy.soft_timeout
        if soft is not None:
            attempt.soft_at = now + soft * 1000
            first = min(first, attempt.soft_at)
        if first < self._next:
            self._set_timer(first, now)

    def shorten(self, attempt: Attempt, at: int) -> None:
        """End an attempt by this instant (monotonic nanoseconds), if not before."""
        if attempt.hard_at > at:
            attempt.hard_at = at
            if at < self._next:
                self._set_timer(at, time.monotonic_ns())

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next = None, _NEVER

    def _set_timer(self, at: int, now: int) -> None:
        self.close()
        self._next = at
        self._timer = self._loop.call_later(max(at - now, _APART_NS) / 1e9, self._look)

    def _look(self) -> None:
        """End what is over its limit, and set the timer to the next limit."""
        now = time.monotonic_ns()
        self._timer, self._next = None, _NEVER
        nearest = _NEVER
        for executor in self._executors:
            for attempt in tuple(executor.running):
                nearest = min(nearest, _apply(executor, attempt, now))
        # The outcomes just reported may have started attempts, and these have set the timer.
        if nearest < self._next:
            self._set_timer(nearest, now)


def _apply(executor: Executor, attempt: Attempt, now: int) -> int:
    """Apply the limits of one attempt; return when to look at it again."""
    if not attempt.hard_at:
        return _NEVER  # Not begun: its beginning will set the timer.
    if attempt.hard_at <= now:
        outcome = timed_out(attempt, executor.stack_of(attempt))
        executor.settle(attempt, "hard_timeout", outcome)
        return _NEVER
    if attempt.soft_at is None or attempt.reason is not None:
        return attempt.hard_at
    if attempt.soft_at > now:
        return attempt.soft_at
    if executor.soften(attempt):
        attempt.soft_at = None
        return attempt.hard_at
    return now + _AGAIN_NS
