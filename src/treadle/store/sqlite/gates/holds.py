"""Holds: who passes a gate without a job, and the line of those who wait to.

The row of a hold is there for as long as its place is counted: both are written together.
"""

from __future__ import annotations

from treadle.core.gates.gate import PLACES, Gate, GateUse
from treadle.store.parts.holding import ASKING_MAX, ASKS_FOR, LAPSES_MAX, HoldTaken
from treadle.store.sqlite.gates.book import Book


def take(book: Book, use: GateUse, token: bytes, lease: int) -> HoldTaken:
    """Let a token pass if the gate has room and it is its turn; else put it into the line."""
    now, db, sql = book.now, book.db, book.sql
    gate = book.of(use, defined_at=now)
    lapse(book, use.name)
    row = db.execute(sql["hold"], (use.name, token)).fetchone()
    held, is_next, since = row or (0, 0, now)
    passes = bool(held)
    if not held:
        first = book.first_asking(use.name)
        if first is None or first[0] == token:
            # No job waits, so it is the turn of who asks.
            is_next = is_next or int(not _parked(book, use.name))
            room = gate.room(now) - gate.pending(now)
            passes = bool(is_next) and gate.takes(use.cost) <= room
    if passes and not held:
        _spend(book, gate, use.cost)
    if passes or row is not None or _asking(book, use.name) < ASKING_MAX:
        until = now + (lease if passes else ASKS_FOR)
        row = (use.name, token, gate.kind, use.cost, int(passes), is_next, since, until)
        db.execute(sql["write_hold"], row)
        book.line_changed(use.name)
    if not passes and gate.to_wake(now) and not book.reserved(gate):
        # It is the turn of a job that waits; after that it is that of who asked first.
        book.wake(gate)
    book.write()
    if passes:
        return HoldTaken(is_held=True)
    opens = gate.opens_at(use.cost, now)
    [ahead] = db.execute(sql["asking_before"], (use.name, now, since, token)).fetchone()
    wait = None if opens is None or opens <= now else opens - now
    return HoldTaken(is_held=False, wait=wait, ahead=ahead)


def _parked(book: Book, name: str) -> bool:
    return book.db.execute(book.sql["best_waiting"], (name,)).fetchone() is not None


def _spend(book: Book, gate: Gate, cost: int) -> None:
    gate.spend(gate.takes(cost), book.now)
    opens = gate.opens_at(1, book.now)
    if opens is None or (gate.wake_at is not None and opens > book.now):
        gate.wake_at = opens


def _asking(book: Book, name: str) -> int:
    [many] = book.db.execute(book.sql["asking"], (name, book.now)).fetchone()
    return int(many)


def renew(book: Book, name: str, token: bytes, lease: int) -> bool:
    """Prolong a hold whose place is still counted."""
    return book.db.execute(book.sql["renew_hold"], (book.now, lease, name, token)).rowcount > 0


def free(book: Book, name: str, token: bytes) -> bool:
    """End a hold, or leave the line; who waits is woken."""
    done = _free(book, name, token)
    gate = book.find(name)
    if done and gate is not None:
        book.wake(gate)
    book.write()
    return done


def _free(book: Book, name: str, token: bytes) -> bool:
    row = book.db.execute(book.sql["free_hold"], (name, token)).fetchone()
    if row is None:
        return False
    book.line_changed(name)
    gate = book.find(name)
    if gate is not None:
        if row[1] and row[0] == PLACES:
            gate.used = max(0, gate.used - 1)
        gate.wake_at = book.now
    return True


def lapse(book: Book, name: str | None = None) -> int:
    """Take away holds whose lease has ended, of one gate or of all; `stage` wakes who waits."""
    if name is None:
        over = book.db.execute(book.sql["holds_over"], (book.now, LAPSES_MAX)).fetchall()
    else:
        values = (name, book.now, LAPSES_MAX)
        over = book.db.execute(book.sql["holds_over_at"], values).fetchall()
    for gate, token in over:
        _free(book, gate, token)
    return len(over)
