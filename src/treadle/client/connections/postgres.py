"""The adapters of psycopg (sync and async) and of asyncpg.

What a driver raises goes to the caller as it is: whoever owns the transaction also owns what to
do about a deadlock or a serialization failure in it.
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


class AsyncpgAdapter(AsyncAdapter):
    """Runs statements on an asyncpg connection, or on one that its pool has lent."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 -- as above
        self.connection = connection

    @property
    def engine(self) -> str:
        """PostgreSQL's name."""
        return "postgresql"

    async def run(self, statement: Statement) -> Rows:
        """Run a statement; asyncpg's own parameters are written as ours are."""
        if len(statement.values) != 1:
            await self.connection.executemany(statement.text, statement.values)
            return ()
        found = await self.connection.fetch(statement.text, *statement.values[0])
        return [tuple(record) for record in found]

    async def begin(self) -> None:
        """Begin; asyncpg leaves that to the owner."""
        if not self.connection.is_in_transaction():
            await self.connection.execute("begin")

    async def commit(self) -> None:
        """Commit."""
        await self.connection.execute("commit")

    async def rollback(self) -> None:
        """Roll back; asyncpg warns where no transaction is open."""
        if self.connection.is_in_transaction():
            await self.connection.execute("rollback")
