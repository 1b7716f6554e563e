"""The runner: carries a verb's conversation with the server through faults.

A verb is a generator that yields what it asks (`Ask`) and is sent (now, rows a statement); it
does no I/O. The runner lends it a connection, begins its transaction, tries it again where the
server says that nothing was written, and turns every error into a `StoreError`. What it waits
for it yields in turn, so that `drive_now` carries it on the caller's thread and `drive` on an
event loop; no wait is longer than the store's timeout.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import select
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from treadle.core.errors import StoreUnavailable
from treadle.core.threads.interrupted import Inside
from treadle.store.dialling import dial_beside
from treadle.store.postgres.engine.pack import Value, boolean, int8, text
from treadle.store.postgres.engine.pool import OPEN_MAX, Pool
from treadle.store.postgres.engine.trouble import (
    ConnectionLost,
    ServerError,
    broken,
    check_age,
    explained,
    unreachable,
)
from treadle.store.postgres.engine.wire import Ask, Call, Look, Looks, Rows, Wire, connect

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.store.postgres.engine.sql import Statements
    from treadle.store.postgres.engine.target import Target

T = TypeVar("T")
Answers = tuple[int, list[Rows]]
Talk = Generator[Ask, Answers, T]
"""A verb's side of the conversation."""


class Pause(Struct, frozen=True):
    """Let some time go by."""

    seconds: float


class Wait(Struct, frozen=True):
    """Wait for a socket until an instant of the monotonic clock (s)."""

    look: Look
    deadline: float


class Dial(Struct, frozen=True):
    """Open a connection until an instant; the name of the host may take its time."""

    conninfo: bytes
    deadline: float


Want = Pause | Wait | Dial
Steps = Generator[Want, "Wire | None", T]
"""The runner's side: what it waits for; `Dial` is answered with a connection."""

_TRIES_MAX = 5
_DIALS_MAX = 4
_PAUSE_FIRST_S = 0.01
_PAUSE_MAX_S = 0.5
_BUSY_PAUSE_S = 0.002
_TELL_S = 1.0
"""How long a call waits for the news of what it has committed."""
_HERE, _FOR_GOOD = boolean(True), boolean(False)  # noqa: FBT003 -- as the statement takes it
"""How to plan is said for a transaction, or for its session."""
UNPREPARED_S = 600.0
"""How long statements are sent whole once a prepared one was lost."""

_log = logging.getLogger("treadle.store")


