"""How is the end of a job seen at once by those who wait for it, at little cost?

One watch a process, on the background loop, asks the store about all waiters together.
Between two looks it waits for the store's hint that something ended. A look may cost a
millisecond of the processor for each waiter that it wakes; what it costs beyond that it rests
for, 50 times as long, so that looking in vain costs at most 2 % of a core. A hint that never
comes costs at most a quarter of a second. With nobody waiting it sleeps.
It reads no result: see `treadle.job`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Protocol

from treadle.core.errors import StoreUnavailable
from treadle.store.contract import BATCH_MAX

_REST_FACTOR: Final = 50
_FREE_S: Final = 0.001
"""What a look may cost for each waiter that it wakes."""
_REST_MIN_S: Final = 0.001
_REST_MAX_S: Final = 0.25


class TellsEnds(Protocol):
    """The two verbs of the store that are needed here."""

    async def wait(self, *, work: bool, ends: bool, timeout: float) -> bool:
        """Wait for a hint."""
        ...

    async def ended(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Tell which have ended."""
        ...


class Waiting:
    """Everybody who waits for jobs of one store; lives on one event loop."""

    def __init__(self, store: TellsEnds) -> None:
        self._store = store
        self._waiters: dict[bytes, list[asyncio.Future[None]]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._somebody = asyncio.Event()

    async def ended(self, job: bytes, timeout: float) -> bool:
        """Wait at most `timeout` seconds for a job's end; tell whether it came.

        Raises:
            StoreError: the store cannot be asked.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiters.setdefault(job, []).append(future)
        try:
            # It may have ended before it was registered here; of that no hint would come.
            if await self._store.ended((job,)):
                return True
            if self._watch is None:
                self._watch = loop.create_task(self._watching(), name="treadle-waiting")
            self._somebody.set()
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        finally:
            self._leave(job, future)
        return True

    async def close(self) -> None:
        """End the watch; whoever still waits is told so."""
        # The ended watch is kept: a store lets go of what a task's waits hold when it is closed,
        # and it cannot know of a task that is gone.
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait((self._watch,), timeout=_REST_MAX_S)
        self._fail(StoreUnavailable("the application was closed while this job was waited for"))

    def _leave(self, job: bytes, future: asyncio.Future[None]) -> None:
        others = self._waiters.get(job, [])
        if future in others:
            others.remove(future)
        if not others:
            self._waiters.pop(job, None)

    async def _watching(self) -> None:
        """Look, rest, wait for a hint; sleep while nobody waits."""
        while True:
            if not self._waiters:
                self._somebody.clear()
                await self._somebody.wait()
            try:
                await self._round()
            except StoreUnavailable:
                # Each waiter has a limit of its own, and the store may be back before it.
                await asyncio.sleep(_REST_MAX_S)
            except Exception as error:  # noqa: BLE001 -- raised again by each waiter
                self._fail(error)

    async def _round(self) -> None:
        """Wait for a hint, ask about everybody at once, then rest."""
        await self._store.wait(work=False, ends=True, timeout=_REST_MAX_S)
        # Of the processor: the time in which a server is waited for costs this process nothing.
        began = time.thread_time()
        ids = list(self._waiters)
        woken = 0
        for start in range(0, len(ids), BATCH_MAX):
            ended = await self._store.ended(ids[start : start + BATCH_MAX])
            woken += len(ended)
            for job in ended:
                self._wake(job)
        beyond = time.thread_time() - began - woken * _FREE_S
        await asyncio.sleep(min(max(_REST_FACTOR * beyond, _REST_MIN_S), _REST_MAX_S))

    def _wake(self, job: bytes) -> None:
        for future in self._waiters.pop(job, ()):
            if not future.done():
                future.set_result(None)

    def _fail(self, error: Exception) -> None:
        for futures in self._waiters.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
