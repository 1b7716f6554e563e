"""Where does a task write its own tables? The block of `ctx.transaction()`.

A task enters it at most once an attempt, on a connection that the store lends or on one of its
own. Leaving it commits nothing: what becomes of the writes is told in `ending`.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from treadle.client.connections.find import adapter_of
from treadle.client.connections.within import transactional_of
from treadle.core import fault
from treadle.core.errors import StoreError
from treadle.store.statements import BEGIN, Adapter, AsyncAdapter, Script, acarry, carry
from treadle.worker.outcomes.ending import WITNESSES, Ending, Shared

if TYPE_CHECKING:
    from treadle.worker.attempt import Attempt


_OUTSIDE: Final = "25P01"
"""PostgreSQL's code for a savepoint outside of a transaction."""


class Transactions(Shared, eq=False, kw_only=True):
    """Makes the transactions of one worker's attempts."""

    def of(self, attempt: Attempt, connection: object) -> Transaction:
        """Make the block that a task enters; nothing is begun yet.

        Raises:
            TypeError: it is no connection that is known, or of another engine.
            StoreError: this store has no transactions.
        """
        given = None if connection is None else adapter_of(connection)
        if given is not None:
            return Transaction(self, transactional_of(self.store, given), attempt, given)
        if self.store.transactional is None:
            raise StoreError(
                f"this store ({type(self.store).__name__}) has no transactions: commit the task's "
                "writes yourself and make them repeatable by ctx.idempotency_key; jobs that go "
                "with them are written by using(connection=...) into an outbox (setting outbox)"
            )
        return Transaction(self, self.store.transactional, attempt, None)


class Transaction(Ending):
    """The transaction of one attempt; a block that is entered at most once."""

    def __enter__(self) -> Any:  # noqa: ANN401 -- what the store lends, or what was given
        """Begin, on the task's thread; give the connection.

        Raises:
            RuntimeError: the attempt has entered one before, or this is an async task.
            TypeError: the given connection is awaited.
            StoreUnavailable: the store cannot be reached, or was locked for too long.
        """
        self._take_place()
        try:
            adapter = _for_a_thread(self._adapter)
            if adapter is None:
                self._begin_now()
            else:
                carry(self._joined(), adapter)
        except BaseException:
            self._leave_place()
            raise
        return self._entered()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Leave; an error that leaves the block rolls back at once."""
        self._inside = False
        if error is not None:
            self.undo_now()

    async def __aenter__(self) -> Any:  # noqa: ANN401 -- as `__enter__`
        """Begin, on the task's event loop, which goes on meanwhile; see `__enter__`."""
        self._take_place()
        try:
            if self._adapter is None:
                await self._begin()
            elif isinstance(self._adapter, AsyncAdapter):
                await acarry(self._joined(), self._adapter)
            else:
                carry(self._joined(), self._adapter)
        except BaseException:
            self._leave_place()
            raise
        return self._entered()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Leave; an error that leaves the block rolls back at once."""
        self._inside = False
        if error is not None:
            await self.undo()

    def _begin_now(self) -> None:
        """Begin on a connection of the store's."""
        self._transactional.begin_now(self._keep)
        if isinstance(self._adapter, Adapter):
            carry(self._watched(), self._adapter)

    async def _begin(self) -> None:
        """Do the same on an event loop."""
        await self._transactional.begin(self._keep)
        if isinstance(self._adapter, AsyncAdapter):
            await acarry(self._watched(), self._adapter)

    def _take_place(self) -> None:
        if self._attempt.own is not None:
            raise RuntimeError(
                "this attempt has entered ctx.transaction() before; there is one transaction an "
                "attempt, which is committed when the task's function returns"
            )
        self._attempt.own = self
        fault.point("transaction.before_begin")

    def _leave_place(self) -> None:
        """Let the task try again, unless a transaction was begun after all."""
        if self._given or self._adapter is None:
            self._attempt.own = None
        else:
            self._adapter.abort("its block could not be entered")

    def _keep(self, adapter: Adapter | AsyncAdapter) -> None:
        self._adapter = adapter

    def _joined(self) -> Script[None]:
        """Make sure that the caller's connection is the right one, and begin."""
        yield from self._transactional.recognise()
        yield BEGIN
        yield from self._watched()

    def _watched(self) -> Script[None]:
        """Set the witnesses on a connection whose transaction others can end.

        Raises:
            RuntimeError: it has none: each of its statements is a transaction.
        """
        if self._adapter is None or self._adapter.refuses_ends:
            return
        for witness in WITNESSES:
            try:
                yield witness
            except Exception as error:
                if getattr(getattr(error, "orig", error), "sqlstate", "") != _OUTSIDE:
                    raise
                raise RuntimeError(
                    "the connection given to ctx.transaction() is in autocommit mode and begins "
                    'no transaction (isolation_level="AUTOCOMMIT" in SQLAlchemy); give one that '
                    "does"
                ) from error

    def _entered(self) -> Any:  # noqa: ANN401 -- as `__enter__`
        assert self._adapter is not None, "a transaction that was begun has an adapter"
        self._inside = True
        fault.point("transaction.begun")
        if self._transactional.exclusive:
            self._until = time.monotonic_ns() + self._shared.limit_us * 1000
            self._shared.shorten(self._attempt, self._until)
        return self._adapter.connection


def _for_a_thread(adapter: Adapter | AsyncAdapter | None) -> Adapter | None:
    """Refuse what only an event loop can use, and an event loop itself."""
    if isinstance(adapter, AsyncAdapter):
        raise TypeError(
            f"a {type(adapter.connection).__name__} is awaited: enter ctx.transaction() of it in "
            "an async task, by async with"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return adapter
    raise RuntimeError("in an async task write: async with ctx.transaction() as db")
