"""Which store does this process talk to, and through what?

A `Link` is an open store with the two things that every call shares: the writer that
coalesces enqueues and the hubs where results are waited for. `Links` opens it on first use,
makes a new one in a fork's child, and lets tests put another store in its place.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from treadle.client.background import BACKGROUND
from treadle.client.coalesce import Writer
from treadle.client.waiting import Waiting
from treadle.core.clock import Clock, SystemClock
from treadle.core.threads.interrupted import check_free

if TYPE_CHECKING:
    from treadle.core.settings import Settings
    from treadle.store.contract import Store

T = TypeVar("T")

# The store's own patience ends first and gives the better error; this is the net below it.
_MARGIN_S: Final = 5.0


Steps = Generator[Coroutine[Any, Any, Any], Any, T]
"""A long action as a generator: yields one call of the store at a time, is sent its answer."""


async def carry(steps: Steps[T]) -> T:
    """Carry a long action on the caller's event loop."""
    answer: Any = None
    try:
        while True:
            answer = await steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


class Link:
    """An open store and what its callers in this process share."""

    __slots__ = ("clock", "settings", "store", "waiting", "workers", "writer")

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self.writer = Writer(
            store, patience=2 * settings.store_timeout + _MARGIN_S, check=self.check_outside
        )
        self.waiting = Waiting(store)
        self.workers = 0
        """How many workers of this process work on the store."""

    def check_outside(self) -> None:
        """Refuse a write that waits for the transaction of the very job it comes from."""
        if self.store.transactional is not None:
            self.store.transactional.check_outside()

    def run(self, coroutine: Coroutine[Any, Any, T], *, extra: float = 0) -> T:
        """Run a coroutine on the background loop; `extra` is how long it waits on purpose (s).

        Raises:
            StoreUnavailable: it has not ended in time.
        """
        return BACKGROUND.run(coroutine, self.settings.store_timeout + _MARGIN_S + extra)

    def run_steps(self, steps: Steps[T]) -> T:
        """Carry a long action on the caller's thread, each of its steps bounded by itself."""
        answer: Any = None
        try:
            while True:
                answer = self.run(steps.send(answer))
        except StopIteration as done:
            result: T = done.value
            return result

    def ended(self, job: bytes, timeout: float) -> bool:
        """Wait at most `timeout` seconds for a job's end; tell whether it came."""
        return self.run(self.waiting.ended(job, timeout), extra=timeout)

    async def aended(self, job: bytes, timeout: float) -> bool:
        """Do the same without blocking the event loop."""
        return await BACKGROUND.arun(self.waiting.ended(job, timeout))

    def close_shared(self) -> None:
        """End the writer and the watch; the store stays open."""
        self.writer.close()
        self.run(self.waiting.close())


class Links:
    """The link of one application, opened when it is first needed."""

    def __init__(self, settings: Settings, make: Callable[[], Store]) -> None:
        """Take the settings and what makes the store, unopened."""
        self._settings = settings
        self._make = make
        self._opening = threading.RLock()
        """Held by the thread that opens the store, for as long as that takes."""
        self._lock = threading.RLock()
        """Held for the moment in which the link is changed, so that an event loop may wait."""
        self._link: Link | None = None
        _all_links.add(self)

    @property
    def known(self) -> Link | None:
        """The link when it is open, without opening it."""
        return self._link

    def get(self) -> Link:
        """Give the link, opening the store first when nobody has.

        Raises:
            StoreError: the store cannot be opened; the next call tries again.
        """
        link = self._link
        if link is None:
            check_free(self._opening)
            check_free(self._lock)
            with self._opening:
                link = self._link
                if link is None:
                    link = self._first(self._open())
        return link

    async def aopen(self) -> Link:
        """Do the same on the running event loop; may be cancelled at any time.

        Raises:
            StoreError: the store cannot be opened; the next call tries again.
        """
        if self._link is not None:
            return self._link
        store = self._make()
        try:
            await store.open()
        except BaseException:
            store.close_now()
            raise
        return self._first(Link(store, self._settings, SystemClock()))

    async def aget(self) -> Link:
        """Do the same without blocking the event loop."""
        link = self._link
        return await asyncio.to_thread(self.get) if link is None else link

    def _open(self) -> Link:
        store = self._make()
        link = Link(store, self._settings, SystemClock())
        store.open_now()
        return link

    def _first(self, made: Link) -> Link:
        """Keep the link that has come first, of threads and event loops that open at once."""
        with self._lock:
            link = self._link = self._link or made
        if link is not made:
            made.store.close_now()
        return link

    @contextmanager
    def swapped(self, store: Store, clock: Clock) -> Iterator[Link]:
        """Put an open store in the place of the application's own for a while."""
        with self._lock:
            before, self._link = self._link, Link(store, self._settings, clock)
            link = self._link
        try:
            yield link
        finally:
            link.close_shared()
            with self._lock:
                self._link = before

    def close(self) -> None:
        """Write what waits and close the store; the next call opens it again.

        Raises:
            RuntimeError: a worker works on it; without its store it would end in mid-job.
        """
        with self._lock:
            if self._link is not None and self._link.workers:
                raise RuntimeError(
                    "the application cannot be closed while a worker of this process works on it; "
                    "leave that to the program, which closes it after the worker has stopped"
                )
            link, self._link = self._link, None
        if link is not None:
            link.close_shared()
            link.run(link.store.close())

    async def aclose(self) -> None:
        """Do the same without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def after_fork(self) -> None:
        """Begin anew in a child: its parent's threads and waiters do not exist there.

        The store is fork-safe by itself and stays.
        """
        self._opening, self._lock = threading.RLock(), threading.RLock()
        if self._link is not None:
            self._link = Link(self._link.store, self._settings, self._link.clock)


_all_links: Final[weakref.WeakSet[Links]] = weakref.WeakSet()


def _at_exit() -> None:
    """Close what the program left open; every job that was answered for is stored already."""
    for links in list(_all_links):
        if links.known is not None:
            links.known.store.close_now()


def _after_fork() -> None:
    for links in list(_all_links):
        links.after_fork()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
