"""Looks into a PostgreSQL server from outside while treadle works on it, or gets in its way.

Another engine has no row locks to wait for, so there `watched_locks` sees nothing. Like
`peek.py`, it asks the server and not the library.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql

from bench.harness.figures import Figures, percentile
from bench.harness.processes import BenchError

_POSTGRES: Final = "postgresql://"
_LOOK_S: Final = 0.01
_STOP_S: Final = 10.0
# One wait of one process is told from the next by when it began (PostgreSQL 14 and later).
_WAITING: Final = """
SELECT w.pid, w.waitstart, extract(epoch FROM clock_timestamp() - w.waitstart) * 1000
FROM pg_locks w JOIN pg_stat_activity a ON a.pid = w.pid
WHERE NOT w.granted AND w.waitstart IS NOT NULL AND a.wait_event_type = 'Lock'
  AND a.datname = current_database()
"""


# The history is where a finished job is found after a drain: tables of a day, or one for all.
_HISTORIES: Final = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND a.attname = 'finished_at' AND NOT a.attisdropped
  AND c.relnamespace <> 'pg_catalog'::regnamespace
"""
_COLUMNS: Final = """
SELECT attname, atttypid::regtype::text FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
# Ascending, as ids are, and lower than those of any real job, whose ids begin with the time.
_NEW_ID: Final = {
    "uuid": sql.SQL("lpad(to_hex(n), 32, '0')::uuid"),
    "bytea": sql.SQL("decode(lpad(to_hex(n), 32, '0'), 'hex')"),
}
_GROWTH: Final = 500_000
_SESSIONS: Final = """
SELECT pid, state, wait_event_type, wait_event, now() - query_start, left(query, 150)
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES: Final = """
SELECT relname, n_live_tup, n_dead_tup, last_autovacuum, last_autoanalyze
FROM pg_stat_user_tables ORDER BY n_live_tup + n_dead_tup DESC LIMIT 5
"""


class LockWaits:
    """The waits for locks that were seen, each as long as it was when it was last seen."""

    def __init__(self) -> None:
        """Begin with none."""
        self._longest_ms: dict[tuple[object, object], float] = {}
        self._looks = 0

    def look(self, connection: psycopg.Connection) -> None:
        """See who waits for a lock now."""
        self._looks += 1
        for pid, since, waited_ms in connection.execute(_WAITING):
            self._longest_ms[pid, since] = float(waited_ms)

    def figures(self) -> Figures:
        """Return percentiles over the waits seen; nothing where nobody looked.

        A wait shorter than the 10 ms between two looks is mostly not seen, so the percentile is
        that of the longer ones: it errs on the high side.
        """
        if not self._looks:
            return {}
        waits = sorted(self._longest_ms.values())
        return {
            "lock_wait_p99_ms": percentile(waits, 99),
            "lock_wait_max_ms": max(waits, default=0.0),
            "lock_waits_seen": len(waits),
            "lock_looks": self._looks,
        }


@contextmanager
def watched_locks(store: str) -> Iterator[LockWaits]:
    """Look every 10 ms, for the length of a block, who waits for a lock in this database."""
    waits = LockWaits()
    if not store.startswith(_POSTGRES):
        yield waits
        return
    done = threading.Event()
    with _connected(store) as connection:
        watcher = threading.Thread(target=_watch, args=(connection, waits, done), daemon=True)
        watcher.start()
        try:
            yield waits
        finally:
            done.set()
            watcher.join(_STOP_S)


def _watch(connection: psycopg.Connection, waits: LockWaits, done: threading.Event) -> None:
    while not done.wait(_LOOK_S):
        waits.look(connection)


def looked_at(store: str) -> str:
    """Tell what the sessions of this database do now, and how large its tables are.

    Nothing for another engine; where the server refuses, what it said.
    """
    if not store.startswith(_POSTGRES):
        return ""
    try:
        with _connected(store) as connection:
            rows = [*connection.execute(_SESSIONS), *connection.execute(_TABLES)]
    except BenchError as error:
        return str(error)
    return "\n".join(" | ".join(map(str, row)) for row in rows)


@contextmanager
def held_snapshot(store: str) -> Iterator[None]:
    """Keep a transaction open that has a snapshot, so that no dead row can be cleared away."""
    with _connected(store) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM pg_class")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def grow_history(store: str, rows: int, *, limit_s: float) -> int:
    """Copy a finished job of this store until there are `rows` more, or the time is over.

    The table is found by its column `finished_at` and by having the most rows, and is left
    vacuumed and on the disk. Returns how many rows were added.

    Raises:
        BenchError: there is no finished job to copy, or the server refused a copy.
    """
    deadline = time.monotonic() + limit_s
    added = 0
    with _connected(store) as connection:
        history = _history(connection)
        copy = _copy_statement(connection, history)
        while added < rows and time.monotonic() < deadline:
            step = min(_GROWTH, rows - added)
            connection.execute(copy, (added + 1, added + step))
            added += step
        connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(history))
        connection.execute("CHECKPOINT")
    return added


def _history(connection: psycopg.Connection) -> sql.SQL:
    """Return the name, quoted where it must be, of the table that holds most finished jobs."""
    found = []
    for (name,) in connection.execute(_HISTORIES).fetchall():
        quoted = sql.SQL(name)
        count = sql.SQL("SELECT count(*) FROM ONLY {} WHERE finished_at IS NOT NULL").format(quoted)
        row = connection.execute(count).fetchone()
        found.append((0 if row is None else int(row[0]), name, quoted))
    most, _, history = max(found, default=(0, "", sql.SQL("")))
    if most == 0:
        raise BenchError("no table of this store has a finished job with a column finished_at")
    return history


def _copy_statement(connection: psycopg.Connection, history: sql.SQL) -> sql.Composed:
    columns = connection.execute(_COLUMNS, (history.as_string(connection),)).fetchall()
    types: dict[str, str] = {str(name): str(kind) for name, kind in columns}
    if types.get("id", "") not in _NEW_ID:
        raise BenchError(
            f"the history's id is {types.get('id')}: bench/ours/watch.py copies jobs "
            f"whose id is one of {', '.join(_NEW_ID)}"
        )
    values = [_NEW_ID[types["id"]] if name == "id" else sql.Identifier(name) for name in types]
    return sql.SQL(
        "INSERT INTO {history} ({names}) SELECT {values} "
        "FROM (SELECT * FROM {history} LIMIT 1) AS one, generate_series(%s::bigint, %s) AS n"
    ).format(
        history=history,
        names=sql.SQL(", ").join(sql.Identifier(name) for name in types),
        values=sql.SQL(", ").join(values),
    )


@contextmanager
def _connected(store: str) -> Iterator[psycopg.Connection]:
    """Connect for the length of a block.

    Raises:
        BenchError: the server is away or refused a statement of the block.
    """
    try:
        with psycopg.connect(store, autocommit=True) as connection:
            yield connection
    except psycopg.Error as error:
        raise BenchError(f"PostgreSQL refused what a measure asked: {error}") from error
