"""Rows: reading them, and setting aside the one that cannot be read.

The tables are STRICT, so a value of a wrong type cannot be there. What a hand or a failing disk
can still leave is text that is no text or a number at its end: SQLite or its driver then
refuses the whole statement. Such a row is found by trying rows one by one and becomes a dead
letter with the reason `unreadable`, so that it never stops its neighbours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from treadle.core.durations import DAY
from treadle.core.job import Claim, ErrorInfo, write_error
from treadle.store.sqlite.keys.freeing import ENDED, free

Statements = dict[str, str]
Row = tuple[Any, ...]

UNREADABLE = (sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.DataError, OverflowError)
KEEP_UNRUN = 30 * DAY
"""How long a job is kept that ended without an attempt of its own (microseconds)."""


def is_about_a_row(error: BaseException) -> bool:
    """Tell an error of one row's values from one of the file, the disk or the statement."""
    if isinstance(error, sqlite3.OperationalError):
        return "Could not decode to UTF-8" in str(error)
    return isinstance(error, UNREADABLE)


def attempt_row(
    db: sqlite3.Connection,
    sql: Statements,
    id_: bytes,
    run: Callable[[], sqlite3.Cursor],
    now: int,
) -> list[Row]:
    """Run a statement on one row; when its values make that fail, set the row aside."""
    db.execute("savepoint one_row")
    try:
        rows = run().fetchall()
    except UNREADABLE as error:
        if not is_about_a_row(error):
            raise
        db.execute("rollback to one_row")
        set_aside(db, sql, id_, error, now)
        rows = []
    db.execute("release one_row")
    return rows


def set_aside(
    db: sqlite3.Connection, sql: Statements, id_: bytes, error: BaseException, now: int
) -> None:
    """Make a row that cannot be read a dead letter."""
    info = write_error(ErrorInfo("UnreadableRow", str(error)[:500]))
    db.execute(sql["set_aside"], (info, now, now + KEEP_UNRUN, id_))
    free(db, sql, [id_], ENDED, now)


def read_claim(row: Row, started_at: int) -> Claim:
    """Read a claim from a row of the claiming statements."""
    (
        minus_priority, _, id_, number, task, queue, attempt, args, attempts_max, forgiven,
        crashes, policy, created_at, run_at, expires_at, parked_at, tags, meta, tenant, key, gates,
    ) = row  # fmt: skip
    return Claim(
        id_, number, task, queue, -minus_priority, attempt, args, attempts_max, forgiven, crashes,
        policy, created_at, run_at, expires_at, parked_at, started_at, tags, meta, tenant, key,
        gates,
    )  # fmt: skip
