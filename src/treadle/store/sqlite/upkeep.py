"""Upkeep: stage makes due jobs ready, prune deletes what is over. Bounded, safe anywhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec import json

from treadle.store.sqlite.gates import control
from treadle.store.sqlite.gates import line as gates
from treadle.store.sqlite.gates.book import Book
from treadle.store.sqlite.keys.freeing import ENDED, free
from treadle.store.sqlite.rows import KEEP_UNRUN

Statements = dict[str, str]
_encode = json.Encoder().encode


def stage(
    db: sqlite3.Connection, sql: Statements, tasks: Sequence[str], limit: int, now: int
) -> int:
    """Move at most `limit` jobs in all; return how many were moved."""
    values = {"now": now, "keep": KEEP_UNRUN, "tasks": _encode(list(tasks)).decode()}
    late = db.execute(sql["stage_expired"], values | {"limit": limit}).fetchall()
    free(db, sql, (id_ for id_, key in late if key is not None), ENDED, now)
    moved = len(late)
    for name in ("stage_due", "stage_parked"):
        if moved < limit:
            moved += db.execute(sql[name], values | {"limit": limit - moved}).rowcount
    if moved < limit:
        book = Book(db, sql, now)
        moved += gates.stage(book, limit - moved)
        book.write()
    return moved


def prune(db: sqlite3.Connection, sql: Statements, limit: int, now: int) -> int:
    """Delete at most `limit` records whose time is over, and as many of requests and locks."""
    over = db.execute(sql["over"], (now, limit)).fetchall()
    ids = [(id_,) for id_, _ in over]
    for name in ("delete_job", "delete_attempts", "delete_logs"):
        db.executemany(sql[name], ids)
    free(db, sql, (id_ for id_, key in over if key is not None), ENDED, now)
    for name in ("requests_over", "locks_over"):
        db.execute(sql[name], (now, limit))
    control.mend(Book(db, sql, now))
    return len(over) + control.prune(db, sql, limit, now)


def anything_due(db: sqlite3.Connection, sql: Statements, now: int) -> bool:
    """Tell, without writing, whether stage could find work."""
    due = db.execute(sql["next_due"]).fetchone()[0]
    return (due is not None and due <= now) or bool(
        db.execute(sql["any_expiring"], (now,)).fetchone()
        or db.execute(sql["any_parked"]).fetchone()
    )


def anything_over(db: sqlite3.Connection, sql: Statements, now: int) -> bool:
    """Tell, without writing, whether prune could find work; keys are always looked through."""
    return bool(
        db.execute(sql["any_over"], (now,)).fetchone()
        or db.execute(sql["any_kept"], (now, now)).fetchone()
        or db.execute(sql["any_hold_over"], (now,)).fetchone()
        or control.drifted(db, sql)
        or db.execute(sql["probes_lost"]).fetchone()
        or control.unused(db, sql, 1, now)
    )
