"""PostgreSQL with its default durability: a server of the run's own, a database a repetition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from bench.engines.base import Server
from bench.harness.processes import BenchError
from treadle.testing.servers import NoServerError, Postgres

_CONNECTIONS: Final = "300"
"""Twenty worker processes of any system, each with a pool, and those who watch them."""
_DURABILITY: Final = ("fsync", "synchronous_commit", "full_page_writes", "wal_level")
_MEMORY: Final = ("shared_buffers", "max_wal_size")


class PostgresDatabases:
    """Databases of one server, each made empty from the template and dropped again."""

    def __init__(self, url: str) -> None:
        """Use the server behind `url`, whose database is the one to give orders in."""
        self._url = url
        self._numbers = itertools.count(1)
        with psycopg.connect(url, autocommit=True) as connection:
            self.facts = _facts(connection)
        """The server's version and settings, as it says itself."""

    @contextmanager
    def fresh(self, _: Path) -> Iterator[str]:
        """Make a database, hand out its URL, and drop it with whoever is still connected.

        The checkpoint writes down what others left dirty before anybody is timed.

        Raises:
            BenchError: the server is away or refused.
        """
        name = f"bench_{next(self._numbers)}"
        self._order("CREATE DATABASE {}", name)
        self._order("CHECKPOINT")
        try:
            yield f"{self._url.rpartition('/')[0]}/{name}"
        finally:
            self._order("DROP DATABASE {} WITH (FORCE)", name)

    def _order(self, statement: str, *names: str) -> None:
        composed = sql.SQL(statement).format(*(sql.Identifier(name) for name in names))
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute(composed)
        except psycopg.Error as error:
            raise BenchError(f"PostgreSQL refused {statement}: {error}") from error


def _facts(connection: psycopg.Connection) -> dict[str, str]:
    said = {name: _shown(connection, name) for name in (*_DURABILITY, *_MEMORY)}
    return {"PostgreSQL": _shown(connection, "server_version")} | said


def _shown(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return "" if row is None else str(row[0])


@contextmanager
def serve_postgres(_: Path) -> Iterator[Server]:
    """Start a server whose commits wait for the disk, as PostgreSQL's do by default.

    Its files are in the machine's temporary folder, where a user without rights can reach them.

    Raises:
        BenchError: there is no PostgreSQL, or it does not start.
    """
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Postgres(fsync="on", max_connections=_CONNECTIONS))
        except (NoServerError, RuntimeError) as error:
            raise BenchError(str(error)) from error
        yield PostgresDatabases(server.url)
