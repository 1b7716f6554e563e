"""Looks into treadle's SQLite file from outside, read-only, while others work on it.

It asks the tables, not the library, so that a measure does not depend on what it measures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from bench.peers.base import store_file

_BUSY_S = 5.0


@dataclass(frozen=True)
class Finished:
    """How many jobs have succeeded and the time from the first to the last, in seconds."""

    count: int
    seconds: float


@contextmanager
def peek(store: str) -> Iterator[sqlite3.Connection]:
    """Open the store's file for reading while the block lasts.

    Raises:
        ValueError: the store is on another engine.
    """
    file = f"file:{store_file(store)}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=_BUSY_S)) as opened:
        yield opened


def held(connection: sqlite3.Connection) -> int:
    """Return how many jobs are claimed by any worker."""
    return _number(connection, "SELECT count(*) FROM {jobs} WHERE state = 'running'")


def drained(connection: sqlite3.Connection) -> bool:
    """Say whether no job is ready or running."""
    ready = _number(
        connection, "SELECT count(*) FROM (SELECT 1 FROM {jobs} WHERE state = 'ready' LIMIT 1)"
    )
    return ready == 0 and held(connection) == 0


def finished(connection: sqlite3.Connection) -> Finished:
    """Count what has succeeded, by the store's own times."""
    sql = (
        "SELECT count(*), min(finished_at), max(finished_at) FROM {jobs} WHERE state = 'succeeded'"
    )
    count, first_us, last_us = connection.execute(_named(connection, sql)).fetchone()
    return Finished(int(count), ((last_us or 0) - (first_us or 0)) / 1e6)


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(_named(connection, sql)).fetchone()[0])


def _named(connection: sqlite3.Connection, sql: str) -> str:
    """Put the jobs table's name into a statement; the file holds one namespace."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%jobs'"
    ).fetchone()
    return sql.format(jobs=found[0])
