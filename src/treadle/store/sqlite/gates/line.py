"""Gates on the line: what enqueue, exchange, stage and control do for jobs that have some.

A job takes all its gates when it is claimed, or none; one that meets a gate that is shut is
parked at it, out of the ready jobs, until the gate wakes it. Jobs without gates never come here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence

from treadle.core.gates.gate import PARKED_MAX, TASK, GateUse
from treadle.core.job import Fate, JobState, NewJob
from treadle.core.outcome import Settlement, Verdict
from treadle.store.sqlite.gates.book import Book, Statements, uses_of
from treadle.store.sqlite.rows import Row

Heads = Callable[[int], list[Row]]
"""Reads so many of the best ready jobs."""


def store(db: sqlite3.Connection, sql: Statements, jobs: Sequence[NewJob], rows: list[Row]) -> int:
    """Write new jobs that have gates; park at once those that would find one shut.

    Returns how many were written. `rows` are their values, which say what became of them.
    """
    book: Book | None = None
    written = 0
    for place, (job, row) in enumerate(zip(jobs, rows, strict=True)):
        if job.gates is None:
            continue
        book = book or Book(db, sql, row[6])
        if not db.execute(sql["insert_gated"], (*row, job.gates)).rowcount:
            continue
        written += 1
        uses = uses_of(job.gates)
        for use in uses:
            book.of(use, defined_at=book.now)
        if row[4] == "ready" and (at := book.known_shut(uses)) is not None:
            book.park(job.id, at, uses)
            rows[place] = (*row[:4], "blocked", *row[5:])
    if book is not None:
        for place, job in enumerate(jobs):
            if job.id in book.ended:
                rows[place] = (*rows[place][:4], "cancelled", *rows[place][5:])
        book.write()
    return written


def meet(
    db: sqlite3.Connection,
    sql: Statements,
    jobs: Sequence[NewJob],
    fates: Sequence[Fate],
    now: int,
) -> list[Fate]:
    """Say what a batch with keys brings along of gates, and park those that would find one shut."""
    book, told = Book(db, sql, now), list(fates)
    for place, (job, fate) in enumerate(zip(jobs, fates, strict=True)):
        if job.gates is None or not isinstance(fate, JobState):
            continue
        for use in uses_of(job.gates):
            book.of(use, defined_at=now)
        if fate is JobState.READY and park_ready(book, job.id):
            told[place] = JobState.BLOCKED
    for place, job in enumerate(jobs):
        if job.id in book.ended:
            told[place] = JobState.CANCELLED
    book.write()
    return told


def settled(book: Book, settlements: Sequence[Settlement], verdicts: Sequence[Verdict]) -> None:
    """Let go of what settled claims held, and wake who waits for it."""
    applied = [
        one
        for one, verdict in zip(settlements, verdicts, strict=True)
        if (one.gates is not None or one.tells) and verdict is Verdict.APPLIED
    ]
    freed = book.tell([(one.id, tell) for one in applied for tell in one.tells])
    for one in applied:
        freed |= book.free(one.id, uses_of(one.gates))
    for one in applied:
        if not one.state.is_terminal:
            park_ready(book, one.id)
    for name in sorted(freed):
        gate = book.find(name)
        if gate is not None:
            book.wake(gate)


def let_go(book: Book, id_: bytes, uses: Sequence[GateUse]) -> None:
    """Let go of the places of a job that went back, and park it if a gate is known to be shut."""
    book.free(id_, uses)
    park_ready(book, id_)


def park_ready(book: Book, id_: bytes) -> bool:
    """Park a job that has become ready, if one of its gates is known to be shut; tell whether."""
    row = book.db.execute(book.sql["gates_of_ready"], (id_,)).fetchone()
    if row is None:
        return False
    uses = uses_of(row[0])
    at = book.known_shut(uses)
    if at is not None:
        book.park(id_, at, uses)
    return at is not None


def admit(book: Book, heads: Heads, limit: int, tasks: Collection[str]) -> tuple[int, bool]:
    """Let the best ready jobs pass their gates, at most `limit`; park those that cannot.

    Those of paused `tasks` are parked at the gate of their task, which they do not carry.
    Returns how many of the best ready jobs may be claimed now, and whether any were parked:
    behind them there may be others that can pass.
    """
    admitted = parked = 0
    while parked < PARKED_MAX:
        met = parked
        for id_, raw, expires_at, created_at, task, *_ in heads(limit)[admitted:]:
            uses = uses_of(raw)
            if task in tasks:
                uses = (GateUse(TASK + task), *uses)
            late = expires_at is not None and expires_at <= book.now
            # One that came in a caller's transaction says its definitions only here.
            at = None if late else book.first_shut(uses, created_at)
            if at is not None:
                book.park(id_, at, uses, met_by_claim=True)
                parked += 1
                continue
            admitted += 1
            if not late:
                book.take(id_, uses)
        if parked == met:
            break
    return admitted, parked > 0


def stage(book: Book, limit: int) -> int:
    """Make due jobs that have gates ready or park them, and wake who may pass; give how many."""
    due = book.db.execute(book.sql["due_gated"], (book.now, limit)).fetchall()
    for id_, _ in due:
        book.db.execute(book.sql["make_ready"], (id_,))
        park_ready(book, id_)
    moved = len(due)
    names = book.db.execute(book.sql["gates_to_wake"], (book.now, max(0, limit - moved)))
    for (name,) in names.fetchall():
        gate = book.find(name)
        if gate is not None and moved < limit:
            moved += book.wake(gate)
    return moved
