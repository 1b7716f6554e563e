"""Clocks: where wall time and monotonic time come from, in microseconds.

`SystemClock` is the machine's; `MovedClock` is one that tests move by hand.
Stores decide with their own clock (docs/adr/0004); nothing else in the core reads time.
"""

from __future__ import annotations

import time
from typing import Protocol

from treadle.core.durations import Duration, to_us


class Clock(Protocol):
    """Two readings, each an int of microseconds."""

    def wall(self) -> int:
        """Microseconds since 1970-01-01 UTC; may step."""
        ...

    def monotonic(self) -> int:
        """Microseconds since some fixed instant of this boot; never steps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> int:
        """Read the wall clock."""
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        """Read CLOCK_MONOTONIC, which all processes of a machine share."""
        return time.monotonic_ns() // 1000


class MovedClock:
    """A clock that stands still until it is moved; wall and monotonic move together."""

    def __init__(self, wall_us: int | None = None) -> None:
        self._wall = SystemClock().wall() if wall_us is None else wall_us
        self._monotonic = 1_000_000

    def wall(self) -> int:
        """Read the moved wall clock."""
        return self._wall

    def monotonic(self) -> int:
        """Read the moved monotonic clock."""
        return self._monotonic

    def move(self, by: Duration) -> None:
        """Move both clocks forward by seconds or a timedelta.

        Raises:
            ValueError: `by` is negative; use `step_wall` to set the wall clock back.
        """
        micros = to_us(by, "by")
        self._wall += micros
        self._monotonic += micros

    def step_wall(self, by_us: int) -> None:
        """Step the wall clock alone, forward or back, as a time correction does."""
        self._wall += by_us