class Runner:
    """Runs conversations over the connections of one pool."""

    def __init__(
        self, target: Target, sql: Statements, *, timeout: float, clock: Clock | None
    ) -> None:
        """Take the target, the statements, the longest wait (s), and a clock for tests."""
        self.target = target
        self.pool = Pool()
        self.timeout = timeout
        self._begin, self._begin_own = sql["begin"], sql["begin_own"]
        self._clock = clock
        self._unprepared_until = 0.0
        """Statements are prepared after that instant (monotonic): a pooler may lose them."""

    def run(
        self,
        verb: Callable[[], Talk[T]],
        now: int | None = None,
        *,
        urgent: bool = False,
        line: bool = False,
        timeout: float | None = None,
    ) -> Steps[T]:
        """Carry a verb to its end.

        `urgent` ones do not wait for a free connection; those of the `line` keep to one.

        Raises:
            StoreUnavailable: the server did not answer, or not in time; it may have carried the
                verb out.
            SchemaMismatch: a table or column is missing.
            StoreError: the server refuses what is to be written.
        """
        patience = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + patience
        for tries in range(1, _TRIES_MAX + 1):
            wire = yield from self._wire(deadline, urgent=urgent, line=line)
            prepare = time.monotonic() >= self._unprepared_until
            try:
                return (yield from self._carry(wire, verb(), now, deadline, prepare=prepare))
            except ServerError as error:
                again = error.is_transient or (error.is_about_prepared and prepare)
                if error.is_about_prepared:
                    self._stop_preparing(error)
                if not again or tries == _TRIES_MAX or time.monotonic() > deadline:
                    raise explained(error, self.target.name, self.target.url) from error
            except ConnectionLost as error:
                raise broken(error, self.target.name) from error
            except TimeoutError as error:
                raise StoreUnavailable(
                    f"{self.target.name} has not answered within {patience:g} s; it is not known "
                    "whether the call was carried out, the same one may be sent again",
                    passing=True,
                ) from error
            finally:
                self.pool.give(wire, line=line)
            yield Pause(_pause(tries))
        raise AssertionError("the last try returns or raises")

    def _stop_preparing(self, error: ServerError) -> None:
        """Send statements whole for a while, and say so: each of them costs the server more."""
        now = time.monotonic()
        if now >= self._unprepared_until:
            _log.warning(
                "%s has lost a prepared statement (%s); for %g s statements are sent whole, which "
                "is slower. A pooler in transaction mode does that: PgBouncer 1.21 or later keeps "
                "them with max_prepared_statements",
                self.target.name, error, UNPREPARED_S,
            )  # fmt: skip
        self._unprepared_until = now + UNPREPARED_S

    def _carry(
        self, wire: Wire, talk: Talk[T], now: int | None, deadline: float, *, prepare: bool
    ) -> Steps[T]:
        """Hand a verb's words to the wire and the server's answers to the verb."""
        begin = True
        at = 0
        news: list[Call] = []
        try:
            ask = next(talk)
            while True:
                if begin:
                    first = self.begin_call(wire, deadline, now)
                    ask = replace(ask, calls=(first, *ask.calls))
                rows = yield from until(wire.ask(ask, prepare=prepare), deadline)
                if wire.has_news:
                    yield from _told(wire, wire.told(), deadline)
                elif wire.is_pooled:
                    news += ask.after
                if begin:
                    at = rows.pop(0)[0][0]
                begin = ask.end
                ask = talk.send((at, rows))
        except StopIteration as done:
            if news:
                # Last of all: what is still to be asked needs the connection.
                yield from _told(wire, wire.ask(Ask(news), prepare=prepare), deadline)
            return cast("T", done.value)
        finally:
            talk.close()

    def begin_call(self, wire: Wire, deadline: float, now: int | None = None) -> Call:
        """Give what comes first in a transaction: its time, its limits, and how to plan.

        How to plan is said once where the session is ours alone (`own_call`).
        """
        limits = self._limits(now, deadline)
        if wire.is_pooled:
            return self._begin, [*limits, _HERE]
        return self._begin_own, limits

    def own_call(self, deadline: float) -> Call:
        """Give what a session of our own is told when it begins."""
        return self._begin, [*self._limits(None, deadline), _FOR_GOOD]

    def _limits(self, now: int | None, deadline: float) -> list[Value]:
        if now is None and self._clock is not None:
            now = self._clock.wall()
        # The server gives up first, so that its own word for it reaches the caller.
        left = max(1, int((deadline - time.monotonic()) * 900))
        return [int8(now), text(str(left)), text(str(max(1, left // 2)))]

    def lend(self, deadline: float) -> Steps[Wire]:
        """Lend a connection to whoever speaks to it himself; `pool.give` or `drop` must follow.

        Raises:
            StoreUnavailable: there is none until then.
        """
        return (yield from self._wire(deadline, urgent=True))

    def _wire(self, deadline: float, *, urgent: bool, line: bool = False) -> Steps[Wire]:
        """Get a connection: an idle one, or a new one."""
        while True:
            wire = self.pool.take(line=line)
            if wire is not None:
                return wire
            if self.pool.reserve(urgent=urgent):
                return (yield from self._dial(deadline))
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self.target.name}: all {OPEN_MAX} connections of this process were busy "
                    f"for {self.timeout:g} s; nothing was sent",
                    passing=True,
                )
            yield Pause(_BUSY_PAUSE_S)

    def _dial(self, deadline: float) -> Steps[Wire]:
        """Open a connection for a reserved place; a server that restarts gets a moment."""
        wire: Wire | None = None
        try:
            for tries in range(1, _DIALS_MAX + 1):
                wire = yield from self._dial_once(deadline, last=tries == _DIALS_MAX)
                if wire is not None:
                    self.pool.opened(wire)
                    return wire
                yield Pause(_pause(tries + 1))
        finally:
            if wire is None:
                self.pool.failed()
        raise AssertionError("the last try returns or raises")

    def _dial_once(self, deadline: float, *, last: bool) -> Steps[Wire | None]:
        """Try to open a connection; None where the server may be back in a moment."""
        try:
            return (yield from self._met(deadline))
        except ConnectionLost as error:
            if last or not error.may_try:
                raise unreachable(error, self.target.name) from error
        except ServerError as error:
            raise explained(error, self.target.name, self.target.url) from error
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{self.target.name} has not taken a connection within {self.timeout:g} s; "
                "check that the server runs and that the network lets it through",
                passing=True,
            ) from error
        return None

    def _met(self, deadline: float) -> Steps[Wire]:
        """Open a connection and learn who answers there; one that this fails on is closed.

        Raises:
            ConnectionLost, ServerError, TimeoutError: as for `until`.
            StoreUnavailable: the server is too old.
        """
        wire = yield Dial(self.target.conninfo, deadline)
        assert wire is not None, "what was dialled is answered with a connection"
        try:
            check_age(wire.version, self.target.name)
            yield from until(wire.meet(self.own_call(deadline)), deadline)
        except BaseException:
            wire.close()
            raise
        return wire


def _told(wire: Wire, told: Looks[object], deadline: float) -> Steps[None]:
    """Tell who listens, and do not wait for it for long.

    Others may let it wait: a pooler, who holds the database's lock for news or the table of those
    who listen. What comes of it is no matter: before it all is committed, and who listens looks.
    """
    soon = min(deadline, time.monotonic() + _TELL_S)
    try:
        with suppress(ServerError):
            yield from until(told, soon)
    except (ConnectionLost, TimeoutError):
        # What is still under way on it must not be read as the answer to something else.
        wire.close()


def _pause(tries: int) -> float:
    """Give a growing pause with jitter."""
    longest = min(_PAUSE_FIRST_S * (1 << (2 * tries)), _PAUSE_MAX_S)
    return longest * (0.5 + 0.5 * random.random())  # noqa: S311 -- spreads tries, no secret


def until(looks: Looks[T], deadline: float) -> Steps[T]:
    """Carry what a wire waits for, each wait until the deadline."""
    try:
        while True:
            yield Wait(next(looks), deadline)
    except StopIteration as done:
        return cast("T", done.value)
    finally:
        looks.close()


def drive_now(steps: Steps[T]) -> T:
    """Carry a conversation on the caller's own thread.

    Raises:
        StoreUnavailable: a signal handler has interrupted another one of this thread.
    """
    me = _inside.check()
    try:
        _inside.add(me)
        want = next(steps)
        while True:
            try:
                answer = _do_now(want)
            except (TimeoutError, ConnectionLost) as error:
                want = steps.throw(error)
            else:
                want = steps.send(answer)
    except StopIteration as done:
        return cast("T", done.value)
    finally:
        _inside.discard(me)
        steps.close()


def _do_now(want: Want) -> Wire | None:
    if isinstance(want, Wait):
        _wait_now(want.look, want.deadline)
        return None
    if isinstance(want, Pause):
        time.sleep(want.seconds)
        return None
    return dial(want)


def dial(want: Dial) -> Wire:
    """Open a connection on the caller's own thread."""
    looks = connect(want.conninfo)
    try:
        while True:
            look = next(looks)
            _wait_now(look, want.deadline)
    except StopIteration as done:
        return cast("Wire", done.value)
    finally:
        looks.close()


def _wait_now(look: Look, deadline: float) -> None:
    poll = select.poll()
    poll.register(look.socket, select.POLLIN | (select.POLLOUT if look.writing else 0))
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1_000):
        raise TimeoutError


