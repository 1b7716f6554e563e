"""A limit outside jobs: `with app.limit("stripe").acquire():` in a web request or a script.

It is the gate that jobs pass, in the store, so both together keep within it. Of a `Concurrency`
a hold takes a place, prolonged from this process's background loop for as long as it lasts; when
the holder dies, its lease ends and the place is free. Of a `RateLimit` it takes as much as it
costs, once. Who waits stands in the gate's line and takes turns with the jobs parked at it; he
asks again after a rest that grows to half a second while the line stands still and begins anew
when it moves on, or when the store says that it may help.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from treadle.client.gates.hold import LEFT, Hold
from treadle.client.keys.lease import (
    PAUSE_FIRST_S,
    PAUSE_MAX_S,
    Pauses,
    Questions,
    give_back_now,
    read_lease,
)
from treadle.client.keys.single import Single
from treadle.core.durations import SECOND, Duration, to_us
from treadle.core.errors import LimitTimeout, StoreError
from treadle.core.gates.gate import GateUse
from treadle.core.gates.limits import Concurrency, Limit, RateLimit, check_count, check_gate
from treadle.core.ids import new_id

if TYPE_CHECKING:
    from treadle.client.snapshot import Home
    from treadle.store.parts.holding import HoldTaken

_CLOCK_MAX_S: Final = 2.0
"""The longest rest when a clock tells when to ask: less than what keeps a place in the line."""


class NamedLimit:
    """A limit by its name, to be passed by code that is no job; any number may hold it."""

    def __init__(
        self,
        home: Home,
        find: Callable[[str], Limit],
        name: str,
        key: str | int | None,
        lease: Duration,
    ) -> None:
        self.name: Final = check_gate(name)
        self._home = home
        self._find = find
        self._key = key_text(key)
        self._lease = read_lease(lease)
        self._block = Single[Hold]()

    def acquire(self, timeout: Duration | None = None, *, cost: int = 1) -> Hold:
        """Pass the limit on this thread, once there is room.

        Args:
            timeout: how long to wait for it, in seconds or a timedelta; 0 asks once, None waits
                for as long as it takes.
            cost: what is taken of a rate, from 1 to 1,000,000; of places each hold takes one.

        Raises:
            LimitTimeout: there was no room for it in all that time.
            UnknownLimit: no task that is registered here declares a limit of this name.
            ValueError: the limit has a key and none was given, or the other way round.
            StoreUnavailable: the store cannot be reached.
        """
        asking = self._asking(timeout, cost)
        link = self._home.link
        try:
            while True:
                link.check_outside()
                asked = time.monotonic()
                taken = link.run(link.store.hold_take(asking.use, asking.token, self._lease))
                if taken.is_held:
                    return Hold(link, asking.use, asking.token, self._lease, asked)
                time.sleep(asking.rest(taken))
        except StoreError:
            # What may have been taken is free when its lease ends.
            raise
        except BaseException as error:
            free = link.store.hold_free(asking.use.name, asking.token)
            give_back_now(error, lambda: link.run(free), LEFT)
            raise

    async def aacquire(self, timeout: Duration | None = None, *, cost: int = 1) -> Hold:
        """Do the same as `acquire` without blocking the event loop."""
        asking = self._asking(timeout, cost)
        link = await self._home.alink()
        store, name, token = link.store, asking.use.name, asking.token
        questions = Questions()
        try:
            while True:
                link.check_outside()
                asked = time.monotonic()
                taken = await questions.ask(lambda: store.hold_take(asking.use, token, self._lease))
                if taken.is_held:
                    return Hold(link, asking.use, asking.token, self._lease, asked)
                await asyncio.sleep(asking.rest(taken))
        except StoreError:
            raise
        except BaseException as error:
            await questions.give_back(error, lambda: store.hold_free(name, token), LEFT)
            raise

    def __enter__(self) -> Hold:
        """Pass the limit, waiting for as long as it takes.

        Raises:
            RuntimeError: another block of this object has not ended.
        """
        with self._block.asking(self._refusal):
            self._block.hold = hold = self.acquire()
        return hold

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the place up."""
        self._end().__exit__(kind, error, trace)

    async def __aenter__(self) -> Hold:
        """Pass the limit without blocking the event loop."""
        with self._block.asking(self._refusal):
            self._block.hold = hold = await self.aacquire()
        return hold

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the place up without blocking the event loop."""
        await self._end().__aexit__(kind, error, trace)

    @property
    def _refusal(self) -> str:
        return (
            f"a block of this limit {self.name!r} has not ended; for another one beside it "
            "write `with limit.acquire():`, or ask app.limit again"
        )

    def _end(self) -> Hold:
        hold = self._block.end()
        assert hold is not None, "a block that has begun has its hold"
        return hold

    def _asking(self, timeout: Duration | None, cost: int) -> Asking:
        limit = self._find(self.name)
        if not isinstance(limit, Concurrency | RateLimit):
            raise TypeError(f"{limit!r} is passed by jobs alone; hold a Concurrency or a RateLimit")
        use = limit.use_named(self.name, self._key, check_count(cost, "cost"))
        patience = None if timeout is None else to_us(timeout, "timeout") / SECOND
        return Asking(use, patience)

    def __repr__(self) -> str:
        key = "" if self._key is None else f", key={self._key!r}"
        return f"<limit {self.name!r}{key}>"


class Asking:
    """Who asks: for what, under which token, for how long, and how long he rests in between."""

    def __init__(self, use: GateUse, patience: float | None) -> None:
        self.use = use
        self.token = new_id()
        self._patience = patience
        self._until = None if patience is None else time.monotonic() + patience
        self._pauses = Pauses()
        self._ahead = 0

    def rest(self, taken: HoldTaken) -> float:
        """Give the seconds to rest before asking again.

        Raises:
            LimitTimeout: the time is up.
        """
        if taken.ahead < self._ahead:
            # The line moves on.
            self._pauses = Pauses()
        self._ahead = taken.ahead
        rest = max(self._pauses.take(), min(PAUSE_FIRST_S * taken.ahead, PAUSE_MAX_S))
        if taken.wait is not None:
            rest = min(max(taken.wait / SECOND, PAUSE_FIRST_S), _CLOCK_MAX_S)
        if self._until is None:
            return rest
        left = self._until - time.monotonic()
        if left <= 0:
            wait = None if taken.wait is None else taken.wait / SECOND
            raise LimitTimeout(self.use.name, self._patience or 0.0, wait)
        return min(rest, left)


def key_text(key: str | int | None) -> str | None:
    """Give the text of a limit's key.

    Raises:
        TypeError: it is neither text nor a whole number.
    """
    if key is not None and (isinstance(key, bool) or not isinstance(key, str | int)):
        raise TypeError(f"key is the text that the limit's key gives, not {type(key).__name__}")
    return None if key is None else str(key)
