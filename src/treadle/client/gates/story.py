"""Why a job waits at a gate, as `job.explain()` says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.core.durations import SECOND, utc_text
from treadle.core.gates.gate import BREAKER, FOREVER, PLACES, STARTS, TASK, WINDOW

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateRecord


def why_parked(name: str | None, gate: GateRecord | None) -> str:
    """Say at which gate a job is parked, and what keeps it there."""
    if gate is not None and is_task_paused(gate):
        return why_held(gate)
    at = f"It is parked at the gate {name!r}"
    return f"{at}." if gate is None else f"{at}, {_what(gate)}."


def is_task_paused(gate: GateRecord | None) -> bool:
    """Tell whether a gate is that of a task, and shut."""
    return gate is not None and gate.name.startswith(TASK) and gate.shut_until is not None


def why_held(gate: GateRecord) -> str:
    """Say of a job's task that it is paused, until when, and why."""
    note = f": {gate.note}" if gate.note else ""
    return f"Its task {gate.name.removeprefix(TASK)!r} is paused {_until(gate)}{note}."


def _what(gate: GateRecord) -> str:
    if gate.shut_until is not None:
        return f"{_shut(gate)}{f': {gate.note}' if gate.note else ''}"
    if gate.tripped:
        return (
            "a breaker that is half open: it lets one job through at a time, and closes when one "
            "ends well"
        )
    if gate.kind == PLACES:
        places = "place is" if gate.quota == 1 else "places are"
        outside = f", {gate.holds:,} of them outside jobs" if gate.holds else ""
        return f"where {gate.used:,} of {gate.quota:,} {places} taken{outside}"
    if gate.kind in STARTS:
        opens = "" if gate.opens_at is None else f"; the next one may at {utc_text(gate.opens_at)}"
        any_ = "any " if gate.kind == WINDOW else ""
        return f"which lets {gate.quota:,} start in {any_}{gate.period / SECOND:g} s{opens}"
    return "which is about to let it pass"


def _shut(gate: GateRecord) -> str:
    until = _until(gate)
    if gate.kind != BREAKER or not gate.tripped:
        return f"which is paused {until}"
    failures = "failure" if gate.quota == 1 else "failures"
    failed = f"after {gate.quota:,} {failures} in {gate.period / SECOND:g} s"
    if gate.tripped > 1:
        probes = gate.tripped - 1
        failed += f" and {probes:,} {'probe' if probes == 1 else 'probes'} that failed"
    return f"a breaker that is open {until}, {failed}"


def _until(gate: GateRecord) -> str:
    if gate.shut_until in (None, FOREVER):
        return "until somebody resumes it"
    return f"until {utc_text(gate.shut_until or 0)}"
