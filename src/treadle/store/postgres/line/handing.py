"""Handing over: the offers that idle workers make, and the claims that come of them.

A worker that has asked for a job of any queue in vain makes an offer as it waits: a row by which
an enqueue may claim one job for it. The worker's next exchange reads what was handed over, by its
id; told of it by news of its own it reads that alone, and writes nothing. The exchange that claims
takes the offer back in the same transaction, so an offer that stands is one of an idle worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from treadle.core.errors import StoreError
from treadle.store.contract import Exchanged
from treadle.store.handing import Handing, takes_any
from treadle.store.postgres.engine.pack import int8, text
from treadle.store.postgres.engine.rows import read_claim
from treadle.store.postgres.engine.runner import Runner, Talk, drive
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call, Rows
from treadle.store.postgres.news.own import OwnNews, read_handed

if TYPE_CHECKING:
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement
    from treadle.store.postgres.news.ears import Ears

_PATIENCE: Final = (2, 3)
"""A worker is handed nothing once its last beat is older than this part of its lease."""
_LOOKS: Final = 3
"""How often it is looked before it counts as slow: a busy machine may be slow for once."""
_SLOW_S: Final = 1.0
"""How long no offer is made where each of them was."""


def withdraw(sql: Statements, worker: str) -> Sequence[Call]:
    """Give the calls that take an offer back, and read what was handed over; in this order."""
    return [(sql["withdraw"], (text(worker),)), *read_handed(sql, worker)]


class Offers:
    """The offers of this process's workers, by what is known of them here."""

    def __init__(self, runner: Runner, sql: Statements, ears: Ears, asked: Container[str]) -> None:
        """Take who carries conversations, the statements, and who hears of what is handed over.

        `asked` are, at any time, the workers whose last exchange has not been answered.
        """
        self._runner = runner
        self._sql = sql
        self._ears = ears
        self._asked = asked
        self.handing = Handing()
        self._patience: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        """Under which listener's key each worker's offer stands, if it does."""
        self._without: set[str] = set()
        """Those of whom it is known that none stands."""
        self._given: dict[str, bytes] = {}
        """The job that each was handed and given last."""
        self._by: dict[str, bytes] = {}
        """The exchange whose answer gave that; asked again, it is to give it again."""
        self._making: dict[str, asyncio.Task[None]] = {}
        self._slow_until = 0.0
        """No offer is made before that (monotonic, s): an enqueue would look for long."""

    def register(self, worker: str, lease: int) -> None:
        """Learn of a worker whose lease is so long (microseconds)."""
        part, whole = _PATIENCE
        self._patience[worker] = lease * part // whole
        self._without.add(worker)

    def forget(self, worker: str) -> None:
        """Let go of a worker that has left."""
        self.handing.forget(worker)
        self._without.discard(worker)
        for memory in (self._patience, self._keys, self._given, self._by):
            memory.pop(worker, None)
        for ear in self._ears.known():
            ear.own.forget(worker)

    def beaten(self, worker: str) -> None:
        """Trust nothing that was read before this beat, which may have given it up."""
        for ear in self._ears.known():
            ear.own.beaten(worker)

    async def close(self) -> None:
        """Wait for the offers that are being made; each takes the store's time at most."""
        loop = asyncio.get_running_loop()
        # In a fork's child, or where a thread's loop has ended, the others' tasks never end.
        making = [task for task in self._making.values() if task.get_loop() is loop]
        if making:
            await asyncio.wait(making)

    async def end(self, worker: str) -> None:
        """Make no more offers for a worker that leaves, and wait for one that is being made."""
        for ear in self._ears.known():
            ear.own.turn_from(worker)
        await self.settled(worker, b"")

    async def settled(self, worker: str, request: bytes) -> bool:
        """Wait for an offer that is being made; tell whether this exchange may find one."""
        if worker in self._making:
            await asyncio.wait((self._making[worker],))
        return worker not in self._without or self._by.get(worker) == request

    def news(self, worker: str) -> tuple[bool, Rows | None]:
        """Tell, once, whether a worker was told of a job of its own; give what was read of it."""
        told, rows = self._own.take(worker)
        return told and worker not in self._without, rows

    async def look(
        self, worker: str, request: bytes, rows: Rows | None, now: int | None
    ) -> Exchanged | None:
        """Give what was handed to a worker, and nothing else; None where there is nothing new.

        `rows` is what was read as the news came; without them it is read now.
        """
        if rows is None:
            rows = await drive(self._runner.run(lambda: _look(self._sql, worker), now, line=True))
        answer = self.add(worker, request, Exchanged((), ()), rows)
        if answer.claims:
            return answer
        # What it was handed is another's by now, so its offer does not stand: a new one may.
        self._keys.pop(worker, None)
        return None

    @property
    def _own(self) -> OwnNews:
        """What is told to this loop's workers alone."""
        return self._ears.here().own

    def add(self, worker: str, request: bytes, answer: Exchanged, rows: Rows) -> Exchanged:
        """Add a claim that was handed over to an exchange's answer, unless another one gave it."""
        claims = [read_claim(row) for row in rows]
        with self.handing.lock:
            claims = [
                one for one in claims
                if self.handing.is_first(worker, (one.id, one.number), request)
            ]  # fmt: skip
        for claim in claims:
            self._given[worker], self._by[worker] = claim.id, request
            self.took_back(worker)
        return replace(answer, claims=[*answer.claims, *claims]) if claims else answer

    def took_back(self, worker: str) -> None:
        """Note that a worker's offer does not stand any more."""
        self._without.add(worker)
        self._keys.pop(worker, None)

    def asked(
        self,
        worker: str,
        settlements: Sequence[Settlement],
        demand: Demand | None,
        answer: Exchanged,
        monotonic: int,
    ) -> None:
        """Learn from an exchange whether its worker is idle, and may make an offer."""
        may = self.handing.may_offer(worker, settlements, monotonic)
        vain = not (answer.claims or answer.more or answer.gone)
        own = self._own
        may = may and worker in self._patience
        if may and vain and takes_any(demand):
            own.willing = worker
        else:
            own.turn_from(worker)

    def make(self) -> asyncio.Task[None] | None:
        """Begin to write the offer of the worker that waits here; None where it needs none.

        None is made beside an exchange, which would not know of it and could claim without taking
        it back: the worker would be handed a job that it does not look for.
        """
        own = self._own
        worker, key = own.willing, own.key
        if worker in self._making:
            return self._making[worker]
        if not worker or worker in self._asked or key is None or self._keys.get(worker) == key:
            return None
        if time.monotonic() < self._slow_until:
            return None
        # Before it is sent: an exchange that comes meanwhile takes it back.
        self._keys[worker] = key
        self._without.discard(worker)
        own.offering.add(worker)
        task = asyncio.create_task(self._write(worker, key), name="treadle-offer")
        self._making[worker] = task
        task.add_done_callback(lambda _: self._making.pop(worker, None))
        return task

    async def _write(self, worker: str, key: int) -> None:
        patience, given = self._patience.get(worker), self._given.get(worker)
        values = (text(worker), int8(key), int8(patience), given)
        try:
            is_made = await self._made(values)
        except StoreError:
            # It may stand all the same, and is taken back as one that does; what is wrong with
            # the store is said by the next exchange.
            return
        if not is_made:
            # A later wait tries again.
            self._keys.pop(worker, None)

    async def _made(self, values: Sequence[bytes | None]) -> bool:
        for _ in range(_LOOKS):
            was_quick, is_made = await drive(self._runner.run(lambda: _offer(self._sql, values)))
            if was_quick:
                return is_made
        self._slow_until = time.monotonic() + _SLOW_S
        return False


def _look(sql: Statements, worker: str) -> Talk[Rows]:
    _, [rows] = yield Ask(read_handed(sql, worker))
    return rows


def _offer(sql: Statements, values: Sequence[bytes | None]) -> Talk[tuple[bool, bool]]:
    """Say what makes an offer; give whether the look took short, and whether it was made."""
    _, (_, [(was_quick, is_made)]) = yield Ask([(sql["unhurried"], ()), (sql["offer"], values)])
    return was_quick, is_made
