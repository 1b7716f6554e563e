"""The adapters of psycopg, sync and async, for connections of a caller's.

What a driver raises goes to the caller as it is: whoever owns the transaction also owns what to
do about a deadlock or a serialization failure in it. In a pipeline of the caller's each statement
waits for its answer, which the next one may depend on. This module imports no driver: the objects
it is given have one.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Final

from treadle.store.statements import Adapter, AsyncAdapter, Rows, Statement, arranged, placed

_RAW: Final = ("RawCursor", "AsyncRawCursor")


def _as_tuples(_: object) -> type[tuple[Any, ...]]:
    """Make tuples of rows, whatever the owner's row factory makes."""
    return tuple


def _is_idle(connection: Any) -> bool:  # noqa: ANN401 -- the library is the caller's
    return not connection.info.transaction_status  # PQTRANS_IDLE is 0.


def _is_piped(connection: Any) -> bool:  # noqa: ANN401 -- as above
    return bool(connection.info.pipeline_status)  # PQ_PIPELINE_OFF is 0.


def _arranged(statement: Statement, cursor: object) -> tuple[str, list[tuple[Any, ...]]]:
    """Write a statement as the owner's kind of cursor takes it; raw ones take ours as it is."""
    if any(kind.__name__ in _RAW for kind in type(cursor).__mro__):
        return statement.text, [tuple(values) for values in statement.values]
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
        connection = self.connection
        with connection.cursor(row_factory=_as_tuples) as cursor:
            text, rows = _arranged(statement, cursor)
            with connection.pipeline() if _is_piped(connection) else nullcontext():
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
        connection = self.connection
        async with connection.cursor(row_factory=_as_tuples) as cursor:
            text, rows = _arranged(statement, cursor)
            async with connection.pipeline() if _is_piped(connection) else nullcontext():
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
