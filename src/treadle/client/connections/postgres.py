"""The adapter of asyncpg; those of psycopg are the PostgreSQL store's own."""

from __future__ import annotations

from typing import Any

from treadle.store.statements import AsyncAdapter, Rows, Statement


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
