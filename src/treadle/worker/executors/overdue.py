"""What is left of attempts whose outcome is settled while their code still runs?

A task that was told to end has a second to do so. One that still lives then is stuck: it is
logged with its stack and counted, its job is not started again in this worker, and when too
many have gathered the worker is told to leave, because only the end of a process ends them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from treadle.core.ids import id_text
from treadle.worker.attempt import Attempt

_log = logging.getLogger(__name__)

STUCK_AFTER: Final = 1.0
"""Seconds that code has to end before it counts as stuck."""


class Overdue:
    """The attempts that are settled but alive; for the loop's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stuck_max: int,
        on_too_many_stuck: Callable[[], None],
        stuck_after: float = STUCK_AFTER,
    ) -> None:
        self._loop = loop
        self._stuck_max = stuck_max
        self._on_too_many_stuck = on_too_many_stuck
        self._stuck_after = stuck_after
        self._alive: dict[bytes, tuple[Attempt, asyncio.TimerHandle]] = {}
        self._stuck: set[bytes] = set()

    @property
    def stuck_count(self) -> int:
        """How many attempts have not ended within a second of being told to."""
        return len(self._stuck)

    def is_stuck(self, job_id: bytes) -> bool:
        """Tell whether code of an earlier attempt of this job still runs here."""
        return job_id in self._alive

    def add(self, attempt: Attempt, stack_of: Callable[[Attempt], str]) -> None:
        """Take an attempt whose code has just been told to end."""
        timer = self._loop.call_later(self._stuck_after, self._judge, attempt, stack_of)
        self._alive[attempt.claim.id] = attempt, timer

    def end(self, attempt: Attempt) -> None:
        """Let go of an attempt whose code has ended."""
        job_id = attempt.claim.id
        _, timer = self._alive.pop(job_id)
        timer.cancel()
        if job_id in self._stuck:
            self._stuck.discard(job_id)
            _log.info("job %s (%s) was stuck and has ended", id_text(job_id), attempt.claim.task)

    def close(self) -> None:
        """Judge no more, and take what is still alive off the loop's books.

        A runner such as `asyncio.run` cancels every asyncio task at its end and waits for
        all of them; one that swallows its cancellation would keep the process for ever.
        """
        for attempt, timer in self._alive.values():
            timer.cancel()
            if attempt.handle is not None:
                _forget(attempt.handle)

    def _judge(self, attempt: Attempt, stack_of: Callable[[Attempt], str]) -> None:
        job_id = attempt.claim.id
        self._stuck.add(job_id)
        _log.warning(
            "job %s (%s) does not end although it was told to (%s); its code is left behind, "
            "%d of these so far (stuck_max is %d). Give its calls a timeout. It stands at:\n%s",
            id_text(job_id),
            attempt.claim.task,
            attempt.reason,
            len(self._stuck),
            self._stuck_max,
            stack_of(attempt) or "(unknown)",
        )
        if len(self._stuck) > self._stuck_max:
            self._on_too_many_stuck()


def _forget(task: asyncio.Task[None]) -> None:
    """Take a task out of asyncio's list, and let it drop without a report of a mistake."""
    asyncio._unregister_task(task)  # noqa: SLF001 -- documented under "Extending asyncio"
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 -- as gather()
