"""Control: what people and programs do to jobs and queues, each conditional on state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from treadle.store.contract import ATTEMPTS_KEPT
from treadle.store.sqlite.gates.book import Book, uses_of
from treadle.store.sqlite.gates.line import park_ready
from treadle.store.sqlite.keys.freeing import ENDED, free, take_again
from treadle.store.sqlite.rows import KEEP_UNRUN

Statements = dict[str, str]


def cancel(
    db: sqlite3.Connection, sql: Statements, ids: Sequence[bytes], now: int
) -> Sequence[bool]:
    """Cancel what has not ended."""
    done = []
    book = Book(db, sql, now)
    for id_ in ids:
        held = db.execute(sql["gates_of_running"], (id_,)).fetchone()
        db.execute(sql["end_attempt"], (now, id_))
        written = db.execute(sql["cancel"], {"id": id_, "now": now, "keep": KEEP_UNRUN}).rowcount
        done.append(written > 0)
        if held is not None:
            book.free(id_, uses_of(held[0]))
        if written:
            free(db, sql, [id_], ENDED, now)
    book.write()
    return done


def retry(
    db: sqlite3.Connection, sql: Statements, ids: Sequence[bytes], now: int
) -> Sequence[bool]:
    """Make ended or waiting jobs ready, with all their attempts before them."""
    done = []
    book = Book(db, sql, now)
    for id_ in ids:
        if not take_again(db, sql, id_, now):
            done.append(False)
            continue
        if db.execute(sql["keep_last_attempt"], (id_,)).rowcount:
            db.execute(sql["trim_attempts"], (id_, id_, ATTEMPTS_KEPT))
        done.append(db.execute(sql["retry"], {"id": id_, "now": now}).rowcount > 0)
        park_ready(book, id_)
    book.write()
    return done


def discard(
    db: sqlite3.Connection, sql: Statements, ids: Sequence[bytes], now: int
) -> Sequence[bool]:
    """Delete ended jobs with their attempts and logs."""
    done = []
    for id_ in ids:
        gone = db.execute(sql["discard"], (id_,)).rowcount > 0
        done.append(gone)
        if gone:
            db.execute(sql["delete_attempts"], (id_,))
            db.execute(sql["delete_logs"], (id_,))
            free(db, sql, [id_], ENDED, now)
    return done


def purge(db: sqlite3.Connection, sql: Statements, queue: str, limit: int, now: int) -> int:
    """Cancel at most `limit` waiting jobs of a queue."""
    values = {"queue": queue, "now": now, "keep": KEEP_UNRUN, "limit": limit}
    gone: list[tuple[bytes, str | None]] = []
    for name in ("purge_ready", "purge_due", "purge_parked"):
        if len(gone) < limit:
            gone += db.execute(sql[name], values | {"limit": limit - len(gone)}).fetchall()
    free(db, sql, (id_ for id_, key in gone if key is not None), ENDED, now)
    return len(gone)


def pause(db: sqlite3.Connection, sql: Statements, queue: str, now: int) -> bool:
    """Stop claims from a queue."""
    return db.execute(sql["pause"], {"queue": queue, "now": now}).rowcount > 0


def resume(db: sqlite3.Connection, sql: Statements, queue: str) -> bool:
    """Allow claims from a queue."""
    return db.execute(sql["resume"], {"queue": queue}).rowcount > 0
