"""The ears: how a commit in one process wakes a waiter in another.

Whoever waits has a mark in the database kept fresh; whoever writes looks at the marks after its
commit, in the same round trip, and notifies when one is fresh. The mark comes before the
waiter's last look at the store, so a commit that missed the one is seen by the other. One
connection an event loop listens for all its waiters. It is a hint only: where the connection
breaks, waiters find their time run out instead.

A listener hears on a channel of its own, too, what is for one worker here alone, who has made an
offer under the listener's key (docs/adr/0027). As long as its connection lives it holds a lock by
that key, which tells who would hand something over that it is there.

Behind a pooler nobody listens. One in transaction mode would lend the connection that listens to
somebody else, who then gets the news and never reads them; so waiters are woken each second there,
to look for themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from treadle.core.errors import StoreError
from treadle.store.postgres.engine.pack import texts
from treadle.store.postgres.engine.runner import (
    Dial,
    Runner,
    Talk,
    dial_in_thread,
    drive,
    until,
)
from treadle.store.postgres.engine.trouble import ConnectionLost, ServerError
from treadle.store.postgres.engine.wire import Ask, Call, Wire
from treadle.store.postgres.news.own import OwnNews

if TYPE_CHECKING:
    from treadle.store.postgres.engine.sql import Statements


_log = logging.getLogger("treadle.store")

WORK: Final = "work"
ENDS: Final = "ends"
KINDS: Final = (WORK, ENDS)

_MARKED_S: Final = 1.8
"""How long a mark is fresh at least once it was made: see the statement `listen`."""
_TICK_S: Final = 0.8
_LINGER_S: Final = 30.0
"""How long the connection outlives the last waiter."""
_POOLED_S: Final = 1.0
"""How often waiters are woken where nothing can be heard."""
_KEY_BITS: Final = 63
_BACK_OFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


class Ears:
    """The listeners of one store, one for each event loop that waits."""

    def __init__(
        self, runner: Runner, sql: Statements, channel: str, clock: Callable[[], int]
    ) -> None:
        """Take who carries conversations, the statements, and what channels' names begin with.

        `clock` is the monotonic one (microseconds).
        """
        self._runner = runner
        self._sql = sql
        self._channel = channel
        self._clock = clock
        self._pid = os.getpid()
        self._known: dict[asyncio.AbstractEventLoop, Ear] = {}

    @property
    def _by_loop(self) -> dict[asyncio.AbstractEventLoop, Ear]:
        """The listeners of this process; in a fork's child the parent's loops are not its own."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._known = {}
        return self._known

    def known(self) -> Sequence[Ear]:
        """Give the listeners of this process."""
        return list(self._by_loop.values())

    def ring_handed(self, job: bytes) -> Sequence[Call]:
        """Give the call that tells whom this job was handed to, or else who listens for work."""
        return [(self._sql["ring_handed"], (texts([WORK]), job))]

    def ring(self, *kinds: str) -> Sequence[Call]:
        """Give the call that tells who listens, for after a commit."""
        return [(self._sql["ring_after"], (texts(kinds),))] if kinds else []

    def here(self) -> Ear:
        """Give the listener of the running loop."""
        loop = asyncio.get_running_loop()
        ear = self._by_loop.get(loop)
        if ear is None:
            # A program may run one loop after another; each would be kept by its listener.
            for gone in [one for one in list(self._by_loop) if one.is_closed()]:
                self._by_loop.pop(gone, None)
            ear = self._by_loop[loop] = Ear(self._runner, self._sql, self._channel, self._clock)
        return ear

    async def close(self) -> None:
        """End the listeners; wait for the one of this loop."""
        here = self._by_loop.pop(asyncio.get_running_loop(), None)
        self.close_now()
        if here is not None:
            await here.stop()

    def close_now(self) -> None:
        """Tell the listeners to end; never waits."""
        for loop, ear in list(self._by_loop.items()):
            # A loop may be closed at any time; its tasks ended with it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ear.cancel)
        self._by_loop.clear()


