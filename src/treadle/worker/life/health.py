"""A worker's health: whether its store answers, and if not, what is wrong and since when.

It is a live view for the program around the worker, a probe of an orchestrator for instance. Each
way to the store (the exchanges of the line, the beats of the lease) is well or not by itself; the
worker is well when all of them are.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from treadle.core.clock import SystemClock
from treadle.core.durations import as_datetime

_NOT_STARTED = "it has not been started"
_STOPPED = "it has stopped"
_STARTING = "starting: its store answers, and it is not through with its start yet"
_START = "start"


class Health:
    """One worker's; `ok` is false before the start and after the stop as well."""

    def __init__(self) -> None:
        self._idle = _NOT_STARTED
        self._troubles: dict[str, tuple[int, str]] = {}
        """What fails: since when (µs since the epoch) and why, the oldest first."""
        self.tell: Callable[[str, dict[str, Any] | None], None] | None = None
        """Told the event when a running worker falls ill or is well again."""

    def __repr__(self) -> str:
        since = self.since
        said = "ok" if self.ok else self.problem + (f" (since {since})" if since else "")
        return f"<Health {said}>"

    @property
    def ok(self) -> bool:
        """Tell whether the worker runs and its store answers."""
        return not self._idle and not self._troubles

    @property
    def problem(self) -> str:
        """What is wrong, as the store's error says it; empty when nothing is."""
        first = next(iter(self._troubles.copy().values()), None)
        return self._idle or (first[1] if first else "")

    @property
    def since(self) -> datetime | None:
        """When that began, in UTC; None when nothing is wrong or it neither runs nor starts."""
        first = next(iter(self._troubles.copy().values()), None)
        return None if self._idle or first is None else as_datetime(first[0])

    # The worker and its crew speak through these, on their loop

    def waits(self, why: str) -> None:
        """Note that it cannot start, as its store is away; the first note says since when."""
        first = _START not in self._troubles
        since = SystemClock().wall() if first else self._troubles[_START][0]
        self._idle = ""
        self._troubles[_START] = (since, f"waiting for the store: {why}")
        if first:
            self._tell_trouble()

    def arrived(self) -> None:
        """Note that the store it waited for answers, and that the rest of the start goes on."""
        if _START in self._troubles:
            self._troubles[_START] = (SystemClock().wall(), _STARTING)

    def started(self) -> None:
        """Begin: the store has just answered."""
        waited = _START in self._troubles
        self._idle = ""
        self._troubles.clear()
        if waited and self.tell is not None:
            self.tell("worker.well", None)

    def stopped(self) -> None:
        """End."""
        self._idle = _STOPPED

    def fails(self, way: str, why: str) -> None:
        """Note that a way to the store does not work; the first note says since when."""
        was_ok = self.ok
        since = self._troubles.get(way, (SystemClock().wall(), ""))[0]
        self._troubles[way] = (since, why)
        self._changed(was_ok)

    def works(self, way: str) -> None:
        """Note that a way to the store works."""
        if way in self._troubles:
            was_ok = self.ok
            del self._troubles[way]
            self._changed(was_ok)

    def _changed(self, was_ok: bool) -> None:  # noqa: FBT001 -- says itself what it is
        if self.ok == was_ok or self.tell is None or self._idle:
            return
        if self.ok:
            self.tell("worker.well", None)
        else:
            self._tell_trouble()

    def _tell_trouble(self) -> None:
        if self.tell is not None:
            self.tell("worker.unwell", {"problem": self.problem, "since": self.since})
