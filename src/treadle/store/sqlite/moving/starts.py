"""Starts of sliding windows that leave and come with the jobs of their gates."""

from __future__ import annotations

from treadle.core.gates.arriving import Starts, receive, starts_of
from treadle.core.gates.gate import SWITCH, WINDOW
from treadle.store.sqlite.gates.book import Book


def read_starts(book: Book, name: str) -> Starts | None:
    """Read what has started and counts still."""
    gate = book.find(name)
    return None if gate is None else starts_of(gate, book.now)


def take_starts(book: Book, starts: Starts, move: str) -> bool:
    """Let starts of another store count; False where the gate is of another kind."""
    name = starts.use.name
    gate = book.of(starts.use)
    if gate.kind == SWITCH:
        book.define(gate, starts.use)
    if gate.kind != WINDOW:
        return False
    row = book.db.execute(book.sql["came"], (name,)).fetchone()
    came = receive(gate, "" if row is None else row[0], starts, move, book.now)
    book.write()
    book.db.execute(book.sql["write_came"], (came, name))
    return True
