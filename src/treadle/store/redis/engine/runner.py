"""The runner: carries a script to the server and its answer back, on a thread or an event loop.

What is sent, and what a refusal leads to, is one conversation that does no I/O: it yields `Ask`
and `Pause` and is sent replies. A call that may be sent again is, a few times with growing rests,
when the connection broke; any other only when the server cannot have been reached. All of it ends
within the store's timeout.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Generator, Sequence
from typing import Any, TypeVar, cast

from msgspec import Struct

from treadle.core.errors import StoreError, StoreUnavailable
from treadle.store.lacking import no_descriptor
from treadle.store.redis.engine.address import Place
from treadle.store.redis.engine.pool import Pool
from treadle.store.redis.engine.replies import is_passing, refused, word_of
from treadle.store.redis.engine.wire import LostError, Word, pack
from treadle.store.redis.scripts import Script

T = TypeVar("T")

REQUEST_MAX = 400_000_000
"""Bytes of one call; the server's own limit for what a client sends is 1 GiB."""
_TRIES = 8
_PAUSE_S, _PAUSE_MAX_S = 0.02, 0.2
_ASKING = pack(("ASKING",))


class Ask(Struct, frozen=True):
    """Send this and give the reply to the last command; to `place` where a cluster named one."""

    packed: bytes
    place: Place | None = None
    replies: int = 1


class Pause(Struct, frozen=True):
    """Wait so many seconds."""

    seconds: float


Steps = Generator[Ask | Pause, Any, T]


