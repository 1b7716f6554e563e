"""What people and programs do to gates: look, shut, open, set their numbers; and their upkeep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.core.gates.gate import GateRecord
from treadle.store.postgres.engine.pack import boolean, int8, text, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.gates.line import waking
from treadle.store.postgres.tenants.turns import turns

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateUse


def gates(sql: Statements, only: str | None, after: str, limit: int) -> Talk[Sequence[GateRecord]]:
    """Read gates by name."""
    _, [rows] = yield Ask([(sql["all_gates"], (text(only), text(after), int8(limit)))])
    return [GateRecord(*row) for row in rows]


def shut(sql: Statements, name: str, delay: int | None, note: str | None) -> Talk[None]:
    """Shut a gate, made where there is none."""
    yield Ask([(sql["shut_gate"], (text(name), int8(delay), text(note)))])


def open_(sql: Statements, name: str, ring: Sequence[Call]) -> Talk[bool]:
    """Open a gate that is shut."""
    calls = [(sql["open_gate"], (text(name),)), *_wakes(sql, name)]
    _, (rows, *_) = yield Ask(calls, after=ring)
    return bool(rows)


def set_numbers(
    sql: Statements,
    use: GateUse,
    change_kind: bool,  # noqa: FBT001 -- as asked
    ring: Sequence[Call],
) -> Talk[bool]:
    """Set the numbers of a gate; False where it is of another kind that is to stand."""
    numbers = (int8(use.quota), int8(use.period), int8(use.burst))
    setting = (
        sql["set_gate"],
        (text(use.name), text(use.kind), *numbers, boolean(change_kind)),
    )
    _, (rows, *_) = yield Ask([setting, *_wakes(sql, use.name)], after=ring)
    return bool(rows)


def _wakes(sql: Statements, name: str) -> list[Call]:
    """Wake who waits at a gate whose row this transaction has locked."""
    return [*waking(sql, texts([name])), *turns(sql)]


def reset(sql: Statements, name: str) -> Talk[bool]:
    """Let the next job that is enqueued say the numbers again."""
    _, [rows] = yield Ask([(sql["reset_gate"], (text(name),))])
    return bool(rows)


def tidy(sql: Statements, limit: int) -> Talk[int]:
    """Mend places in use that nobody holds, and delete gates that nobody has touched for hours.

    What a hand deletes or changes lets go of nothing by itself, nor does a holder that has died.
    Returns how many gates went.
    """
    looks = [(sql["drifted"], ()), (sql["holds_over"], ()), (sql["prune_gates"], (int8(limit),))]
    _, [wrong, over, gone] = yield Ask(looks)
    if wrong or over:
        given = (texts(sorted({name for (name,) in (*wrong, *over)})),)
        yield Ask([(sql[name], given) for name in ("lock_gates", "lapse_holds", "mend")])
    return len(gone)
