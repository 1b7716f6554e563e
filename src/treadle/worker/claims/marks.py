"""Marks: how does a rescuer know which jobs of a dead worker had begun?

Each claim is marked before its code starts. Where the store keeps every mark beyond a crash
(SQLite: in the worker's live file) that is all. A server store keeps only marks that are sure,
because each is a round trip, and so only two kinds of claim ask for one: those with a crash
behind them, since the next one may bury them, and those that run at most once. Every other
claim without a mark counts as begun: its first crash is forgiven, and makes it a suspect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from treadle.core.errors import StoreError

if TYPE_CHECKING:
    from treadle.core.job import Claim, Orphan
    from treadle.core.retry import JobPolicy
    from treadle.store.contract import StoreSession
    from treadle.worker.attempt import Attempt

_log = logging.getLogger("treadle.worker")


def must_be_sure(claim: Claim, policy: JobPolicy) -> bool:
    """Tell whether a claim's mark must outlive its worker."""
    return claim.crashes > 0 or policy.on_lost == "fail"


def had_started(orphan: Orphan, policy: JobPolicy) -> bool:
    """Tell whether the code of a dead worker's claim counts as begun."""
    if orphan.started is None:
        return not must_be_sure(orphan.claim, policy)
    return orphan.started


class Marks:
    """The marks of one worker's claims; on the loop's thread alone."""

    def __init__(self, start: Callable[[Attempt], None], refuse: Callable[[Attempt], None]) -> None:
        """Take how an attempt starts that is marked, and what becomes of one that is not."""
        self._start = start
        self._refuse = refuse
        self._waiting: dict[int, asyncio.Task[None]] = {}

    def begin(self, store: StoreSession, worker: str, attempt: Attempt) -> None:
        """Mark a claim and start it: now, or when its mark is sure."""
        claim = attempt.claim
        surely = must_be_sure(claim, attempt.policy)
        written = store.mark(worker, claim.id, claim.number, attempt.place, surely=surely)
        if written is None:
            self._start(attempt)
        else:
            waits = asyncio.get_running_loop().create_task(self._begin_later(attempt, written))
            self._waiting[attempt.place] = waits

    async def _begin_later(self, attempt: Attempt, written: Awaitable[None]) -> None:
        try:
            await written
        except StoreError as error:
            _log.warning("a job waits: that it starts could not be written: %s", error)
            del self._waiting[attempt.place]
            self._refuse(attempt)
            return
        del self._waiting[attempt.place]
        self._start(attempt)

    def stop(self, attempt: Attempt) -> bool:
        """Refuse an attempt that still waits for its mark; False when it waits for none."""
        waits = self._waiting.pop(attempt.place, None)
        if waits is None:
            return False
        waits.cancel()
        self._refuse(attempt)
        return True