class Ear:
    """The listener of one event loop."""

    def __init__(
        self, runner: Runner, sql: Statements, channel: str, clock: Callable[[], int]
    ) -> None:
        self._runner = runner
        self._sql = sql
        self.own = OwnNews(sql, runner, clock)
        self._channel = channel
        self._channels = {f"{channel}{kind}": kind for kind in KINDS}
        self._news: dict[str, int] = dict.fromkeys(KINDS, 1)
        """Counts what was heard of each kind."""
        self._wanted: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        """Until when somebody waits for it, by the monotonic clock."""
        self._marked: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        """Until when its mark is fresh for sure."""
        self._seen: weakref.WeakKeyDictionary[asyncio.Task[object], dict[str, int]] = (
            weakref.WeakKeyDictionary()
        )
        self._waiters: set[asyncio.Future[bool]] = set()
        self._tick = asyncio.Event()
        self._steady = False
        """The last connection has listened for a while."""
        self._task: asyncio.Task[None] | None = None

    async def wait(self, kinds: Sequence[str], timeout: float) -> bool:
        """Wait for news; what came before a task's first wait is unknown, so that one is short."""
        task = asyncio.current_task()
        assert task is not None, "wait is awaited from a task"
        seen = self._seen.setdefault(task, dict.fromkeys(KINDS, 0))
        deadline = time.monotonic() + timeout
        for kind in kinds:
            self._wanted[kind] = max(self._wanted[kind], deadline + _TICK_S)
            if self._marked[kind] < time.monotonic():
                self._tick.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="treadle-ear")
        while all(seen[kind] == self._news[kind] for kind in kinds):
            left = deadline - time.monotonic()
            if left <= 0 or not await self._woken(left):
                return False
        for kind in kinds:
            seen[kind] = self._news[kind]
        return True

    async def _woken(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()
        self._waiters.add(woken)
        timer = loop.call_later(seconds, _wake, woken, False)  # noqa: FBT003 -- a callback
        try:
            return await woken
        finally:
            timer.cancel()
            self._waiters.discard(woken)

    def _heard(self, kinds: Sequence[str]) -> None:
        for kind in kinds:
            self._news[kind] += 1
        for woken in list(self._waiters) if kinds else ():
            _wake(woken, True)  # noqa: FBT003 -- as for a callback

    def cancel(self) -> None:
        """Ask the listener to end."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """End the listener and wait for that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _listen(self) -> None:
        """Keep a connection that listens, while anybody waits now and then."""
        failures = 0
        while self._is_wanted():
            self._steady = False
            try:
                await self._one_connection()
                failures = 0
            except (StoreError, ServerError, ConnectionLost, OSError) as error:
                # A server may end sessions that idle (idle_session_timeout), again and again.
                failures = 0 if self._steady else failures
                if failures == 0:
                    _log.info("news of the store are not heard, it is asked instead: %s", error)
                await asyncio.sleep(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])
                failures += 1

    def _is_wanted(self) -> bool:
        return max(self._wanted.values()) + _LINGER_S > time.monotonic()

    async def _one_connection(self) -> None:
        timeout = self._runner.timeout
        conninfo = self._runner.target.conninfo
        wire = await dial_in_thread(Dial(conninfo, time.monotonic() + timeout))
        try:
            deadline = time.monotonic() + timeout
            await drive(until(wire.meet(self._runner.own_call(deadline)), deadline))
            if not wire.is_pooled:
                await self._hear(wire)
        finally:
            wire.close()
        if wire.is_pooled:
            await self._wake_by_time()

    async def _hear(self, wire: Wire) -> None:
        """Listen on a connection of the server's own."""
        key = secrets.randbits(_KEY_BITS)
        own = f"{self._channel}{key}"
        deadline = time.monotonic() + self._runner.timeout
        await drive(until(wire.listen([*self._channels, own], key), deadline))
        self._marked = dict.fromkeys(KINDS, 0.0)
        lost: list[ConnectionLost] = []

        def read() -> None:
            """Wake whom the news are for, with no turn of the loop in between."""
            try:
                self._told(own, wire)
            except ConnectionLost as error:
                lost.append(error)
                loop.remove_reader(socket)
                self._tick.set()

        # A connection that breaks has no socket any more, but the loop still watches for it.
        loop, socket = asyncio.get_running_loop(), wire.socket
        loop.add_reader(socket, read)
        self.own.key = key
        try:
            while self._is_wanted() and not lost:
                await self._mark()
                await self._until_tick()
                self._steady = self._steady or not lost
        finally:
            loop.remove_reader(socket)
            self.own.deaf()
        if lost:
            raise lost[0]

    def _told(self, own: str, wire: Wire) -> None:
        """Take what has arrived: news for all, news for one worker here, or what it was handed."""
        read = True
        while read:
            news = wire.heard()
            # Where an answer has come to its end there may be news behind it.
            read = self.own.go_on()
            names = [said for name, said in news if name == own]
            wake = self.own.told(names, wire) if names else False
            kinds = [self._channels[name] for name, _ in news if name != own]
            self._heard([*kinds, WORK] if read or wake else kinds)

    async def _wake_by_time(self) -> None:
        """Wake those who wait, again and again, while anybody does now and then."""
        while self._is_wanted():
            await asyncio.sleep(_POOLED_S)
            now = time.monotonic()
            self._heard([kind for kind, wanted in self._wanted.items() if wanted > now])

    async def _until_tick(self) -> None:
        """Wait until there is something to mark, or nothing more to hear."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TICK_S):
                await self._tick.wait()
        self._tick.clear()

    async def _mark(self) -> None:
        """Keep the marks of what is waited for fresh; a mark that had lapsed is news itself."""
        begun = time.monotonic()
        due = [
            k for k in KINDS if self._wanted[k] > begun and self._marked[k] < begun + _TICK_S * 1.2
        ]
        if not due:
            return
        await drive(self._runner.run(lambda: _listen(self._sql, due)))
        lapsed = [kind for kind in due if self._marked[kind] < begun]
        for kind in due:
            self._marked[kind] = begun + _MARKED_S
        self._heard(lapsed)


def _wake(woken: asyncio.Future[bool], is_news: bool) -> None:  # noqa: FBT001 -- a callback
    if not woken.done():
        woken.set_result(is_news)


def _listen(sql: Statements, kinds: Sequence[str]) -> Talk[None]:
    yield Ask([(sql["unhurried"], ()), (sql["listen"], (texts(kinds),))])
