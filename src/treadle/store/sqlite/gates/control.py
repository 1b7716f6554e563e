"""What people and programs do to gates: look, shut, open, set their numbers; and their upkeep."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from treadle.core.gates.gate import FOREVER, SWITCH, UNTOUCHED, GateRecord, GateUse
from treadle.core.gates.tells import close
from treadle.store.sqlite.gates.book import Book, Statements, cost_at, gate_of, uses_of
from treadle.store.sqlite.gates.holds import lapse


def gates(
    db: sqlite3.Connection, sql: Statements, only: str | None, after: str, limit: int, now: int
) -> Sequence[GateRecord]:
    """Read gates by name."""
    values = {"only": only, "after": after, "limit": limit}
    found = []
    for *row, waiting in db.execute(sql["all_gates"], values).fetchall():
        gate = gate_of(tuple(row))
        best = db.execute(sql["best_waiting"], (gate.name,)).fetchone()
        cost = 1 if best is None else cost_at(gate.name, uses_of(best[0]))
        held = db.execute(sql["held_at"], (now, gate.name)).fetchone()
        found.append(gate.record(waiting, cost, now, *held))
    return found


def shut(book: Book, name: str, delay: int | None, note: str | None) -> None:
    """Shut a gate, made where there is none; None: until somebody opens it.

    One that is shut for longer stays so.
    """
    gate = book.of(GateUse(name))
    until = FOREVER if delay is None else min(book.now + delay, FOREVER)
    if gate.shut_until is not None and gate.shut_until > max(until, book.now):
        return
    gate.shut_until, gate.note = until, note
    gate.wake_at = None
    best = book.db.execute(book.sql["best_waiting"], (name,)).fetchone()
    if best is not None:
        book.look(gate, cost_at(name, uses_of(best[0])))
    book.write()


def open_(book: Book, name: str) -> bool:
    """Open a gate that is shut; a breaker is closed by that."""
    gate = book.find(name)
    if gate is None or not (gate.is_shut(book.now) or gate.tripped):
        return False
    close(gate, book.now)
    book.wake(gate)
    book.write()
    return True


def set_numbers(book: Book, use: GateUse, change_kind: bool) -> bool:  # noqa: FBT001 -- as asked
    """Set the numbers of a gate; what jobs bring along does not count any more.

    False, and nothing has changed, where it is of another kind that is to stand.
    """
    gate = book.of(use)
    if gate.kind not in (use.kind, SWITCH) and not change_kind:
        return False
    book.define(gate, use)
    gate.is_set = True
    book.wake(gate)
    book.write()
    return True


def reset(book: Book, name: str) -> bool:
    """Let the next job that is enqueued say the numbers again."""
    gate = book.find(name)
    if gate is None or not gate.is_set:
        return False
    gate.is_set, gate.defined_at = False, book.now - 1
    book.write()
    return True


def drifted(db: sqlite3.Connection, sql: Statements) -> dict[str, int]:
    """Count the places that running jobs and holds have, of gates that say otherwise."""
    return dict(db.execute(sql["drifted"]).fetchall())


def mend(book: Book) -> int:
    """Write what gates hold as jobs and holds say; return how many gates had drifted.

    What a hand deletes or changes lets go of nothing by itself, nor does a holder that has died.
    """
    lapse(book)
    found = drifted(book.db, book.sql)
    for name, used in found.items():
        gate = book.find(name)
        if gate is not None:
            gate.used, gate.wake_at = used, book.now
    lost = [name for (name,) in book.db.execute(book.sql["probes_lost"]).fetchall()]
    for name in lost:
        gate = book.find(name)
        if gate is not None:
            gate.probe, gate.wake_at = None, book.now
    book.write()
    return len(found) + len(lost)


def unused(db: sqlite3.Connection, sql: Statements, limit: int, now: int) -> list[str]:
    """Name gates that hold nothing and that no job has touched for hours."""
    values = {"before": now - UNTOUCHED, "now": now, "limit": limit}
    return [name for (name,) in db.execute(sql["gates_unused"], values)]


def prune(db: sqlite3.Connection, sql: Statements, limit: int, now: int) -> int:
    """Delete gates that are unused; a job that comes later makes its gate anew."""
    names = unused(db, sql, limit, now)
    db.executemany(sql["delete_gate"], [(name,) for name in names])
    return len(names)
