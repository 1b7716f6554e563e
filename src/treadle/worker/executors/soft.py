"""How is an error raised inside a coroutine that waits?

A task with a soft limit is driven through `driven`, one generator more between it and the
loop. When the limit has passed, the executor cancels the asyncio task, which detaches it from
whatever it waits for; `driven` takes the cancellation back and raises the soft limit in its
place. Tasks without a soft limit do not come here and pay nothing.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

from treadle.core.durations import SECOND
from treadle.core.signals import SoftTimeout
from treadle.worker.attempt import Attempt


class SoftTimeoutAtAwait(SoftTimeout, asyncio.CancelledError):
    """The soft limit as it is raised at an `await`.

    The task catches it as `SoftTimeout`. It is a cancellation as well because library code
    that waits (a task group, `wait_for`, a lock) tidies up only for that: any other error
    at its `await` would leave its child tasks running.
    """


# What people read in a traceback is the name that they can catch.
SoftTimeoutAtAwait.__module__, SoftTimeoutAtAwait.__qualname__ = "treadle", "SoftTimeout"


@types.coroutine
def driven(
    attempt: Attempt, running: Coroutine[Any, Any, object]
) -> Generator[object, None, object]:
    """Run a coroutine to its end, and raise the soft limit in it when that has passed."""
    strike: BaseException | None = None
    while True:
        try:
            awaited = running.send(None) if strike is None else running.throw(strike)
        except StopIteration as end:
            return end.value
        strike = None
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001 -- handed on to the task, whatever it is
            strike = error
        if attempt.soft_due:
            strike = _struck(attempt, strike)


def _struck(attempt: Attempt, strike: BaseException | None) -> BaseException | None:
    """Tell what to raise at this await, now that the soft limit has passed.

    An attempt that is being ended for good keeps its cancellation. What it waited for may
    have failed at the same instant: that error goes first, the limit at the next await.
    """
    if attempt.reason is not None:
        attempt.soft_due = False
        return strike
    if strike is not None and not isinstance(strike, asyncio.CancelledError):
        return strike
    attempt.soft_due, attempt.soft_sent = False, True
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    limit = (attempt.policy.soft_timeout or 0) / SECOND
    return SoftTimeoutAtAwait(f"the task has run for its soft time limit of {limit:g} s")
