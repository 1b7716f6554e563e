"""The bridge: one call of a sync task in a thread, for a coroutine that waits for it.

Used when middleware stands around a sync task: the middleware runs on the loop, the task in a
thread. The coroutine does not go on before the thread has ended, even when it is cancelled:
otherwise the middleware would, for example, close a session that the task still uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final, NamedTuple

from treadle.core.signals import SoftTimeout
from treadle.worker.attempt import Attempt
from treadle.worker.executors.pool import Pool
from treadle.worker.executors.seat import Work
from treadle.worker.outcomes.raised import Interrupted

_NOTHING: Final = object()


class Ended(NamedTuple):
    """What a call returned, or what it raised."""

    value: object
    error: BaseException | None = None


class Bridge:
    """Runs calls on the pool's threads for coroutines; all methods are for the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._inside: dict[Attempt, asyncio.Future[Ended]] = {}

    async def in_thread(self, attempt: Attempt, call: Callable[[], Any]) -> object:
        """Run `call` in a thread, in a copy of this context; give what it returns or raises.

        Raises:
            RuntimeError: a call of this attempt runs already, or no thread can be started.
        """
        if attempt in self._inside:
            raise RuntimeError(
                f"the middleware of task {attempt.claim.task!r} called the next one again while "
                "that still ran; await one call before the next"
            )
        future: asyncio.Future[Ended] = self._loop.create_future()
        self._pool.put(Work(attempt, partial(_guarded, call), _caught, self._done, copy_context()))
        self._inside[attempt] = future
        try:
            ended = await self._ended(attempt, future)
        finally:
            del self._inside[attempt]
        if ended.error is not None:
            raise ended.error
        return ended.value

    def soften(self, attempt: Attempt) -> bool:
        """Raise the soft limit in the attempt's thread; False when none runs it now."""
        if attempt not in self._inside or attempt.seat is None:
            return False
        attempt.soft_sent = attempt.seat.strike(attempt, SoftTimeout)
        return attempt.soft_sent

    def retire(self, attempt: Attempt) -> None:
        """Give up the attempt's thread, if one runs it now."""
        if attempt in self._inside:
            self._pool.retire(attempt)

    def stack_of(self, attempt: Attempt) -> str:
        """Write where the attempt's thread stands; empty when none runs it now."""
        return attempt.seat.stack_of(attempt) if attempt.seat else ""

    async def _ended(self, attempt: Attempt, future: asyncio.Future[Ended]) -> Ended:
        """Wait for the thread; a cancellation is passed on to it and raised when it has ended."""
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError as error:
                if self._pool.withdraw(attempt):
                    raise
                if cancelled is None and attempt.seat is not None:
                    attempt.seat.strike(attempt, Interrupted)
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return future.result()

    def _done(self, attempt: Attempt, result: object) -> None:
        assert isinstance(result, Ended), "a call through the bridge gives an Ended"
        future = self._inside.get(attempt)
        if future is not None:  # Otherwise the coroutine was closed together with its loop.
            future.set_result(result)


def _guarded(call: Callable[[], Any], _: Attempt, leave: Callable[[], None]) -> Ended:
    """Call on a thread; see `execute_in_thread` for when an error may strike."""
    value = _NOTHING
    try:
        value = call()
        leave()
    except BaseException as error:  # noqa: BLE001 -- it is raised again, where the coroutine waits
        leave()
        if value is _NOTHING:
            return Ended(None, error)
    return Ended(value)


def _caught(_: Attempt, error: BaseException) -> Ended:
    return Ended(None, error)
