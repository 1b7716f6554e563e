"""Which task blocks the event loop?

A task that computes, or calls blocking code, inside an `async def` stops every other job of
its worker. The watching thread (the one that beats) sends the loop one probe at a time and
looks whether it ran; so an idle loop costs a few wake-ups a second and no timer of its own.
A block is logged once with the stack of the loop's thread and the task to blame, and once
more when it is over. It ends nothing: time limits cannot either, while the loop stands still.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable

from treadle.core.ids import id_text
from treadle.worker.attempt import Attempt
from treadle.worker.outcomes.describe import stack_text

_log = logging.getLogger(__name__)

# A probe each quarter of the time makes the report come at most that much late.
_CHECKS = 4


class BlockedLoop:
    """Watches one loop; made on the loop's thread, `check` is for one watching thread.

    Args:
        loop: the loop to watch, which runs on the thread that makes this.
        attempt_of: finds the attempt behind an asyncio task; called on the watching thread.
        warn_after: seconds of standing still that are worth a report.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        attempt_of: Callable[[asyncio.Task[object]], Attempt | None],
        warn_after: float,
    ) -> None:
        self._loop = loop
        self._warn_after = warn_after
        self._attempt_of = attempt_of
        self._thread = threading.get_ident()
        self._asked_at: float | None = None
        self._answered_at: float | None = None
        self._blames: str | None = None

    @property
    def interval(self) -> float:
        """Seconds between two checks that make a report come in time."""
        return self._warn_after / _CHECKS

    def check(self) -> None:
        """Look whether the loop turns: report a block when it is seen and when it is over."""
        now = time.monotonic()
        if self._asked_at is None:
            self._ask(now)
        elif self._answered_at is not None:
            if self._blames is not None:
                _log.warning(
                    "the event loop runs again; %s had blocked it for %.1f s",
                    self._blames,
                    self._answered_at - self._asked_at,
                )
            self._ask(now)
        elif self._blames is None and now - self._asked_at >= self._warn_after:
            self._report(now - self._asked_at)

    def _ask(self, now: float) -> None:
        """Send the loop a probe; nothing when the loop is closed, as it then blocks nobody."""
        self._blames = self._answered_at = None
        self._asked_at = now
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            self._asked_at = None

    def _answer(self) -> None:
        self._answered_at = time.monotonic()

    def _report(self, seconds: float) -> None:
        task = asyncio.current_task(self._loop)
        frames = sys._current_frames()  # noqa: SLF001 -- the documented way to see other threads
        attempt = None if task is None else self._attempt_of(task)
        if attempt is not None:
            claim = attempt.claim
            self._blames = f"task {claim.task} (job {id_text(claim.id)})"
        elif task is not None:
            self._blames = f"the asyncio task {task.get_name()}"
        else:
            self._blames = "a callback"
        _log.warning(
            "%s has blocked the event loop for %.1f s: no other job of this worker goes on. Make "
            "it a plain `def` task, which runs in a thread, or move what blocks to "
            "asyncio.to_thread(). It stands at:\n%s",
            self._blames,
            seconds,
            stack_text(frames.get(self._thread)),
        )
