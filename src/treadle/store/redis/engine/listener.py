"""The listener: how a write in one process wakes a waiter in another within a millisecond.

A waiter marks that it listens (a key that expires, the ears), and subscribes. A script that
writes something of interest takes the mark away and publishes once: so a server with nobody
waiting publishes nothing, and one that is busy publishes once for each round of waiters. Whoever
finds the mark gone when setting it again may have missed something and looks for himself.
A waiter may leave his name in the mark, and hear on a channel of his own what is for him alone.

Each event loop has one connection for all its waiters, read by the loop itself. When it breaks
it is opened again at the next wait, with growing rests; meanwhile waits end as if they had heard
something, no sooner than those rests. A wait is a hint only.
"""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import hiredis

from treadle.core.errors import StoreError
from treadle.store.redis.engine.pool import Pool
from treadle.store.redis.engine.runner import Runner
from treadle.store.redis.engine.wire import LostError, Wire, pack

MARK: Final = "1"
"""The mark of somebody who leaves no name."""
_EARS_S = 60.0
_REST_S, _REST_MAX_S = 0.1, 5.0
_ANSWER_WITHIN_S = 5.0

Task = asyncio.Task[Any]
Told = Callable[[str, bytes], None]
"""Takes what came on a channel of somebody's own: its name, and the text."""
_NOBODY: Final[Mapping[str, str]] = MappingProxyType({})


