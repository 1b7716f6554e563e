"""A circuit breaker: a gate that shuts by itself when what stands behind it keeps failing.

`Breaker` is what users write; what its gate makes of what attempts say is in `tells`.

The three states are those of M. Nygard, "Release It!", chapter "Circuit Breaker": closed, open,
half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from treadle.core.durations import SECOND, Duration, to_us
from treadle.core.gates.gate import BREAKER
from treadle.core.gates.limits import PERIOD_MAX, Limit, check_count
from treadle.core.retry import Errors, error_types

FAILURES_MAX: Final = 100
"""The most failures a breaker counts: it keeps the instant of each."""


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
