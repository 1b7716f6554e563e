"""A worker's arrival: it waits for a store that is away, for as long as nobody ends the wait.

A machine that boots starts its services in any order, and a store fails over while workers are
deployed. Each step of a start that meets a store in such a state is taken again, with growing
rests; what somebody has to mend (a wrong password, a schema of another version) ends the start.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from treadle.core.errors import StoreUnavailable
from treadle.worker.life.rest import set_within

if TYPE_CHECKING:
    from treadle.worker.life.health import Health

T = TypeVar("T")

_log = logging.getLogger("treadle.worker")

_REST_FIRST_S: Final = 0.05
REST_MAX_S: Final = 5.0
_SAID_EACH_S: Final = 30.0


class NotStarted(StoreUnavailable):
    """The worker was asked to stop before it had started."""


class Arrival:
    """One worker's wait, over all the steps of its start."""

    def __init__(self, health: Health, stopping: asyncio.Event, *, patient: bool) -> None:
        """Take where the wait is shown, what ends it, and whether there is one at all."""
        self._health = health
        self._stopping = stopping
        self._patient = patient
        self._failed = 0
        self._since = 0.0
        self._said_at = 0.0

    async def until_done(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Take a step of the start, again and again while the store is away.

        Raises:
            NotStarted: somebody asked to stop meanwhile.
            StoreError: the store cannot be used until somebody mends what it says.
        """
        while True:
            try:
                done = await step()
            except StoreUnavailable as error:
                if isinstance(error, NotStarted) or not (self._patient and error.passing):
                    self._give_up()
                    raise
                await self._rest(error)
            except BaseException:
                self._give_up()
                raise
            else:
                self._is_there()
                return done

    def _give_up(self) -> None:
        if self._failed:
            self._health.stopped()

    async def _rest(self, error: StoreUnavailable) -> None:
        now = time.monotonic()
        self._since = self._since if self._failed else now
        self._failed += 1
        self._health.waits(str(error))
        if self._failed == 1 or now - self._said_at >= _SAID_EACH_S:
            self._said_at = now
            _log.warning("waiting for the store before the start, tries go on: %s", error)
        if await set_within(self._stopping, rest_after(self._failed)):
            self._give_up()
            raise NotStarted(f"the worker was asked to stop while it waited for its store: {error}")

    def _is_there(self) -> None:
        if self._failed:
            waited = time.monotonic() - self._since
            _log.warning("the store answers after %d tries in %.1f s", self._failed, waited)
            self._health.arrived()
            self._failed = 0


async def unless(asked: asyncio.Event, step: Coroutine[Any, Any, T]) -> T:
    """Take a step of the start, unless it is asked to stop before that is done.

    Raises:
        NotStarted: it was.
    """
    taken, stop = asyncio.ensure_future(step), asyncio.ensure_future(asked.wait())
    try:
        await asyncio.wait({taken, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not taken.done():
            taken.cancel()
            await asyncio.wait({taken})
            if taken.cancelled():
                raise NotStarted("the worker was asked to stop before it had started")
        return await taken
    finally:
        taken.cancel()
        stop.cancel()


def rest_after(failed: int) -> float:
    """Give the seconds to rest after so many failed calls in a row: growing, with jitter."""
    longest = min(_REST_FIRST_S * (1 << min(failed, 10)), REST_MAX_S)
    return longest * (0.5 + 0.5 * random.random())  # noqa: S311 -- spreads the workers
