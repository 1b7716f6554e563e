"""Dialling: one connection that is opened on a thread of its own, and who waits for it.

Names are looked up by a call that blocks, so no event loop does it. The thread is a daemon, so that
a host that does not answer never holds up an exit. The connection belongs to the dial until the one
who waits has taken it. Whoever comes last closes what nobody wants: the thread, when the waiter has
left; the waiter, when he leaves (cancelled, too late, his loop ended) with a connection that came
in the same moment.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A connection, of which a dial knows only how to close it."""

    def close(self) -> None:
        """Close it, on any thread, without waiting."""
        ...


W = TypeVar("W", bound=Closable)

_GRACE_S = 0.5
"""How long after its time a connecting thread's own error is waited for."""


async def dial_beside(connect: Callable[[], W], deadline: float) -> W:
    """Give what `connect` opens beside the loop, by `deadline` (monotonic seconds).

    `connect` keeps to that time by itself, except where it looks up a name.

    Raises:
        TimeoutError: the thread had not come to an end half a second later, or `connect` said so.
        Exception: what else `connect` raised.
    """
    return await _Dial(connect).taken(deadline)


class _Dial(Generic[W]):
    """One connection under way; awaited once, on the loop that made it."""

    def __init__(self, connect: Callable[[], W]) -> None:
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._wire: W | None = None
        self._failed: BaseException | None = None
        self._left = False

    async def taken(self, deadline: float) -> W:
        threading.Thread(target=self._run, name="treadle-connect", daemon=True).start()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + _GRACE_S):
                await self._came
            return self._take()
        finally:
            self._leave()

    def _run(self) -> None:
        wire, failed = None, None
        try:
            wire = self._connect()
        except BaseException as error:  # noqa: BLE001 -- raised again by who waits for it
            failed = error
        with self._lock:
            self._wire, self._failed = wire, failed
            left = self._left
        if left:
            self._leave()
            return
        try:
            self._loop.call_soon_threadsafe(_resolve, self._came)
        except RuntimeError:
            # The loop was closed meanwhile: nobody waits any more.
            self._leave()

    def _take(self) -> W:
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is None:
            assert self._failed is not None, "a thread that found nothing says why"
            raise self._failed
        return wire

    def _leave(self) -> None:
        """Want it no more: close what came and was not taken, or let the thread do so."""
        with self._lock:
            self._left = True
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def _resolve(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)
