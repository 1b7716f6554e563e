"""Workers: registering, beating, leaving, and the notes that running jobs send."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec import json

from treadle.core.durations import SECOND
from treadle.store.contract import LOGS_MAX, Beaten, Note, WorkerInfo, WorkerRecord
from treadle.store.sqlite.engine.live import Lives
from treadle.store.sqlite.gates.book import Book, uses_of
from treadle.store.sqlite.gates.line import let_go

Statements = dict[str, str]
Held = set[tuple[bytes, int]]

_decode_info = json.Decoder(WorkerInfo).decode
_encode_info = json.Encoder().encode
_LEASE_UNKNOWN = 15 * SECOND


def read_info(id_: str, raw: bytes) -> WorkerInfo:
    """Read a worker's record; a damaged one stands for a worker of the usual lease."""
    try:
        return _decode_info(raw)
    except ValueError:
        return unknown_worker(id_)


def unknown_worker(id_: str) -> WorkerInfo:
    """Stand in for a worker that holds jobs but has no readable record."""
    return WorkerInfo(id_, "unknown", 0, None, 0, _LEASE_UNKNOWN)


def register(db: sqlite3.Connection, sql: Statements, worker: WorkerInfo, now: int) -> None:
    """Write the worker's row."""
    db.execute(sql["register"], (worker.id, _encode_info(worker), now))


def is_known(db: sqlite3.Connection, sql: Statements, worker: str) -> bool:
    """Tell whether the worker is registered and was not rescued."""
    return db.execute(sql["known"], (worker,)).fetchone() is not None


def stored_claims(db: sqlite3.Connection, sql: Statements, worker: str) -> Held:
    """Read what the store counts as this worker's."""
    return set(db.execute(sql["held"], (worker,)))


def compare(held: Held, stored: Held) -> Beaten:
    """Tell which held claims are no longer the worker's."""
    return Beaten(revoked=sorted(held - stored))


def give_back(
    db: sqlite3.Connection,
    sql: Statements,
    worker: str,
    claims: Sequence[tuple[bytes, int]],
    now: int,
) -> int:
    """Make these claims of the worker ready again, their attempt unspent."""
    named = set(claims)
    held = [row for row in db.execute(sql["gates_held"], (worker,)) if row[:2] in named]
    returned = db.executemany(
        sql["give_back"], [(id_, number, worker) for id_, number in claims]
    ).rowcount
    _let_go(Book(db, sql, now), held)
    return returned


def _let_go(book: Book, held: Sequence[tuple[bytes, int, bytes]]) -> None:
    """Free the places of claims that went back."""
    for id_, _, gates in held:
        let_go(book, id_, uses_of(gates))
    book.write()


def leave(db: sqlite3.Connection, sql: Statements, worker: str, marked: Held, now: int) -> int:
    """Give back whatever the worker holds and forget it.

    A claim whose code had begun and whose settlement never arrived stays for a rescuer to decide
    about: given back as unspent, a job that may run only once would run again.
    """
    db.executemany(sql["had_started"], [(id_, number, worker) for id_, number in marked])
    held = db.execute(sql["gates_held"], (worker,)).fetchall()
    returned = db.execute(sql["give_all_back"], (worker,)).rowcount
    _let_go(Book(db, sql, now), held)
    db.execute(sql["forget"], (worker,))
    return returned


def note(db: sqlite3.Connection, sql: Statements, notes: Sequence[Note]) -> None:
    """Write progress and log lines of claims that still run."""
    for one in notes:
        row = db.execute(sql["claim_of"], (one.id, one.number)).fetchone()
        if row is None:
            continue
        if one.progress is not None:
            db.execute(sql["set_progress"], (one.progress, one.id, one.number))
        if one.logs:
            lines = [
                {"job": one.id, "attempt": row[0], "at": at, "level": level, "text": text}
                for at, level, text in one.logs
            ]
            db.executemany(sql["add_log"], lines)
            db.execute(sql["trim_logs"], {"job": one.id, "kept": LOGS_MAX})


def workers(
    db: sqlite3.Connection, sql: Statements, lives: Lives, monotonic: int
) -> Sequence[WorkerRecord]:
    """Read the registered workers with the age of their last beat."""
    found = []
    for id_, info, started_at, running in db.execute(sql["workers"]).fetchall():
        beat = lives.sign(id_).beat
        age = None if beat is None else max(0, monotonic - beat)
        found.append(WorkerRecord(read_info(id_, info), started_at, age, running))
    return found
