"""A job that its caller holds before the store does: it lies in an outbox, or is not committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final, TypeVar

from treadle.core.durations import SECOND, Duration, to_us
from treadle.core.errors import JobNotFound, ResultTimeout
from treadle.core.job import JobRecord
from treadle.job import Job, refuse_blocking

R = TypeVar("R")

_REST_MIN_S: Final = 0.01
_REST_MAX_S: Final = 0.25
_WHERE: Final = (
    "not in the store yet: its transaction has not been committed, or was rolled back, or it lies "
    "in the outbox and `treadle relay` has not come to it"
)


class LateJob(Job[R]):
    """A job from an enqueue into an outbox; once it was seen in the store it is like any other."""

    __slots__ = ()

    def wait(self, timeout: Duration = 60) -> bool:
        """Wait until the job has come to the store and ended; False when the time has passed."""
        deadline = _deadline(timeout)
        refuse_blocking(self)
        for rest in _rests(deadline):
            if self._found(self._home.link.store.get_now((self._id,))[0]):
                return super().wait(max(0.0, deadline - time.monotonic()))
            time.sleep(rest)
        return False

    async def await_(self, timeout: Duration = 60) -> bool:
        """Do the same as `wait` without blocking the event loop."""
        deadline = _deadline(timeout)
        store = (await self._home.alink()).store
        for rest in _rests(deadline):
            if self._found((await store.get((self._id,)))[0]):
                return await super().await_(max(0.0, deadline - time.monotonic()))
            await asyncio.sleep(rest)
        return False

    def _found(self, record: JobRecord | None) -> bool:
        """Tell whether the job has been seen in the store, now or before."""
        return record is not None or self._record is not None

    def _take(self, record: JobRecord | None) -> JobRecord:
        if not self._found(record):
            raise JobNotFound(self.id, f"it is {_WHERE}")
        return super()._take(record)

    def _outcome(self, timeout: Duration) -> R:
        if self._record is None:
            raise ResultTimeout(self.id, to_us(timeout, "timeout") / SECOND, _WHERE)
        return super()._outcome(timeout)


def _deadline(timeout: Duration) -> float:
    return time.monotonic() + to_us(timeout, "timeout") / SECOND


def _rests(deadline: float) -> Iterator[float]:
    """Give how long to rest after each look, growing; the last look is at the deadline."""
    rest = _REST_MIN_S
    while (left := deadline - time.monotonic()) > 0:
        yield min(rest, left)
        rest = min(2 * rest, _REST_MAX_S)
    yield 0.0
