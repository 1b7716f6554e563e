"""How gates are shown: as a table, and as the rows of a document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from treadle.cli.view.tables import Column, grid
from treadle.cli.view.text import cut, number, relative, safe
from treadle.client.gates.control import GateInfo
from treadle.core.gates.gate import WINDOW

_NOTE_MAX = 60


def gates_table(gates: Sequence[GateInfo], now: datetime) -> Table:
    """Show gates, one a row."""
    columns: tuple[Column, ...] = (
        ("GATE", "left", "fold"),
        ("LIMIT", "right", "whole"),
        ("RUNNING", "right", "whole"),
        ("OUTSIDE", "right", "whole"),
        ("WAITING", "right", "whole"),
        ("STATE", "left", "fold"),
    )
    return grid(columns, (_cells(gate, now) for gate in gates))


def _cells(gate: GateInfo, now: datetime) -> list[str | Text]:
    limit = (gate.limit or "-") + (" sliding" if gate.kind == WINDOW else "")
    return [
        safe(gate.name),
        f"{limit} (set)" if gate.is_set else limit,
        "-" if gate.running is None else number(gate.running),
        "-" if gate.running is None else number(gate.holds),
        _waiting(gate),
        _state(gate, now),
    ]


def _waiting(gate: GateInfo) -> str:
    """Count the jobs that wait, and beside them who waits outside jobs."""
    return number(gate.waiting) + (f"+{number(gate.asking)}" if gate.asking else "")


def _state(gate: GateInfo, now: datetime) -> Text:
    if gate.breaker == "half open":
        return Text("breaker half open", style="yellow")
    if not gate.paused:
        return Text("open" if gate.room else "full", style="green" if gate.room else "dim")
    said, next_ = ("breaker open", "probes") if gate.breaker == "open" else ("paused", "opens")
    when = "" if gate.opens_at is None else f", {next_} {relative(gate.opens_at, now)}"
    note = f": {safe(cut(gate.note, _NOTE_MAX))}" if gate.note else ""
    return Text(f"{said}{when}{note}", style="yellow")


def gate_row(gate: GateInfo) -> dict[str, Any]:
    """Give the fields of a gate."""
    return {
        "name": gate.name,
        "kind": gate.kind,
        "limit": gate.limit,
        "burst": gate.burst,
        "running": gate.running,
        "room": gate.room,
        "waiting": gate.waiting,
        "paused": gate.paused,
        "opens_at": gate.opens_at,
        "note": gate.note,
        "is_set": gate.is_set,
        "holds": gate.holds,
        "asking": gate.asking,
        "breaker": gate.breaker,
    }
