"""Suspects: the two looks after which a rescuer may call a worker dead.

Whether a lease has ended a store judges in its own way; that one look at it is not enough is the
same for all. The second counts by the rescuer's own monotonic clock, which no step of a clock and
no outage of the store moves.
"""

from __future__ import annotations

from collections.abc import Container

from msgspec import Struct


class _First(Struct, frozen=True):
    """A look that found a lease ended: at which beat, and when (microseconds, monotonic)."""

    beat: object
    seen_at: int


class Suspects:
    """Whom one rescuer suspects, by their last beats."""

    def __init__(self) -> None:
        self._firsts: dict[str, _First] = {}

    def keep(self, workers: Container[str]) -> None:
        """Forget those who are not there any more."""
        self._firsts = {w: first for w, first in self._firsts.items() if w in workers}

    def clear(self, worker: str) -> None:
        """Forget a worker whose lease goes on."""
        self._firsts.pop(worker, None)

    def look(self, worker: str, beat: object, monotonic: int) -> int | None:
        """Look at a worker whose lease has ended; give how long it has been suspect.

        In microseconds; None at the first look, which a new beat makes of any.
        """
        first = self._firsts.get(worker)
        if first is None or first.beat != beat:
            self._firsts[worker] = _First(beat, monotonic)
            return None
        return monotonic - first.seen_at