class Listener:
    """One event loop's ear."""

    def __init__(self, pool: Pool, runner: Runner, told: Told) -> None:
        """Listen through a wire of its own from `pool`; marks are set through `runner`."""
        self.willing = ""
        """Whose name stands in the next mark: that of a worker here which would take any job."""
        self._pool = pool
        self._runner = runner
        self._told = told
        self._own: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._channels: set[str] = set()
        self._rung: dict[str, int] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._heard: weakref.WeakKeyDictionary[Task, dict[tuple[str, ...], int]] = (
            weakref.WeakKeyDictionary()
        )
        self._quiet_since = 0.0
        self._pinged = False
        self._failed = 0
        self._closed = False

    async def wait(
        self, ears: Mapping[str, str], timeout: float, own: Mapping[str, str] = _NOBODY
    ) -> bool:
        """Wait for a hint on these keys since this task's last return; False when time is up.

        `ears` gives each key's mark, `own` the key that a channel of somebody's own belongs to.
        A task's first wait returns at once: what happened before it is unknown.
        """
        task = asyncio.current_task()
        assert task is not None, "wait is awaited from a task"
        try:
            await self._listen(ears, own)
            silent = await self._mark(ears, timeout)
        except StoreError:
            return await self._rest(timeout)
        self._failed = 0
        heard, kinds = self._heard.setdefault(task, {}), tuple(ears)
        known = heard.get(kinds)
        if silent and known == self._count(ears):
            await self._sleep(ears, timeout)
        heard[kinds] = self._count(ears)
        return not silent or heard[kinds] != known

    def _count(self, ears: Iterable[str]) -> int:
        return sum(self._rung.get(key, 0) for key in ears)

    async def _sleep(self, ears: Iterable[str], timeout: float) -> None:
        """Sleep until one of these has rung or the time is up."""
        before, deadline = self._count(ears), self._loop.time() + timeout
        while self._count(ears) == before and self._loop.time() < deadline:
            woken: asyncio.Future[None] = self._loop.create_future()
            timer = self._loop.call_at(deadline, _resolve, woken)
            self._waiting.add(woken)
            try:
                await woken
            finally:
                timer.cancel()
                self._waiting.discard(woken)

    async def _rest(self, timeout: float) -> bool:
        """Stand in for a wait while nothing can be heard."""
        self._failed += 1
        longest = min(_REST_MAX_S, _REST_S * (1 << min(self._failed, 10)))
        rest = longest * (0.5 + 0.5 * random.random())  # noqa: S311 -- spreads, guards nothing
        await asyncio.sleep(min(rest, timeout))
        return rest <= timeout

    async def _mark(self, ears: Mapping[str, str], timeout: float) -> bool:
        """Say that somebody listens; True when that was still known, so that nothing was missed.

        A name is left only where nothing was missed, else what came before would be overtaken.
        """
        expires = str(int(1000 * max(_EARS_S, 2 * timeout)))
        marked = True
        for key, mark in ears.items():
            words, was = ("PX", expires, "GET"), None
            if mark != MARK:
                was = await self._runner.run(self._runner.command("SET", key, mark, "XX", *words))
            if was is None:
                was = await self._runner.run(self._runner.command("SET", key, MARK, *words))
                marked = marked and mark == MARK and was is not None
        return marked

    # The connection

    async def _listen(self, ears: Iterable[str], own: Mapping[str, str]) -> None:
        """Be subscribed to these channels, on a connection that lives."""
        async with self._opening:
            self._check()
            if self._wire is None:
                deadline = time.monotonic() + self._runner.timeout
                try:
                    wire = await self._pool.connect_beside(deadline)
                except LostError as error:
                    raise StoreError(str(error)) from error
                if self._closed:
                    wire.close()
                    raise StoreError(f"{self._pool.name} was closed while a wait began")
                self._wire = wire
                self._quiet_since, self._pinged = self._loop.time(), False
                self._loop.add_reader(self._wire.fileno(), self._arrived)
                self._channels.clear()
            self._own.update(own)
            new = [key for key in (*ears, *own) if key not in self._channels]
            if new:
                self._send("SUBSCRIBE", *new)
                self._channels.update(new)
                # What was published before the server knew of us was not heard.
                for key in new:
                    self._ring(key)

    def _check(self) -> None:
        """Ask a connection that has long been silent for a sign of life; let go of a dead one."""
        if self._wire is None:
            return
        quiet = self._loop.time() - self._quiet_since
        if self._pinged and quiet > _ANSWER_WITHIN_S + self._runner.timeout:
            self._break()
        elif not self._pinged and quiet > _ANSWER_WITHIN_S:
            self._pinged = True
            self._send("PING")

    def _send(self, *words: str) -> None:
        if self._wire is not None:
            try:
                self._wire.send_soon(pack(words))
            except OSError:
                self._break()

    def _arrived(self) -> None:
        """Read what came; called by the loop."""
        if self._wire is None:
            return
        try:
            messages = self._wire.arrived()
        except (OSError, hiredis.HiredisError):
            self._break()
            return
        self._quiet_since, self._pinged = self._loop.time(), False
        for message in messages:
            if isinstance(message, list) and message[0] == b"message":
                key = message[1].decode()
                if key in self._own:
                    self._told(key, message[2])
                self._ring(key)
                self._wake()

    def _ring(self, channel: str) -> None:
        key = self._own.get(channel, channel)
        self._rung[key] = self._rung.get(key, 0) + 1

    def _wake(self) -> None:
        for woken in self._waiting:
            _resolve(woken)

    def _break(self) -> None:
        """Let go of a dead connection; whoever waits looks for himself."""
        self._let_go()
        for key in self._rung:
            self._rung[key] += 1
        self._wake()

    def turn_from(self, name: str, channel: str) -> None:
        """Leave that name in no mark any more, and hear nothing more of its own channel."""
        if self.willing == name:
            self.willing = ""
        if self._own.pop(channel, None) is not None:
            self._channels.discard(channel)
            self._send("UNSUBSCRIBE", channel)

    def close(self) -> None:
        """Close it for good; on the listener's own loop, or when that runs no more."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(wire.fileno())
            wire.close()

    def abandon(self) -> None:
        """Close it for good from another thread, or after a fork, without touching the loop."""
        self._closed = True
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


class Listeners:
    """The listeners of one store, one an event loop."""

    def __init__(self, pool: Pool, runner: Runner, told: Told) -> None:
        self._pool = pool
        self._runner = runner
        self._told = told
        self._all: dict[asyncio.AbstractEventLoop, Listener] = {}

    def here(self) -> Listener:
        """Give the running loop's listener; forget those of loops that are closed."""
        loop = asyncio.get_running_loop()
        listener = self._all.get(loop)
        if listener is None:
            for other in [one for one in list(self._all) if one.is_closed()]:
                self._all.pop(other).abandon()
            listener = self._all[loop] = Listener(self._pool, self._runner, self._told)
        return listener

    def close(self) -> None:
        """Close every listener, each on its own loop where that runs."""
        while self._all:
            loop, listener = self._all.popitem()
            if not loop.is_running() or loop is _running():
                listener.close()
                continue
            try:
                loop.call_soon_threadsafe(listener.close)
            except RuntimeError:
                # That loop was closed in this moment.
                listener.abandon()

    def abandon(self) -> None:
        """Forget them all, in a child or at the end of a program."""
        while self._all:
            self._all.popitem()[1].abandon()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
