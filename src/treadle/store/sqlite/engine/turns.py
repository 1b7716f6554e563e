"""Turns: who of this process may begin a transaction next, first come, first served.

Tasks that all wait for the file's lock by looking again and again would starve one another; in
line, each is woken when its turn has come. Threads and coroutines stand in the same line.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Turns:
    """One line; a place in it is a future that is done when the turn has come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: Future[None] | None = None
        self._waiting: deque[Future[None]] = deque()

    @property
    def taken(self) -> bool:
        """Whether it is somebody's turn now."""
        return self._holder is not None

    def wait_now(self, place: Future[None], timeout: float) -> None:
        """Stand in line on this thread.

        Raises:
            TimeoutError: the turn has not come in time; `leave` all the same.
        """
        self._join(place)
        place.result(timeout)

    async def wait(self, place: Future[None], timeout: float) -> None:
        """Do the same on an event loop."""
        self._join(place)
        if not place.done():
            async with asyncio.timeout(timeout):
                await asyncio.wrap_future(place)

    def leave(self, place: Future[None]) -> None:
        """End a turn, or give up a place in the line; safe to call again, and without a place."""
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
            elif place is self._holder:
                self._next()

    def _join(self, place: Future[None]) -> None:
        with self._lock:
            self._waiting.append(place)
            if self._holder is None:
                self._next()

    def _next(self) -> None:
        """Give the turn to the first who still waits; the caller holds the lock."""
        self._holder = None
        while self._waiting and self._holder is None:
            place = self._waiting.popleft()
            if place.set_running_or_notify_cancel():
                self._holder = place
                place.set_result(None)
