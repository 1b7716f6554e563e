"""A loan: a connection that a task is lent, and that closes with its transaction.

Its methods refuse to end the transaction, which is committed together with the job's settlement
or closed, and so rolled back. What ends it as SQL is found by the worker's savepoints
(`worker.outcomes.ending`). Another thread may end it at any time, also while a statement runs.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Never

from psycopg import AsyncConnection, Connection, Error
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGcancel
from psycopg.rows import TupleRow

from treadle.core.errors import StoreUnavailable
from treadle.store.postgres.engine.adapters import AsyncPsycopgAdapter, PsycopgAdapter

if TYPE_CHECKING:
    from treadle.store.postgres.engine.target import Target

# A pooler gives the server's session to somebody else after the transaction; what psycopg had
# prepared on it would still be there, under the name that the next one gives its own.
_NEVER: Final = None
_STOP_S: Final = 2.0
"""For so long a server may be asked to stop a statement before its connection is cut, seconds."""
_ROLL_BACK: Final = "roll back; raise an error for that"


class TaskConnection(Connection[TupleRow]):
    """What a task in a thread writes its own tables through."""

    def commit(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal("commit"))

    def rollback(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal(_ROLL_BACK))

    def close(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal("be closed"))


class AsyncTaskConnection(AsyncConnection[TupleRow]):
    """What a task on an event loop writes its own tables through."""

    async def commit(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal("commit"))

    async def rollback(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal(_ROLL_BACK))

    async def close(self) -> Never:
        """Refuse."""
        raise RuntimeError(_refusal("be closed"))


class Loan(PsycopgAdapter):
    """Runs statements on what a task in a thread was lent, and closes it at the end."""

    def __init__(self, connection: TaskConnection) -> None:
        super().__init__(connection)
        self._line = _Line(connection)

    def commit(self) -> None:
        """Commit, and close."""
        Connection.commit(self.connection)
        self.rollback()

    def rollback(self) -> None:
        """Close, which rolls back."""
        self._line.end(lambda: Connection.close(self.connection))

    def abort(self, why: str) -> bool:  # noqa: ARG002 -- the server says only that it has ended
        """Roll back from any thread: the server does when it finds nobody at the other end."""
        self._line.cut()
        return False


class AsyncLoan(AsyncPsycopgAdapter):
    """Does the same on an event loop."""

    def __init__(self, connection: AsyncTaskConnection) -> None:
        super().__init__(connection)
        self._line = _Line(connection)

    async def commit(self) -> None:
        """Commit, and close."""
        await AsyncConnection.commit(self.connection)
        await self.rollback()

    async def rollback(self) -> None:
        """Close, which rolls back."""
        await AsyncConnection.close(self.connection)

    def abort(self, why: str) -> bool:  # noqa: ARG002 -- as above
        """Roll back without waiting, also where the task's code goes on."""
        self._line.cut()
        return False


class _Line:
    """The wire of a connection, which any thread may cut; it is not cut while it is closed."""

    def __init__(self, connection: Connection[Any] | AsyncConnection[Any]) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._is_cut = False

    def end(self, close: Callable[[], None]) -> None:
        """Close the connection: from here on its number may be another one's."""
        with self._turn:
            close()

    def cut(self) -> None:
        """End the connection under whoever uses it, whose statement fails then.

        A server in the midst of a statement does not see that nobody is there any more, and keeps
        its locks until that has ended; so it is told to stop, on a connection of its own.
        """
        with self._turn:
            if self._connection.closed or self._is_cut:
                return
            self._is_cut = True
            pgconn = self._connection.pgconn
            stop = None
            if pgconn.transaction_status == TransactionStatus.ACTIVE:
                stop = pgconn.get_cancel()
        if stop is None:
            self._shut()
        else:
            # To be heard by a pooler, it comes before the end; nobody waits for it here.
            threading.Thread(target=self._stopped, args=(stop,), daemon=True).start()

    def _stopped(self, stop: PGcancel) -> None:
        late = threading.Timer(_STOP_S, self._shut)
        late.daemon = True
        late.start()
        try:
            with suppress(Error):  # The server cannot be asked; it finds nobody there, later.
                stop.cancel()
        finally:
            late.cancel()
            self._shut()

    def _shut(self) -> None:
        with self._turn, suppress(OSError):  # The server has gone away first.
            if not self._connection.closed:
                with socket.socket(fileno=os.dup(self._connection.pgconn.socket)) as wire:
                    wire.shutdown(socket.SHUT_RDWR)


def lend(target: Target, timeout: float) -> Loan:
    """Open a connection for a task in a thread; `timeout` in seconds bounds the opening.

    Raises:
        StoreUnavailable: the server cannot be reached.
    """
    try:
        opened = TaskConnection.connect(
            target.conninfo.decode(), connect_timeout=_whole(timeout), prepare_threshold=_NEVER
        )
    except Error as error:
        raise _unreached(target, error) from error
    return Loan(opened)


async def alend(target: Target, timeout: float) -> AsyncLoan:
    """Do the same for a task on an event loop."""
    try:
        opened = await AsyncTaskConnection.connect(
            target.conninfo.decode(), connect_timeout=_whole(timeout), prepare_threshold=_NEVER
        )
    except Error as error:
        raise _unreached(target, error) from error
    return AsyncLoan(opened)


def _whole(timeout: float) -> int:
    """Round to whole seconds, as libpq counts; less than two mean two to it."""
    return max(2, round(timeout))


def _unreached(target: Target, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{target.name}: no connection for ctx.transaction() ({type(error).__name__}); check that "
        "the server runs and takes more connections"
    )


def _refusal(what: str) -> str:
    return (
        f"the connection of ctx.transaction() cannot {what}: its writes are committed with the "
        "job when the task's function returns, and rolled back when it raises"
    )
