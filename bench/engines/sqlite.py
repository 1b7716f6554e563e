"""SQLite: no server; a store is a file, and each system sets its own durability."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.engines.base import Server


class SqliteFiles:
    """Files in the directory of each repetition."""

    @property
    def facts(self) -> dict[str, str]:
        """The library's version; its durability is in each system's settings."""
        return {"SQLite": sqlite3.sqlite_version, "durability": "each system's own"}

    @contextmanager
    def fresh(self, directory: Path) -> Iterator[str]:
        """Hand out the URL of a file that does not exist yet; the directory's owner removes it."""
        yield f"sqlite:///{directory}/store.db"


@contextmanager
def serve_sqlite(_: Path) -> Iterator[Server]:
    """Start nothing."""
    yield SqliteFiles()
