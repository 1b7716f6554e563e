"""A lock over processes and machines: `with app.lock("report"):`.

It is held in the store by a token of its own, for as long as its lease, which the background
loop prolongs. When the holder dies, the lease ends and with it the lock. A holder that was away
for longer may still believe in it; `fence` is for that: a number that rises with each hold, by
which whatever is guarded can refuse a late writer. All times are the store's.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from treadle.client.keys.lease import (
    Lease,
    Leased,
    Pauses,
    Questions,
    give_back_now,
    read_lease,
)
from treadle.client.keys.single import Single
from treadle.core.durations import SECOND, Duration, to_us
from treadle.core.errors import LockLost, LockTimeout, StoreError
from treadle.core.ids import new_id
from treadle.core.keys.key import KEY_MAX

if TYPE_CHECKING:
    from treadle.client.link import Link
    from treadle.client.snapshot import Home
    from treadle.store.parts.keyed import LockTaken


class Lock(Leased):
    """A lock by its name; each `with` block, or `async with`, is a hold of its own.

    One `Lock` holds once at a time: for a hold beside it ask `app.lock` again.
    """

    LEFT = "the lock was not given up"
    LOST = LockLost

    def __init__(self, home: Home, name: str, timeout: Duration, lease: Duration) -> None:
        self.name: Final = _checked(name)
        self._home = home
        self._timeout = to_us(timeout, "timeout") / SECOND
        self._lease = read_lease(lease)
        self._one = Single[_Hold]()

    @property
    def fence(self) -> int:
        """The number of this hold, above that of every hold before.

        Raises:
            LockLost: the lock is not held.
        """
        return self._held().fence

    @property
    def is_held(self) -> bool:
        """Whether the hold is still good, as far as this process knows."""
        hold = self._one.hold
        return hold is not None and hold.lease.is_good

    def check(self) -> None:
        """Make sure, before a step that must not be done twice, that the hold is still good.

        Raises:
            LockLost: its lease has ended, as when this process was stopped for long.
        """
        hold = self._held()
        if not hold.lease.is_good:
            raise LockLost(self.name, _ended(hold))

    def acquire(self) -> Self:
        """Take the lock on this thread, waiting at most its timeout.

        Raises:
            LockTimeout: somebody else held it all that time.
            RuntimeError: this object holds it already.
            StoreUnavailable: the store cannot be reached.
        """
        with self._one.asking(self._refusal):
            return self._acquired(self._home.link, new_id())

    def _acquired(self, link: Link, token: bytes) -> Self:
        patience = _Patience(self._timeout)
        try:
            while True:
                link.check_outside()
                asked = time.monotonic()
                taken = link.run(link.store.lock_take(self.name, token, self._lease))
                if self._took(link, token, taken, asked):
                    return self
                time.sleep(patience.pause(self.name, taken))
        except (StoreError, LockTimeout):
            # What may have been taken is free when its lease ends.
            raise
        except BaseException as error:
            # An interrupt, or the soft time limit of the task that asks: he does not come to
            # give up what he has, so he shall not have it.
            if (hold := self._one.end()) is not None:
                hold.lease.end()
            free = link.store.lock_free(self.name, token)
            give_back_now(error, lambda: link.run(free), self.LEFT)
            raise

    async def aacquire(self) -> Self:
        """Do the same as `acquire` without blocking the event loop."""
        with self._one.asking(self._refusal):
            link = await self._home.alink()
            token, patience, questions = new_id(), _Patience(self._timeout), Questions()
            while True:
                link.check_outside()
                asked = time.monotonic()
                taken = await self._settled(link, token, questions)
                if self._took(link, token, taken, asked):
                    return self
                await asyncio.sleep(patience.pause(self.name, taken))

    def release(self) -> None:
        """Give the lock up.

        Raises:
            LockLost: it was not held any more, or is held by somebody else by now.
        """
        hold = self._end()
        link = hold.link
        self._gave_up(hold, done=link.run(link.store.lock_free(self.name, hold.token)))

    async def arelease(self) -> None:
        """Do the same as `release` without blocking the event loop."""
        hold = self._end()
        store = hold.link.store
        done = await Questions().ask(lambda: store.lock_free(self.name, hold.token))
        self._gave_up(hold, done=done)

    def __enter__(self) -> Self:
        """Take the lock."""
        return self.acquire()

    async def __aenter__(self) -> Self:
        """Take the lock without blocking the event loop."""
        return await self.aacquire()

    @property
    def _refusal(self) -> str:
        return (
            f"this Lock holds {self.name!r} already, or waits for it, and would wait for "
            "itself; for another hold ask app.lock again"
        )

    def _end(self) -> _Hold:
        hold = self._there(self._one.end())
        hold.lease.end()
        return hold

    def _held(self) -> _Hold:
        return self._there(self._one.hold)

    def _there(self, hold: _Hold | None) -> _Hold:
        if hold is None:
            raise LockLost(self.name, "this Lock does not hold it; take it first")
        return hold

    async def _settled(self, link: Link, token: bytes, questions: Questions) -> LockTaken:
        """Ask for the lock; one that was given to a caller who is cancelled is given back."""
        store, name = link.store, self.name
        try:
            return await questions.ask(lambda: store.lock_take(name, token, self._lease))
        except asyncio.CancelledError as error:
            await questions.give_back(error, lambda: store.lock_free(name, token), self.LEFT)
            raise

    def _took(self, link: Link, token: bytes, taken: LockTaken, asked: float) -> bool:
        if taken.fence is None:
            return False
        lease = Lease(
            lambda: link.store.lock_renew(self.name, token, self._lease),
            f"the lock {self.name!r} (hold {taken.fence})",
            self._lease,
            asked,
        )
        self._one.hold = _Hold(link, token, taken.fence, lease)
        return True

    def _gave_up(self, hold: _Hold, *, done: bool) -> None:
        if not done:
            raise LockLost(self.name, _ended(hold))


class _Hold(NamedTuple):
    """One hold: where, by which token and number, and the lease that is prolonged."""

    link: Link
    token: bytes
    fence: int
    lease: Lease


class _Patience:
    """How long to go on asking, and how long to rest in between."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._until = time.monotonic() + timeout
        self._pauses = Pauses()

    def pause(self, name: str, taken: LockTaken) -> float:
        """Give the seconds to rest before asking again.

        Raises:
            LockTimeout: the time is up.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise LockTimeout(name, self._timeout, taken.wait / SECOND)
        return min(self._pauses.take(), left)


def _ended(hold: _Hold) -> str:
    return (
        f"the lease of hold {hold.fence} has ended, so somebody else may have had the lock since; "
        "what was done meanwhile may have been done beside him"
    )


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of a lock is a str, not {type(name).__name__}")
    if not (0 < len(name) <= KEY_MAX and name.isprintable()):
        raise ValueError(
            f"the name of a lock has 1 to {KEY_MAX} printable characters; {name[:50]!r} has "
            f"{len(name):,}"
        )
    return name
