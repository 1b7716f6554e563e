"""Looks into a PostgreSQL server from outside while treadle works on it.

Another engine has no row locks to wait for, so there `watched_locks` sees nothing. Like
`peek.py`, it asks the server and not the library.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from bench.harness.figures import Figures, percentile

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
    with psycopg.connect(store, autocommit=True) as connection:
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


@contextmanager
def held_snapshot(store: str) -> Iterator[None]:
    """Keep a transaction open that has a snapshot, so that no dead row can be cleared away."""
    with psycopg.connect(store) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM pg_class")
        try:
            yield
        finally:
            connection.rollback()
