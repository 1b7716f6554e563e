"""Upkeep: stage makes due jobs ready, prune deletes what is over. Bounded, safe anywhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec import json

from treadle.store.sqlite.gates import control
from treadle.store.sqlite.gates import line as gates
from treadle.store.sqlite.gates.book import Book

Statements = dict[str, str]
_KEEP_EXPIRED = 30 * 86_400_000_000
_encode = json.Encoder().encode


def stage(
    db: sqlite3.Connection, sql: Statements, tasks: Sequence[str], limit: int, now: int
) -> int:
    """Move at most `limit` jobs in all; return how many were moved."""
    values = {"now": now, "keep": _KEEP_EXPIRED, "tasks": _encode(list(tasks)).decode()}
    moved = 0
    for name in ("stage_expired", "stage_due", "stage_parked"):
        if moved < limit:
            moved += db.execute(sql[name], values | {"limit": limit - moved}).rowcount
    if moved < limit:
        book = Book(db, sql, now)
        moved += gates.stage(book, limit - moved)
        book.write()
    return moved


def prune(db: sqlite3.Connection, sql: Statements, limit: int, now: int) -> int:
    """Delete at most `limit` records whose time is over."""
    over = db.execute(sql["over"], (now, limit)).fetchall()
    for name in ("delete_job", "delete_attempts", "delete_logs"):
        db.executemany(sql[name], over)
    control.mend(Book(db, sql, now))
    return len(over) + control.prune(db, sql, limit, now)


def anything_over(db: sqlite3.Connection, sql: Statements, now: int) -> bool:
    """Tell, without writing, whether prune could find work."""
    return bool(
        db.execute(sql["any_over"], (now,)).fetchone()
        or control.drifted(db, sql)
        or control.unused(db, sql, 1, now)
    )


def anything_due(db: sqlite3.Connection, sql: Statements, now: int) -> bool:
    """Tell, without writing, whether stage could find work."""
    due = db.execute(sql["next_due"]).fetchone()[0]
    return (due is not None and due <= now) or bool(
        db.execute(sql["any_expiring"], (now,)).fetchone()
        or db.execute(sql["any_parked"]).fetchone()
    )
