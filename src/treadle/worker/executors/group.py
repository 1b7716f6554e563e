"""The executors of one worker, put together: what the line holds and speaks to.

Chooses where an attempt runs: async tasks, and everything with middleware around it, on the
loop; other sync tasks in threads. Everything else is handed on; see the package's own text
for which file does what.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from itertools import chain

from treadle.context import CURRENT
from treadle.core.ids import id_text
from treadle.core.outcome import Released
from treadle.worker.attempt import Attempt, CancelReason
from treadle.worker.executors.base import Executor, Finished
from treadle.worker.executors.bridge import Bridge
from treadle.worker.executors.limits import Limits
from treadle.worker.executors.loop import LoopExecutor
from treadle.worker.executors.overdue import STUCK_AFTER, Overdue
from treadle.worker.executors.pool import Pool
from treadle.worker.executors.thread import ThreadExecutor


class Executors:
    """Runs attempts wherever they belong; to be made and used on the loop's thread.

    Args:
        loop: the worker's loop.
        slots: how many attempts there are at most at a time; also the most threads.
        finished: takes each outcome, once, on the loop's thread.
        stuck_max: how much code may ignore its end before `on_too_many_stuck` is called.
        on_too_many_stuck: asks the worker to drain and leave; may be called more than once.
        stuck_after: seconds that code has to end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        slots: int,
        finished: Finished,
        stuck_max: int,
        on_too_many_stuck: Callable[[], None],
        stuck_after: float = STUCK_AFTER,
    ) -> None:
        self._pool = Pool(loop, slots)
        self._overdue = Overdue(loop, stuck_max, on_too_many_stuck, stuck_after)
        self._limits = Limits(loop)
        bridge = Bridge(loop, self._pool)
        self._loop = LoopExecutor(loop, bridge, self._limits, self._overdue, finished)
        self._thread = ThreadExecutor(self._pool, self._limits, self._overdue, finished)
        self._limits.attach(self._loop, self._thread)

    def start(self, attempt: Attempt) -> None:
        """Begin an attempt; its outcome goes to `finished`.

        Raises:
            RuntimeError: the process cannot start a thread for it; nothing was begun.
        """
        self._executor_of(attempt).start(attempt)

    def cancel(self, attempt: Attempt, reason: CancelReason) -> None:
        """Ask an attempt's code to end; its outcome comes when it has.

        Does nothing when the attempt has ended or was cancelled before.
        """
        executor = self._executor_of(attempt)
        if attempt.reason is None and attempt in executor.running:
            executor.cancel(attempt, reason)

    def abandon(self, attempt: Attempt) -> None:
        """Hand an attempt back now, whether or not its code stops; for a worker that must go.

        The code is asked to end and left behind. Does nothing when the attempt has ended.
        """
        executor = self._executor_of(attempt)
        if attempt in executor.running:
            executor.settle(attempt, "stop", Released(began=True))

    def shorten(self, attempt: Attempt, at: int) -> None:
        """End an attempt by this instant (monotonic nanoseconds), if not before."""
        self._limits.shorten(attempt, at)

    def is_stuck(self, job_id: bytes) -> bool:
        """Tell whether code of an earlier attempt of this job still runs here.

        Such a job must not be started again in this worker.
        """
        return self._overdue.is_stuck(job_id)

    @property
    def stuck_count(self) -> int:
        """How many attempts have not ended within a second of being told to."""
        return self._overdue.stuck_count

    @property
    def running(self) -> Iterator[Attempt]:
        """The attempts whose outcome is not known yet."""
        return chain(self._loop.running, self._thread.running)

    def attempt_of(self, task: asyncio.Task[object]) -> Attempt | None:
        """Find the attempt that runs as this asyncio task; from any thread.

        From Python 3.12 on also the attempt whose code has started the asyncio task.
        """
        running = tuple(self._loop.running)
        found = next((one for one in running if one.handle is task), None)
        if found is None and sys.version_info >= (3, 12):
            context = task.get_context().get(CURRENT)
            key = None if context is None else context.idempotency_key
            found = next((one for one in running if id_text(one.claim.id) == key), None)
        return found

    def close(self) -> None:
        """Let the threads end and stop the timers; does not wait for any code."""
        self._limits.close()
        self._overdue.close()
        self._pool.close()

    def _executor_of(self, attempt: Attempt) -> Executor:
        if attempt.definition.is_async or attempt.surroundings.middleware:
            return self._loop
        return self._thread
