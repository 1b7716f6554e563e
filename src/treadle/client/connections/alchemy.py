"""The adapters of SQLAlchemy: Session, Connection and their async twins.

Statements go through the connection of the given object, so its transaction begins, ends and is
rolled back as SQLAlchemy knows it. They are handed to the driver as they are, in the style of
parameters that the dialect names.
"""

from __future__ import annotations

from typing import Any, Final

from treadle.store.statements import Adapter, AsyncAdapter, Rows, Statement, arranged, placed

_MARKS: Final = {"qmark": "?", "format": "%s", "pyformat": "%s"}


def _parts(statement: Statement, dialect: Any) -> tuple[str, Any]:  # noqa: ANN401 -- SQLAlchemy's
    """Write a statement as this dialect's driver takes it."""
    mark = _MARKS.get(dialect.paramstyle)
    if mark is None:
        # asyncpg's style is ours (numeric_dollar).
        text, rows = statement.text, [tuple(values) for values in statement.values]
    else:
        text, order = placed(statement.text, mark)
        rows = [arranged(values, order) for values in statement.values]
    return text, rows[0] if len(rows) == 1 else rows


def _rows(result: Any) -> Rows:  # noqa: ANN401 -- SQLAlchemy's
    return [tuple(row) for row in result.fetchall()] if result.returns_rows else ()


class AlchemyAdapter(Adapter):
    """Runs statements on a `sqlalchemy.Connection`."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 -- the library is the caller's
        self.connection = connection

    def _raw(self) -> Any:  # noqa: ANN401 -- as above
        return self.connection

    @property
    def engine(self) -> str:
        """The dialect's name."""
        return str(self.connection.dialect.name)

    def run(self, statement: Statement) -> Rows:
        """Run a statement."""
        raw = self._raw()
        return _rows(raw.exec_driver_sql(*_parts(statement, raw.dialect)))

    def begin(self) -> None:
        """Begin; SQLAlchemy does when its connection is first used."""
        self._raw()

    def commit(self) -> None:
        """Commit."""
        self.connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        self.connection.rollback()


class SessionAdapter(AlchemyAdapter):
    """Runs statements on a `sqlalchemy.orm.Session`."""

    def _raw(self) -> Any:  # noqa: ANN401 -- as above
        return self.connection.connection()

    @property
    def engine(self) -> str:
        """The name of the dialect of the session's own database."""
        return str(self.connection.get_bind().dialect.name)


class AsyncAlchemyAdapter(AsyncAdapter):
    """Runs statements on a `sqlalchemy.ext.asyncio.AsyncConnection`."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 -- as above
        self.connection = connection

    async def _raw(self) -> Any:  # noqa: ANN401 -- as above
        return self.connection

    @property
    def engine(self) -> str:
        """The dialect's name."""
        return str(self.connection.dialect.name)

    async def run(self, statement: Statement) -> Rows:
        """Run a statement."""
        raw = await self._raw()
        return _rows(await raw.exec_driver_sql(*_parts(statement, raw.dialect)))

    async def begin(self) -> None:
        """Begin; SQLAlchemy does when its connection is first used."""
        await self._raw()

    async def commit(self) -> None:
        """Commit."""
        await self.connection.commit()

    async def rollback(self) -> None:
        """Roll back."""
        await self.connection.rollback()


class AsyncSessionAdapter(AsyncAlchemyAdapter):
    """Runs statements on a `sqlalchemy.ext.asyncio.AsyncSession`."""

    async def _raw(self) -> Any:  # noqa: ANN401 -- as above
        return await self.connection.connection()

    @property
    def engine(self) -> str:
        """The name of the dialect of the session's own database."""
        return str(self.connection.get_bind().dialect.name)
