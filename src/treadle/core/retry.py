"""Retry policies: how often, and how long to wait in between. Pure arithmetic.

`Retry` is what users write; `JobPolicy` is the part of it that travels with the job, so
that a rescuer can decide without the task's code (docs/adr/0002).
Exponential backoff with jitter over [1/2, 1] follows the "equal jitter" of M. Brooker,
"Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, json

from treadle.core.durations import SECOND, Duration, to_us

if TYPE_CHECKING:
    from collections.abc import Sequence

Backoff = Literal["exponential", "linear", "constant"]
BackoffCall = Callable[[int, BaseException], float]
Errors = tuple[type[BaseException], ...]

ATTEMPTS_MAX = 1_000
# 2 ** 60 seconds is far over every cap; a larger exponent would only cost time.
_EXPONENT_MAX = 60


@dataclass(frozen=True, slots=True)
class Retry:
    """How a failed job is tried again.

    Args:
        attempts: how many attempts there are in all, 1 to 1,000.
        backoff: `exponential` (base · 2^(n-1)), `linear` (base · n), `constant` (base),
            or a callable `(attempt, error) -> seconds`.
        base: seconds or timedelta.
        cap: the longest delay, seconds or timedelta.
        jitter: draw each delay from [1/2, 1] of itself, so that jobs that failed together
            do not come back together.
        delays: an explicit list of delays instead of a backoff; the last one repeats.
        on: errors that are tried again; others make the job a dead letter at once.
        never: errors that are not tried again, even when `on` names them.
        on_lost: what to do when the worker dies, or must stop, in mid-attempt: `retry` (the
            attempt is forgiven; crashes are bounded by `max_crashes`) or `fail`.
            `Retry(attempts=1, on_lost="fail")` is at most once.

    Raises:
        ValueError, TypeError: a value is out of its range or of another type.
    """

    attempts: int = 5
    backoff: Backoff | BackoffCall = "exponential"
    base: Duration = 15.0
    cap: Duration = 3600
    jitter: bool = True
    delays: Sequence[Duration] | None = None
    on: Errors = (Exception,)
    never: Errors = ()
    on_lost: Literal["retry", "fail"] = "retry"
    _policy: JobPolicy = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            msg = f"attempts must be an int, not {type(self.attempts).__name__}"
            raise TypeError(msg)
        if not 1 <= self.attempts <= ATTEMPTS_MAX:
            msg = f"attempts must be between 1 and {ATTEMPTS_MAX:,}, not {self.attempts}"
            raise ValueError(msg)
        if not callable(self.backoff) and self.backoff not in ("exponential", "linear", "constant"):
            msg = f"backoff must be exponential, linear, constant or a callable: {self.backoff!r}"
            raise ValueError(msg)
        if self.on_lost not in ("retry", "fail"):
            msg = f"on_lost must be 'retry' or 'fail', not {self.on_lost!r}"
            raise ValueError(msg)
        object.__setattr__(self, "on", error_types(self.on, "on"))
        object.__setattr__(self, "never", error_types(self.never, "never"))
        object.__setattr__(self, "_policy", self._numbers())

    def _numbers(self) -> JobPolicy:
        """Reduce this policy to the numbers that travel with a job."""
        return JobPolicy(
            backoff="exponential" if callable(self.backoff) else self.backoff,
            base=to_us(self.base, "base"),
            cap=to_us(self.cap, "cap"),
            jitter=self.jitter,
            delays=None if self.delays is None else _delays(self.delays),
            on_lost=self.on_lost,
        )

    @property
    def policy(self) -> JobPolicy:
        """The numeric part, which travels with the job."""
        return self._policy

    def retries(self, error: BaseException) -> bool:
        """Tell whether this error is one to try again."""
        return isinstance(error, self.on) and not isinstance(error, self.never)


class JobPolicy(Struct, frozen=True, omit_defaults=True):
    """The part of a task's options that is stored on the job; durations in microseconds."""

    backoff: Backoff = "exponential"
    base: int = 15 * SECOND
    cap: int = 3600 * SECOND
    jitter: bool = True
    delays: tuple[int, ...] | None = None
    on_lost: Literal["retry", "fail"] = "retry"
    timeout: int | None = None
    soft_timeout: int | None = None
    keep: int | None = None
    """How long a succeeded job is kept; None: by the settings."""

    def delay(self, spent: int, draw: Callable[[], float]) -> int:
        """Give the delay after the `spent`-th counted attempt, in microseconds.

        `draw` returns a float in [0, 1) and is called only when jitter is on.
        """
        full = self._full_delay(max(spent, 1))
        return round(full * (0.5 + 0.5 * draw())) if self.jitter else full

    def _full_delay(self, spent: int) -> int:
        if self.delays:
            return self.delays[min(spent, len(self.delays)) - 1]
        if self.backoff == "exponential":
            return min(self.cap, self.base << min(spent - 1, _EXPONENT_MAX))
        if self.backoff == "linear":
            return min(self.cap, self.base * spent)
        return min(self.cap, self.base)


DEFAULT_POLICY = JobPolicy()
_encoder = json.Encoder()
_decoder = json.Decoder(JobPolicy)


def write_policy(policy: JobPolicy) -> bytes | None:
    """Encode a policy for the store; all defaults are stored as nothing."""
    return None if policy == DEFAULT_POLICY else _encoder.encode(policy)


def read_policy(raw: bytes | None) -> JobPolicy | None:
    """Decode a stored policy; None when none was stored.

    Raises:
        ValueError: the bytes are not a policy (a row changed by hand).
    """
    return None if raw is None else _decoder.decode(raw)


def error_types(value: object, name: str) -> Errors:
    """Read an exception class, or a tuple of them.

    Raises:
        TypeError: it is something else.
    """
    types: list[type[BaseException]] = []
    for one in value if isinstance(value, tuple) else (value,):
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            msg = f"{name} takes exception classes, not {one!r}"
            raise TypeError(msg)
        types.append(one)
    return tuple(types)


def _delays(values: Sequence[Duration]) -> tuple[int, ...]:
    if not values:
        msg = "delays must name at least one delay; leave it out to use the backoff"
        raise ValueError(msg)
    return tuple(to_us(value, "delays") for value in values)