class Runner:
    """Carries the calls of one store."""

    def __init__(self, pool: Pool, base: str, timeout: float) -> None:
        """Take the pool, the namespace's first key, and how many seconds a call may take."""
        self.pool = pool
        self.timeout = timeout
        self._base = base.encode()

    # Conversations

    def script(self, script: Script, args: Sequence[Word], *, again: bool) -> Steps[Any]:
        """Run a script; `again` tells whether it may be sent twice.

        Raises:
            StoreUnavailable: nothing was written, or it is not known.
            StoreError: the server refuses it.
        """
        packed = self._packed(b"EVALSHA", script.sha, args)
        reply: Any = None
        ask = Ask(packed)
        for turn in range(_TRIES):
            try:
                reply = yield ask
            except LostError as lost:
                if turn == _TRIES - 1 or (lost.sent and not again):
                    raise self._lost(lost, again=again) from lost
                yield self._pause(turn)
                ask = Ask(packed)
                continue
            if not isinstance(reply, Exception):
                return reply
            if word_of(reply) == "NOSCRIPT":
                # From here on with its text: the server, or the next one, does not know it.
                packed = self._packed(b"EVAL", script.text, args)
                ask = Ask(packed)
            else:
                ask = self._redirected(packed, reply)
                if is_passing(reply):
                    yield self._pause(turn)
        raise refused(self.pool.name, reply) from reply

    def _packed(self, how: bytes, script: bytes, args: Sequence[Word]) -> bytes:
        packed = pack((how, script, b"1", self._base, *args))
        if len(packed) > REQUEST_MAX:
            raise StoreError(
                f"{self.pool.name}: one call would take {len(packed):,} bytes, more than "
                f"{REQUEST_MAX:,}; send fewer jobs at once, or pass ids in place of data"
            )
        return packed

    def command(self, *words: Word) -> Steps[Any]:
        """Send one command that may be sent twice; refusals are raised.

        Raises:
            StoreUnavailable, StoreError: as in `script`.
        """
        for turn in range(_TRIES):
            try:
                reply = yield Ask(pack(words))
            except LostError as lost:
                if turn == _TRIES - 1:
                    raise self._lost(lost, again=True) from lost
            else:
                if not isinstance(reply, Exception):
                    return reply
                self._redirected(b"", reply)
            yield self._pause(turn)
        raise StoreUnavailable(
            f"{self.pool.name} has not answered {words[0]!r} in {_TRIES} tries", passing=True
        )

    def _redirected(self, packed: bytes, reply: Exception) -> Ask:
        """Say where to ask next after a refusal that a cluster or a failover explains.

        Raises:
            StoreError: nothing else would help.
        """
        word = word_of(reply)
        if word == "MOVED":
            self.pool.moved(_place(reply))
        elif word == "ASK":
            return Ask(_ASKING + packed, _place(reply), 2)
        elif word == "READONLY":
            self.pool.forget()
        elif not is_passing(reply):
            raise refused(self.pool.name, reply) from reply
        return Ask(packed)

    def _pause(self, turn: int) -> Pause:
        longest = min(_PAUSE_S * (1 << turn), _PAUSE_MAX_S)
        return Pause(longest * (0.5 + 0.5 * random.random()))  # noqa: S311 -- spreads

    def _lost(self, lost: LostError, *, again: bool) -> StoreUnavailable:
        lack = None if lost.sent else no_descriptor()
        if lack is not None:
            return StoreUnavailable(f"{self.pool.name} cannot be reached: {lack}", passing=True)
        known = (
            "" if again or not lost.sent else "; it is not known whether the call was carried out"
        )
        return StoreUnavailable(
            f"{self.pool.name} cannot be reached ({lost}){known}; check that it runs, its address "
            "and the network, then send the same call again",
            passing=True,
        )

    # Carrying them

    def script_now(self, script: Script, args: Sequence[Word]) -> Any:  # noqa: ANN401
        """Run a script that may be sent twice, on the caller's own thread.

        It is sent straight away, as a conversation of one step is dearer than what it says; one is
        begun when something is in the way, and meets that again.

        Raises:
            StoreUnavailable, StoreError: as in `script`.
        """
        deadline = time.monotonic() + self.timeout
        packed = self._packed(b"EVALSHA", script.sha, args)
        try:
            wire = self.pool.take_now(deadline)
            try:
                reply = wire.call_now(packed, deadline)
            finally:
                self.pool.give(wire)
        except LostError as lost:
            reply = lost
        if isinstance(reply, Exception):
            return self._carried(self.script(script, args, again=True), deadline)
        return reply

    def run_now(self, steps: Steps[T]) -> T:
        """Carry a conversation on the caller's own thread."""
        return self._carried(steps, time.monotonic() + self.timeout)

    def _carried(self, steps: Steps[T], deadline: float) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._do_now(step, deadline)
                except LostError as lost:
                    step = steps.throw(self._late(lost, deadline))
                    continue
                step = steps.send(answer)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            steps.close()

    async def run(self, steps: Steps[T]) -> T:
        """Carry a conversation on the running event loop."""
        deadline = time.monotonic() + self.timeout
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._do(step, deadline)
                except LostError as lost:
                    step = steps.throw(self._late(lost, deadline))
                    continue
                step = steps.send(answer)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            steps.close()

    def _late(self, lost: LostError, deadline: float) -> LostError | StoreUnavailable:
        """Give up when the time is over, whatever tries are left."""
        return lost if time.monotonic() < deadline else self._lost(lost, again=False)

    def _do_now(self, step: Ask | Pause, deadline: float) -> Any:  # noqa: ANN401
        if isinstance(step, Pause):
            time.sleep(max(0.0, min(step.seconds, deadline - time.monotonic())))
            return None
        if step.place is not None:
            wire = self.pool.connect(deadline, step.place)
            try:
                return wire.call_now(step.packed, deadline, step.replies)
            finally:
                wire.close()
        wire = self.pool.take_now(deadline)
        try:
            return wire.call_now(step.packed, deadline)
        finally:
            self.pool.give(wire)

    async def _do(self, step: Ask | Pause, deadline: float) -> Any:  # noqa: ANN401
        if isinstance(step, Pause):
            await asyncio.sleep(max(0.0, min(step.seconds, deadline - time.monotonic())))
            return None
        if step.place is not None:
            wire = await self.pool.connect_beside(deadline, step.place)
            try:
                return await wire.call(step.packed, deadline, step.replies)
            finally:
                wire.close()
        wire = await self.pool.take(deadline)
        try:
            return await wire.call(step.packed, deadline)
        finally:
            self.pool.give(wire)


def _place(reply: Exception) -> Place:
    """Read the node that a cluster points to: `MOVED 3999 127.0.0.1:6381`."""
    host, _, port = str(reply).rsplit(" ", 1)[-1].rpartition(":")
    return host.strip("[]"), int(port)
