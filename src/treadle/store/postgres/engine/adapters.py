"""The adapters of psycopg, sync and async: connections of a caller's, and those lent to tasks.

What a driver raises goes to the caller as it is: whoever owns the transaction also owns what to
do about a deadlock or a serialization failure in it. A connection that a task was lent closes
with its transaction. This module imports no driver: the objects it is given have one.
"""

from __future__ import annotations

from typing import Any

from treadle.store.statements import Adapter, AsyncAdapter, Rows, Statement, arranged, placed


def _as_tuples(_: object) -> type[tuple[Any, ...]]:
    """Make tuples of rows, whatever the owner's row factory makes."""
    return tuple


def _is_idle(connection: Any) -> bool:  # noqa: ANN401 -- the library is the caller's
    return not connection.info.transaction_status  # PQTRANS_IDLE is 0.


def _arranged(statement: Statement) -> tuple[str, list[tuple[Any, ...]]]:
    text, order = placed(statement.text, "%s")
    return text, [arranged(values, order) for values in statement.values]


class PsycopgAdapter(Adapter):
    """Runs statements on a `psycopg.Connection`."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 -- the library is the caller's
        self.connection = connection

    @property
    def engine(self) -> str:
        """PostgreSQL's name."""
        return "postgresql"

    def run(self, statement: Statement) -> Rows:
        """Run a statement."""
        text, rows = _arranged(statement)
        with self.connection.cursor(row_factory=_as_tuples) as cursor:
            if len(rows) != 1:
                cursor.executemany(text, rows)
                return ()
            cursor.execute(text, rows[0])
            found: Rows = () if cursor.description is None else cursor.fetchall()
            return found

    def begin(self) -> None:
        """Begin in autocommit mode, too; in the other psycopg begins by itself."""
        if self.connection.autocommit and _is_idle(self.connection):
            self.connection.execute("begin")

    def commit(self) -> None:
        """Commit."""
        self.connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        self.connection.rollback()


class AsyncPsycopgAdapter(AsyncAdapter):
    """Runs statements on a `psycopg.AsyncConnection`."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 -- as above
        self.connection = connection

    @property
    def engine(self) -> str:
        """PostgreSQL's name."""
        return "postgresql"

    async def run(self, statement: Statement) -> Rows:
        """Run a statement."""
        text, rows = _arranged(statement)
        async with self.connection.cursor(row_factory=_as_tuples) as cursor:
            if len(rows) != 1:
                await cursor.executemany(text, rows)
                return ()
            await cursor.execute(text, rows[0])
            found: Rows = () if cursor.description is None else await cursor.fetchall()
            return found

    async def begin(self) -> None:
        """Begin in autocommit mode, too; in the other psycopg begins by itself."""
        if self.connection.autocommit and _is_idle(self.connection):
            await self.connection.execute("begin")

    async def commit(self) -> None:
        """Commit."""
        await self.connection.commit()

    async def rollback(self) -> None:
        """Roll back."""
        await self.connection.rollback()


class LentAdapter(PsycopgAdapter):
    """Runs statements on a connection that a task was lent, and closes it in the end."""

    def commit(self) -> None:
        """Commit, and close."""
        self.connection.commit()
        self.connection.close()

    def rollback(self) -> None:
        """Close, which rolls back."""
        self.connection.close()


class AsyncLentAdapter(AsyncPsycopgAdapter):
    """Runs statements on a connection that a task on an event loop was lent."""

    async def commit(self) -> None:
        """Commit, and close."""
        await self.connection.commit()
        await self.connection.close()

    async def rollback(self) -> None:
        """Close, which rolls back."""
        await self.connection.close()
