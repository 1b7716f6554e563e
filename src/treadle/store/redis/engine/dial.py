"""A dial: one connection that is opened on a thread of its own, and who waits for it.

Names are looked up by a call that blocks, so no event loop does it. The connection belongs to the
dial until the one who waits has taken it. Whoever comes last closes what nobody wants: the thread,
when the waiter has left; the waiter, when he leaves (cancelled, too late, his loop ended) with a
connection that came in the same moment.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from treadle.store.redis.engine.wire import Wire


class Dial:
    """One connection under way; awaited once, on the loop that made it."""

    def __init__(self, connect: Callable[[], Wire]) -> None:
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        self._failed: BaseException | None = None
        self._left = False

    async def wire(self, deadline: float) -> Wire:
        """Give the connection, at the latest at `deadline` (monotonic seconds).

        Raises:
            TimeoutError: the thread had not come to an end by then.
            LostError, StoreUnavailable: what `connect` raised.
        """
        threading.Thread(target=self._run, name="treadle-connect", daemon=True).start()
        try:
            async with asyncio.timeout(max(0.001, deadline - time.monotonic())):
                await self._came
            return self._taken()
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

    def _taken(self) -> Wire:
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
