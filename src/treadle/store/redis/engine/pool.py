"""Wires of one store: found, greeted, lent to one call at a time, and kept while they rest.

A wire serves any thread and any event loop. There are at most WIRES_MAX; who comes when all are
lent waits for its turn. The place of the server is the URL's, the one that sentinels name, or the
node that a cluster points to; `forget` makes the next wire look for it again. After a fork the
child closes its copies of the parent's sockets, which the parent does not notice.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from treadle.core.errors import StoreUnavailable
from treadle.core.threads.interrupted import check_free
from treadle.store.dialling import dial_beside
from treadle.store.redis.engine.address import Address, Place, tls_context
from treadle.store.redis.engine.replies import is_passing, refused
from treadle.store.redis.engine.wire import LostError, Wire, pack

WIRES_MAX = 32
_IDLE_MAX = 8
_PRIMARY = b"master"

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class _Loan:
    """A place among the wires that are lent; free again when nobody has it any more.

    An error may be raised in a thread at any point, as a task's time limit is: who is struck
    between a step and the next gives nothing back, and his loan goes with his frame.
    """

    __slots__ = ("__weakref__",)


class _Turn:
    """Somebody who waits for a wire to be given back."""

    __slots__ = ("came", "loan", "wake")

    def __init__(self, wake: Callable[[], object], loan: _Loan) -> None:
        self.wake = wake
        self.loan = loan
        self.came = False


class Pool:
    """The wires to one address."""

    def __init__(self, address: Address, patience: float = 10.0) -> None:
        """Take the address, and how long a call waits at most (s).

        Nothing connects before the first `take`.

        Raises:
            SettingsError: its TLS files cannot be used.
        """
        self.address = address
        self.name = address.shown
        self._patience = patience
        self._tls = tls_context(address)
        self._begin()
        # A store that nobody closed lets go of its wires with itself.
        weakref.finalize(self, _close_all, self._idle).atexit = False
        _pools.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._idle: deque[Wire] = deque()
        self._lent: weakref.WeakSet[Wire] = weakref.WeakSet()
        self._loans: weakref.WeakSet[_Loan] = weakref.WeakSet()
        self._turns: deque[_Turn] = deque()
        self._batch = 0
        self._target: Place | None = None

    # Lending

    def take_now(self, deadline: float) -> Wire:
        """Lend a wire, connecting where none rests.

        Raises:
            LostError: there is no server, or no wire came free in time.
            StoreUnavailable: the server does not let us in; or a signal handler has interrupted
                its own thread here.
        """
        loan = _Loan()
        check_free(self._lock)
        with self._lock:
            room = self._counted_in(loan)
        if not room:
            event = threading.Event()
            turn = self._enter(event.set, loan)
            if turn is not None and not event.wait(max(0.0, deadline - time.monotonic())):
                self._give_up(turn)
        wire = self._rested() or self._counted(lambda: self.connect(deadline), loan)
        wire.loan = loan
        return wire

    async def take(self, deadline: float) -> Wire:
        """Do the same without blocking the event loop."""
        loop = asyncio.get_running_loop()
        came, loan = loop.create_future(), _Loan()
        turn = self._enter(lambda: loop.call_soon_threadsafe(_resolve, came), loan)
        if turn is not None:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await came
            except TimeoutError:
                self._give_up(turn)
            except BaseException:
                self._drop_turn(turn)
                raise
        wire = self._rested()
        if wire is None:
            try:
                wire = await self.connect_beside(deadline)
            except BaseException:
                self._leave(loan)
                raise
        wire.loan = loan
        return wire

    def give(self, wire: Wire) -> None:
        """Take a wire back; one that is closed, or of before a change of place, is let go."""
        loan, wire.loan = wire.loan, None
        if wire.fileno() >= 0:
            if wire.batch == self._batch and len(self._idle) < _IDLE_MAX:
                self._idle.append(wire)
            else:
                wire.close()
        self._leave(loan)

    def _counted_in(self, loan: _Loan) -> bool:
        """Count a wire as lent, unless all are or somebody waits for one; the lock is held."""
        room = not self._turns and len(self._loans) < WIRES_MAX
        if room:
            self._loans.add(loan)
        return room

    def _enter(self, wake: Callable[[], object], loan: _Loan) -> _Turn | None:
        """Count a wire as lent; when all are, give a turn to wait for."""
        check_free(self._lock)
        with self._lock:
            if self._counted_in(loan):
                return None
            turn = _Turn(wake, loan)
            self._turns.append(turn)
        # Those who had all of them, or stood first, may be gone without a word.
        self._leave(None)
        return turn

    def _leave(self, loan: _Loan | None) -> None:
        """End a loan; the first that wait have what is free."""
        with self._lock:
            if loan is not None:
                self._loans.discard(loan)
            came = []
            while self._turns and len(self._loans) < WIRES_MAX:
                turn = self._turns.popleft()
                self._loans.add(turn.loan)
                turn.came = True
                came.append(turn)
        for turn in came:
            turn.wake()

    def _drop_turn(self, turn: _Turn) -> None:
        with self._lock:
            if not turn.came:
                self._turns.remove(turn)
                return
        self._leave(turn.loan)

    def _give_up(self, turn: _Turn) -> None:
        self._drop_turn(turn)
        raise LostError(f"all {WIRES_MAX} connections were busy for too long", sent=False)

    def _rested(self) -> Wire | None:
        """Give a wire that rests and still has a server at its other end."""
        while self._idle:
            try:
                wire = self._idle.pop()
            except IndexError:
                return None
            if wire.batch == self._batch and not wire.is_stale():
                return wire
            wire.close()
        return None

    def _counted(self, connect: Callable[[], Wire], loan: _Loan) -> Wire:
        try:
            return connect()
        except BaseException:
            self._leave(loan)
            raise

    # Finding the server

    def forget(self) -> None:
        """Let go of the place and of the wires that rest: the next one looks for it anew."""
        self._target = None
        self._batch += 1
        _close_all(self._idle)

    def moved(self, place: Place) -> None:
        """Go to the node that a cluster has named."""
        if place != self._target:
            self.forget()
            self._target = (place[0] or self.address.places[0][0], place[1])

    def connect(self, deadline: float, place: Place | None = None) -> Wire:
        """Connect and greet, on the caller's thread; to `place` where one is given.

        Raises:
            LostError: there is no server.
            StoreUnavailable: the server does not let us in.
        """
        batch = self._batch
        wire = self._connected(deadline, place)
        wire.batch = batch if place is None else -1
        self._lent.add(wire)
        return wire

    async def connect_beside(self, deadline: float, place: Place | None = None) -> Wire:
        """Do the same on a thread of its own."""
        try:
            return await dial_beside(partial(self.connect, deadline, place), deadline)
        except TimeoutError as error:
            raise LostError(f"{self.name}: its name was not found in time", sent=False) from error

    def _connected(self, deadline: float, place: Place | None) -> Wire:
        if place is not None:
            return self._greeted(place, deadline)
        if self.address.kind == "sentinel":
            return self._primary(deadline)
        if self._target is not None:
            try:
                return self._greeted(self._target, deadline)
            except LostError:
                # The node may be gone for good; the others know where its slots went.
                self._target = None
        return self._first(deadline)

    def _first(self, deadline: float) -> Wire:
        """Connect to the first of the places that answers, beginning anywhere among several."""
        places = list(self.address.places)
        start = random.randrange(len(places))  # noqa: S311 -- spreads, guards nothing
        lost: LostError | None = None
        for place in places[start:] + places[:start]:
            try:
                return self._greeted(place, deadline)
            except LostError as error:
                lost = error
        assert lost is not None, "an address has at least one place"
        raise lost

    def _primary(self, deadline: float) -> Wire:
        """Ask the sentinels for the primary, and make sure that it is one."""
        said = []
        for place in self.address.places:
            try:
                found = self._named_by(place, deadline)
                wire = self._greeted(found, deadline)
            except LostError as error:
                said.append(str(error))
                continue
            role = wire.call_now(pack(("ROLE",)), deadline)
            if isinstance(role, list) and role and role[0] == _PRIMARY:
                return wire
            wire.close()
            said.append(f"{found[0]}:{found[1]} is no primary yet")
        raise LostError(f"no sentinel led to a primary: {'; '.join(said)}", sent=False)

    def _named_by(self, place: Place, deadline: float) -> Place:
        wire = self._wire(place, deadline)
        try:
            if self.address.sentinel_login:
                self._told(wire, ("AUTH", *self.address.sentinel_login), deadline)
            words = ("SENTINEL", "get-master-addr-by-name", self.address.primary)
            found = wire.call_now(pack(words), deadline)
        finally:
            wire.close()
        if isinstance(found, Exception):
            raise LostError(f"{place[0]}:{place[1]}: {found}", sent=False)
        if not found:
            name = self.address.primary
            raise LostError(f"{place[0]}:{place[1]} knows no primary {name!r}", sent=False)
        return found[0].decode(), int(found[1])

    def _greeted(self, place: Place, deadline: float) -> Wire:
        wire = self._wire(place, deadline)
        if self.address.login:
            self._told(wire, ("AUTH", *self.address.login), deadline)
        if self.address.db:
            self._told(wire, ("SELECT", str(self.address.db)), deadline)
        return wire

    def _wire(self, place: Place, deadline: float) -> Wire:
        try:
            return Wire(place, self._tls, deadline, self._patience)
        except ssl.SSLError as error:
            raise StoreUnavailable(
                f"{self.name}: no TLS with {place[0]}:{place[1]}: {error}; name the authority that "
                "signed its certificate with ssl_ca_certs=FILE, or correct the host or port"
            ) from error

    def _told(self, wire: Wire, words: tuple[str, ...], deadline: float) -> Any:  # noqa: ANN401
        """Send one word of greeting; close the wire when it is refused."""
        try:
            reply = wire.call_now(pack(words), deadline)
        except LostError as error:
            # Whatever is to be sent has not been sent yet.
            raise LostError(str(error), sent=False) from error
        if isinstance(reply, Exception):
            wire.close()
            if is_passing(reply):
                raise LostError(str(reply), sent=False)
            raise refused(self.name, reply) from reply
        return reply

    # Life

    def close(self) -> None:
        """Close the wires that rest, and those that are lent when they come back."""
        self.forget()

    def after_fork(self) -> None:
        """Begin anew in a child; its copies of the parent's sockets are closed without a word."""
        lent, idle = list(self._lent), self._idle
        self._begin()
        _close_all(idle)
        for wire in lent:
            wire.close()
        weakref.finalize(self, _close_all, self._idle).atexit = False


def _close_all(idle: deque[Wire]) -> None:
    while idle:
        idle.pop().close()


def _resolve(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)


def _after_fork() -> None:
    for pool in list(_pools):
        pool.after_fork()


os.register_at_fork(after_in_child=_after_fork)
