"""The adapter of asyncpg; those of psycopg are the PostgreSQL store's own."""

from __future__ import annotations

from typing import Any

from treadle.store.statements import AsyncAdapter, Rows, Statement


class AsyncpgAdapter(AsyncAdapter):
    """Runs statements on an asyncpg connection, or on one that its pool has lent."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 -- as above
        self.connection = connection
        self._own: Any = None
        """The transaction that was begun here, as asyncpg knows it."""

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
        """Begin as its owner would, so that the owner's own `transaction()` nests in it."""
        if not self.connection.is_in_transaction():
            self._own = self.connection.transaction()
            await self._own.start()

    async def commit(self) -> None:
        """Commit; one that the owner has begun ends under its owner's hands."""
        own, self._own = self._own, None
        await (self.connection.execute("commit") if own is None else own.commit())

    async def rollback(self) -> None:
        """Roll back; asyncpg warns where no transaction is open."""
        own, self._own = self._own, None
        if own is not None:
            await own.rollback()
        elif self.connection.is_in_transaction():
            await self.connection.execute("rollback")
