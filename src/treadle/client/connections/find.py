"""Which adapter runs statements on this object?

Known by the class's name and its library's, own subclasses included; nothing is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from treadle.client.connections.alchemy import (
    AlchemyAdapter,
    AsyncAlchemyAdapter,
    AsyncSessionAdapter,
    SessionAdapter,
)
from treadle.client.connections.postgres import AsyncpgAdapter
from treadle.client.connections.sqlite import SqliteAdapter
from treadle.store.postgres.engine.adapters import AsyncPsycopgAdapter, PsycopgAdapter
from treadle.store.statements import Adapter, AsyncAdapter

_ADAPTERS: Final[dict[tuple[str, str], Callable[[Any], Adapter | AsyncAdapter]]] = {
    ("sqlite3", "Connection"): SqliteAdapter,
    ("sqlalchemy", "Connection"): AlchemyAdapter,
    ("sqlalchemy", "Session"): SessionAdapter,
    ("sqlalchemy", "scoped_session"): SessionAdapter,
    ("sqlalchemy", "AsyncConnection"): AsyncAlchemyAdapter,
    ("sqlalchemy", "AsyncSession"): AsyncSessionAdapter,
    ("sqlalchemy", "async_scoped_session"): AsyncSessionAdapter,
    ("psycopg", "Connection"): PsycopgAdapter,
    ("psycopg", "AsyncConnection"): AsyncPsycopgAdapter,
    ("asyncpg", "Connection"): AsyncpgAdapter,
    ("asyncpg", "PoolConnectionProxy"): AsyncpgAdapter,
}


def adapter_of(connection: object) -> Adapter | AsyncAdapter:
    """Make the adapter of a connection or session.

    Raises:
        TypeError: it is none that is known.
    """
    for kind in type(connection).__mro__:
        make = _ADAPTERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if make is not None:
            return make(connection)
    kind = type(connection)
    advice = "; give one of its connections" if "ngine" in kind.__name__ else ""
    raise TypeError(
        "connection takes a sqlite3.Connection, a Session or Connection of SQLAlchemy, a "
        "Connection of psycopg or asyncpg, or one of their async twins, not "
        f"{kind.__module__}.{kind.__qualname__}{advice}"
    )
