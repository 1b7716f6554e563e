"""What does `app.testing()` put in place of the world?

A memory store instead of the application's own, and a clock that stands still until it is
moved. Here is only what the application needs for that; how the jobs are run is in
`treadle.testing.drain`, which this layer cannot import and which gives its function to
`Kit.run_with` when the package is imported (docs/adr/0008).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, ParamSpec, TypeVar, cast

from treadle.core.clock import MovedClock
from treadle.core.durations import Duration, as_datetime, instant_us, to_us
from treadle.store.open import open_store
from treadle.task import Task

if TYPE_CHECKING:
    from treadle.app import Treadle
    from treadle.core.settings import Settings
    from treadle.job import Job

P = ParamSpec("P")
R = TypeVar("R")

DRAIN_MAX: Final = 10_000
"""Attempts that one drain runs before it says that there is no end to them."""
_PAGE: Final = 1_000
_PAGES_MAX: Final = 1_000

Drain = Callable[["Kit", int | None, int], Coroutine[Any, Any, int]]
"""Runs what is due; takes how far the clock may be moved (microseconds) and the bound."""

_NO_KIT: Final = (
    "works only inside `with app.testing():`, where the store and the clock are a test's own; "
    "elsewhere start a worker"
)


class Kit:
    """One application under test: what `with app.testing() as kit:` gives."""

    _run: ClassVar[Drain]

    def __init__(self, app: Treadle, clock: MovedClock) -> None:
        self.app: Final = app
        self.clock: Final = clock
        """The store's clock: it stands still until `move` or `drain` moves it."""

    @classmethod
    def run_with(cls, drain: Drain) -> None:
        """Name the function that runs the jobs; called once, by the layer that has it."""
        cls._run = staticmethod(drain)

    @property
    def now(self) -> datetime:
        """The moved clock's time, in UTC."""
        return as_datetime(self.clock.wall())

    def move(self, by: Duration) -> None:
        """Let time pass: seconds or a timedelta.

        Raises:
            TypeError, ValueError: it is no duration, or negative.
        """
        self.clock.move(by)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Make, fill and read tables of your own in the memory store; gives a connection.

        They are those that tasks reach by `ctx.transaction()`. The end of the block commits, an
        error that leaves it rolls back.
        """
        transactional = self.app.store.transactional
        assert transactional is not None, "the memory store has transactions"
        begun: list[Any] = []
        transactional.begin_now(begun.append)
        try:
            yield begun[0].connection
        except BaseException:
            begun[0].rollback()
            raise
        begun[0].commit()

    def drain(self, *, within: Duration | None = None, limit: int = DRAIN_MAX) -> int:
        """Run jobs as a worker does, with real retries; return how many attempts ran.

        The clock is moved from one due time to the next until nothing waits any more. Jobs of
        a task whose code is not here are left waiting.

        Args:
            within: how much time may pass (seconds or a timedelta): with 0 only what is due
                now runs, with 60 what is due in the next minute, and the clock then stands a
                minute later. None: as much as it takes.
            limit: attempts after which the drain gives up.

        Raises:
            RuntimeError: `limit` attempts ran and there is still work, as when a job enqueues
                itself again; or an event loop runs on this thread.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.adrain(within=within, limit=limit))
        raise RuntimeError(
            "drain() was called on a thread with a running event loop; "
            "in an async test write `await app.adrain()`"
        )

    async def adrain(self, *, within: Duration | None = None, limit: int = DRAIN_MAX) -> int:
        """Do the same as `drain` on the running event loop."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        return await Kit._run(self, None if within is None else to_us(within, "within"), limit)

    def enqueued(self, task: Task[P, R]) -> list[Job[R]]:
        """Give the jobs of a task in any state, oldest first."""
        found: list[Job[R]] = []
        cursor: str | None = None
        for _ in range(_PAGES_MAX):
            page = self.app.jobs(task=task.name, limit=_PAGE, cursor=cursor)
            found += page
            cursor = page.cursor
            if cursor is None:
                break
        found.reverse()
        return found


class UnderTest:
    """The part of an application that puts it under test; mixed into `Treadle`."""

    settings: Settings
    _kit: Kit | None = None

    @contextmanager
    def testing(self, *, start: datetime | None = None) -> Iterator[Kit]:
        """Work on a memory store and a moved clock until the block ends.

        Inside it `enqueue` stores in memory and `drain` runs the jobs. The application's own
        store is neither opened nor touched.

        Args:
            start: the instant at which the clock stands; None: the real time now.

        Raises:
            TypeError, ValueError: `start` is no aware datetime.
        """
        clock = MovedClock(None if start is None else instant_us(start, "start"))
        store = open_store("memory://", self.settings.namespace, self.settings, clock)
        store.open_now()
        app = cast("Treadle", self)  # Mixed into it alone.
        kit, before = Kit(app, clock), self._kit
        try:
            with app._swap_store(store, clock):  # noqa: SLF001 -- made for this
                self._kit = kit
                _kits.append(kit)
                yield kit
        finally:
            _kits.remove(kit)
            self._kit = before
            store.close_now()

    def drain(self, *, within: Duration | None = None, limit: int = DRAIN_MAX) -> int:
        """Run the jobs of an application under test; see `Kit.drain`.

        Raises:
            RuntimeError: this application is not under test, or there is no end to its jobs.
        """
        if self._kit is None:
            raise RuntimeError(f"app.drain() {_NO_KIT}")
        return self._kit.drain(within=within, limit=limit)

    async def adrain(self, *, within: Duration | None = None, limit: int = DRAIN_MAX) -> int:
        """Do the same as `drain` on the running event loop."""
        if self._kit is None:
            raise RuntimeError(f"app.adrain() {_NO_KIT}")
        return await self._kit.adrain(within=within, limit=limit)


# The kits whose block has not ended, innermost last.
_kits: Final[list[Kit]] = []


def enqueued(task: Task[P, R]) -> list[Job[R]]:
    """Give the jobs of a task of an application under test, in any state, oldest first.

    Raises:
        RuntimeError: no application under test has this task.
    """
    for kit in reversed(_kits):
        if kit.app.definition(task.name) is not None:
            return kit.enqueued(task)
    raise RuntimeError(f"enqueued({task.name}) {_NO_KIT}")
