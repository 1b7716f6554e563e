"""A circuit breaker: a gate that shuts by itself when what stands behind it keeps failing.

`Breaker` is what users write. What an attempt says of a gate, good, bad or "not before then", is a
`Tell`; it travels with the settlement, so that the gate learns of it in the same write. What the
gate makes of it is `told` below: the rule that each store follows (docs/adr/0019).

The three states are those of M. Nygard, "Release It!", chapter "Circuit Breaker": closed, open,
half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from treadle.core.durations import SECOND, Duration, to_us
from treadle.core.gates.gate import BREAKER, FOREVER, Gate, GateUse, read_gates
from treadle.core.gates.limits import PERIOD_MAX, Limit, check_count
from treadle.core.retry import Errors, error_types

FAILURES_MAX: Final = 100
"""The most failures a breaker counts: it keeps the instant of each."""
TELLS_MAX: Final = 16
"""What one attempt says of gates, at most."""
WHY_MAX: Final = 200
"""Characters of the reason that a gate keeps."""
DOUBLINGS_MAX: Final = 4
"""How often a cool-down doubles, with each probe that fails: to sixteen times its length."""


class Breaker(Limit):
    """Jobs wait while what they depend on keeps failing.

    It opens when `failures` attempts have failed within `window`. While it is open its jobs are
    parked and spend no attempt. After `cool_down` it lets one job through; when that ends well
    it closes, when it fails the breaker stays open for twice as long as before, at most sixteen
    times the cool-down.

    Args:
        name: what the jobs depend on; tasks that name the same one share the breaker.
        failures: from 1 to 100.
        window: seconds or timedelta in which so many have to fail, at most 31 days.
        cool_down: seconds or timedelta until the first probe, at most 31 days.
        on: errors that count as failures of what is named. By default all that a task may raise;
            signals count only if they are named here.
        never: errors that do not count, even when `on` names them.
        key: a template over the task's arguments; one breaker for each value.

    A time limit that is overrun is a `TimeoutError`. What is cancelled, handed back or lost with
    its worker counts neither as failed nor as good.

    Raises:
        TypeError, ValueError: a value is of another type or out of its range.
    """

    kind = BREAKER

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        window: Duration = 60.0,
        cool_down: Duration = 30.0,
        on: type[BaseException] | Errors = (Exception,),
        never: type[BaseException] | Errors = (),
        key: str | None = None,
    ) -> None:
        super().__init__(name, key)
        if name is None:
            raise TypeError("a Breaker has the name of what the jobs depend on, such as 'stripe'")
        self.quota = check_count(failures, "failures")
        if failures > FAILURES_MAX:
            raise ValueError(f"failures must be from 1 to {FAILURES_MAX}, not {failures}")
        self.period = _span(window, "window")
        self.burst = _span(cool_down, "cool_down")
        self.on = error_types(on, "on")
        self.never = error_types(never, "never")

    def counts(self, errors: Sequence[BaseException]) -> bool:
        """Tell whether an attempt that raised these counts as a failure."""
        return any(isinstance(e, self.on) and not isinstance(e, self.never) for e in errors)

    def _first(self) -> str:
        return repr(self.name)

    def __repr__(self) -> str:
        key = "" if self.key is None else f", key={self.key!r}"
        return f"Breaker({self.name!r}, failures={self.quota}{key})"


def _span(value: Duration, what: str) -> int:
    span = to_us(value, what)
    if not SECOND // 1_000 <= span <= PERIOD_MAX:
        raise ValueError(f"{what} must be from a millisecond to 31 days, not {value!r}")
    return span


ORDER: Final = ("failed", "well", "hold")
"""In which order a gate learns what attempts say that ended together."""


class Tell(Struct, frozen=True, gc=False, array_like=True):
    """What an attempt says of one gate."""

    name: str
    says: Literal["well", "failed", "hold"]
    hold: int = 0
    """Of `hold`: microseconds, from the store's now, in which nothing shall pass."""
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

    A hold shuts it, and the latest instant counts. A breaker that is shut learns nothing: those
    that ran as it opened say what is known. Half open it heeds its probe alone.
    """
    if tell.says == "hold":
        return _hold(gate, min(now + tell.hold, FOREVER), tell.why, now)
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


def _hold(gate: Gate, until: int, why: str | None, now: int) -> bool:
    if until <= now or (gate.shut_until is not None and gate.shut_until >= until):
        return False
    gate.shut_until, gate.note, gate.wake_at = until, why, until
    return True