async def drive(steps: Steps[T]) -> T:
    """Carry a conversation on an event loop: its waits let other tasks run."""
    try:
        want = next(steps)
        while True:
            try:
                answer = await _do(want)
            except (TimeoutError, ConnectionLost) as error:
                want = steps.throw(error)
            else:
                want = steps.send(answer)
    except StopIteration as done:
        return cast("T", done.value)
    finally:
        steps.close()


async def _do(want: Want) -> Wire | None:
    if isinstance(want, Wait):
        await wait_for_socket(want.look, want.deadline - time.monotonic())
        return None
    if isinstance(want, Pause):
        await asyncio.sleep(want.seconds)
        return None
    return await dial_in_thread(want)


async def wait_for_socket(look: Look, seconds: float) -> None:
    """Wait on the running loop until a socket is ready.

    Raises:
        TimeoutError: it has not been in that time.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_later(seconds, _resolve, ready, False)  # noqa: FBT003 -- a callback
    loop.add_reader(look.socket, _resolve, ready, True)  # noqa: FBT003 -- a callback
    if look.writing:
        loop.add_writer(look.socket, _resolve, ready, True)  # noqa: FBT003 -- a callback
    try:
        if not await ready:
            raise TimeoutError
    finally:
        timer.cancel()
        loop.remove_reader(look.socket)
        if look.writing:
            loop.remove_writer(look.socket)


async def dial_in_thread(want: Dial) -> Wire:
    """Open a connection beside the loop: finding a host by its name blocks a thread.

    Raises:
        ConnectionLost, TimeoutError: there is none in time.
    """
    return await dial_beside(partial(dial, want), want.deadline)


def _resolve(future: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001 -- a callback
    if not future.done():
        future.set_result(value)


_inside: Final = Inside(drive_now)
"""The threads that carry a conversation: one's transaction may hold what a second one waits for."""

os.register_at_fork(after_in_child=_inside.clear)
