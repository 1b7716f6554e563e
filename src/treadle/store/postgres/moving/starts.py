"""Starts of sliding windows that leave and come with the jobs of their gates."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from treadle.core.gates.arriving import Starts, receive, starts_of
from treadle.core.gates.gate import SWITCH, WINDOW, Gate
from treadle.store.postgres.engine.pack import int8, int8s, text, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.wire import Ask

if TYPE_CHECKING:
    from treadle.store.postgres.engine.sql import Statements
    from treadle.store.postgres.engine.wire import Row


def read_starts(sql: Statements, name: str) -> Talk[Starts | None]:
    """Read what has started and counts still."""
    now, [rows] = yield Ask([(sql["read_starts"], (text(name),))])
    return starts_of(_gate(name, rows[0]), now) if rows else None


def take_starts(sql: Statements, starts: Starts, move: str) -> Talk[bool]:
    """Let starts of another store count; False where the gate is of another kind."""
    use = starts.use
    numbers = (int8s([use.quota]), int8s([use.period]), int8s([use.burst]))
    made = (texts([use.name]), texts([use.kind]), *numbers, int8s([0]))
    calls = [
        (sql["ensure_gates"], made),
        (sql["lock_gates"], (texts([use.name]),)),
        (sql["read_starts"], (text(use.name),)),
    ]
    now, (_, _, [row]) = yield Ask(calls, end=False)
    gate = _gate(use.name, row)
    if gate.kind == SWITCH:
        gate.define(use, now)
    if gate.kind != WINDOW:
        yield Ask(())
        return False
    came = receive(gate, row[4], starts, move, now)
    values = (int8(gate.quota), int8(gate.period), int8(gate.burst), text(came), int8(gate.full_at))
    pairs = (int8s(gate.lately[::2]), int8s(gate.lately[1::2]))
    yield Ask([(sql["write_starts"], (text(use.name), text(gate.kind), *values, *pairs))])
    return True


def _gate(name: str, row: Row) -> Gate:
    kind, quota, period, burst, _, instants, took = row
    lately = list(chain.from_iterable(zip(instants, took, strict=True)))
    return Gate(name, kind, quota, period, burst, lately=lately)
