"""What a lock and a place of a limit share: asked for with patience, prolonged, given up once.

The lease is counted by this process's monotonic clock from when it was asked for, so it ends here
no later than in the store.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ClassVar, Final, TypeVar

from treadle.client.background import BACKGROUND
from treadle.core.durations import SECOND, Duration
from treadle.core.errors import StoreError, TreadleError
from treadle.core.keys.rules import above_zero

_log = logging.getLogger(__name__)

T = TypeVar("T")

LEASE_MIN_S: Final = 1.0
PAUSE_FIRST_S: Final = 0.02
PAUSE_MAX_S: Final = 0.5


def read_lease(lease: Duration) -> int:
    """Return a lease in microseconds.

    Raises:
        TypeError, ValueError: it is no duration, or is below a second.
    """
    found = above_zero(lease, "lease")
    if found < LEASE_MIN_S * SECOND:
        raise ValueError(f"lease must be at least {LEASE_MIN_S:g} s, not {lease}")
    return found


class Pauses:
    """The rests between two questions: they double to half a second, and are spread."""

    def __init__(self) -> None:
        self._next = PAUSE_FIRST_S

    def take(self) -> float:
        """Give the seconds of the next one."""
        rest = self._next * (0.5 + 0.5 * random.random())  # noqa: S311 -- spreads the askers
        self._next = min(2 * self._next, PAUSE_MAX_S)
        return rest


class Questions:
    """What one caller asks of the store, one thing after the other, though he may be cancelled.

    A question goes on when its caller is gone, and what comes after it waits for its answer: else
    what gives a place back could overtake what takes it, on a connection of its own.
    """

    def __init__(self) -> None:
        self._last: Future[Any] | None = None

    async def ask(self, verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Carry out a verb of the store on the background loop, and give its answer."""
        asked = BACKGROUND.start(_after(self._last, verb))
        self._last = asked
        return await BACKGROUND.answer(asked)

    async def give_back(
        self, error: BaseException, verb: Callable[[], Coroutine[Any, Any, bool]], left: str
    ) -> None:
        """Give back what may have been taken meanwhile; the error is worth more than that."""
        try:
            await self.ask(verb)
        except StoreError as late:
            error.add_note(f"{left}: {late}")


async def _after(last: Future[Any] | None, verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
    if last is not None and not last.done():
        await asyncio.wait((asyncio.wrap_future(last),))
    return await verb()


def give_back_now(error: BaseException, free: Callable[[], object], left: str) -> None:
    """Give back what may have been taken, on this thread; the error is worth more than that."""
    try:
        free()
    except StoreError as late:
        error.add_note(f"{left}: {late}")


class Lease:
    """A lease that is prolonged, from the background loop, until it is ended or lost."""

    def __init__(
        self, renew: Callable[[], Coroutine[Any, Any, bool]], what: str, lease: int, asked: float
    ) -> None:
        self._renew = renew
        self._what = what
        self._length = lease / SECOND
        self._ends_at = asked + self._length
        self._lost = self._over = False
        self._renewing = BACKGROUND.start(self._prolong())

    @property
    def is_good(self) -> bool:
        """Whether it has not ended by this process's monotonic clock."""
        return not self._lost and time.monotonic() < self._ends_at

    def end(self) -> None:
        """Prolong it no more."""
        self._over = True
        self._renewing.cancel()

    async def _prolong(self) -> None:
        """Prolong the lease three times in its length, until it is ended or lost."""
        while not self._over:
            await asyncio.sleep(self._length / 3)
            asked = time.monotonic()
            try:
                renewed = await self._renew()
            except StoreError as error:
                # The lease may outlast the trouble; the next turn tries again.
                _log.warning("%s could not be prolonged: %s", self._what, error)
                continue
            if not renewed:
                self._lost = True
                if not self._over:
                    _log.error("%s is lost", self._what)
                return
            self._ends_at = asked + self._length


class Leased(ABC):
    """What is given up at the end of a `with` block; an error of the block is worth more."""

    LEFT: ClassVar[str]
    """What is said of one that could not be given up."""
    LOST: ClassVar[type[TreadleError]]
    """What giving up raises when it is not held any more."""

    @abstractmethod
    def release(self) -> None:
        """Give it up."""

    @abstractmethod
    async def arelease(self) -> None:
        """Do the same without blocking the event loop."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it up."""
        try:
            self.release()
        except (self.LOST, StoreError) as late:
            self._too_late(error, late)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it up without blocking the event loop."""
        try:
            await self.arelease()
        except (self.LOST, StoreError) as late:
            self._too_late(error, late)

    def _too_late(self, error: BaseException | None, late: TreadleError) -> None:
        if error is None:
            raise late
        error.add_note(f"{self.LEFT}: {late}")
