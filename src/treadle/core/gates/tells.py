"""What an attempt says of gates, good, bad or "not before then", and what a gate makes of it.

A `Tell` travels with the settlement, so that the gate learns of it in the same write. `told` is
the rule that each store follows (docs/adr/0019).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from treadle.core.gates.gate import BREAKER, FOREVER, Gate, GateUse, read_gates

TELLS_MAX: Final = 16
"""What one attempt says of gates, at most."""
WHY_MAX: Final = 200
"""Characters of the reason that a gate keeps."""
DOUBLINGS_MAX: Final = 4
"""How often a cool-down doubles, with each probe that fails: to sixteen times its length."""
ORDER: Final = ("failed", "well", "shut")
"""In which order a gate learns what attempts say that ended together."""


class Tell(Struct, frozen=True, gc=False, array_like=True):
    """What an attempt says of one gate."""

    name: str
    says: Literal["well", "failed", "shut"]
    span: int = 0
    """Of `shut`: microseconds, from the store's now, in which nothing shall pass."""
    why: str | None = None


@lru_cache(maxsize=1_024)
def well(gates: bytes) -> tuple[Tell, ...]:
    """Say of the breakers among a job's gates that an attempt ended well."""
    return tuple(Tell(use.name, "well") for use in breakers(gates))


def breakers(gates: bytes | None) -> Sequence[GateUse]:
    """Give the breakers among a job's gates; what a hand has damaged has none."""
    if gates is None or b'"breaker"' not in gates:
        return ()
    try:
        return [use for use in read_gates(gates) if use.kind == BREAKER]
    except ValueError:
        return ()


def told(gate: Gate, tell: Tell, job: bytes, now: int) -> bool:
    """Let a gate know what an attempt of this job says; tell whether that changed it.

    Of what shuts it the latest instant counts. A breaker that is shut learns nothing: those that
    ran as it opened say what is known. Half open it heeds its probe alone.
    """
    if tell.says == "shut":
        return _shut(gate, min(now + tell.span, FOREVER), tell.why, now)
    if gate.kind != BREAKER or gate.is_shut(now):
        return False
    if gate.tripped:
        if gate.probe != job:
            return False
        if tell.says == "well":
            close(gate, now)
        else:
            _trip(gate, tell.why, now)
        return True
    if tell.says == "well":
        return False
    lately = [at for at in gate.lately if at > now - gate.period]
    gate.lately = [*lately, now][-gate.quota :]
    if len(gate.lately) >= gate.quota:
        _trip(gate, tell.why, now)
    return True


def close(gate: Gate, now: int) -> None:
    """Close a breaker, so that all may pass; any other gate is open then."""
    gate.tripped, gate.probe = 0, None
    if gate.kind == BREAKER:
        gate.lately = []
    gate.shut_until = gate.note = None
    gate.wake_at = now


def _trip(gate: Gate, why: str | None, now: int) -> None:
    gate.shut_until = now + (gate.burst << min(gate.tripped, DOUBLINGS_MAX))
    gate.tripped, gate.probe, gate.lately = gate.tripped + 1, None, []
    gate.note, gate.wake_at = why, gate.shut_until


def _shut(gate: Gate, until: int, why: str | None, now: int) -> bool:
    if until <= now or (gate.shut_until is not None and gate.shut_until >= until):
        return False
    gate.shut_until, gate.note, gate.wake_at = until, why, until
    return True
