"""Signals: what a task raises to steer its own job.

They derive from `BaseException`, as `asyncio.CancelledError` does, so that a task's own
`except Exception` cannot swallow them (docs/adr/0003). `SoftTimeout` is the exception:
it is an ordinary error that a task may catch to tidy up.
What becomes of the job is not decided here but in `core.decide`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.core.durations import to_us
from treadle.core.gates.limits import check_gate

if TYPE_CHECKING:
    from treadle.core.durations import Duration


class JobSignal(BaseException):
    """The base of the four signals."""


class RetryLater(JobSignal):
    """Try this job again after `delay` (seconds or timedelta); the attempt is spent.

    Without `delay` the task's retry policy gives the delay. When no attempt is left the
    job becomes a dead letter. `hold` names a limit of the task, or any gate, that nobody passes
    for the same time: what a server means that says `Retry-After`.

    Raises:
        TypeError: `hold` is no str.
        ValueError: the delay is negative or not finite, or there is a `hold` without one.
    """

    def __init__(
        self, message: str = "", *, delay: Duration | None = None, hold: str | None = None
    ) -> None:
        self.delay_us = None if delay is None else to_us(delay, "delay")
        if hold is not None and delay is None:
            raise ValueError(f"hold={hold!r} holds a gate for the delay; name one, in seconds")
        self.hold = None if hold is None else check_gate(hold)
        super().__init__(message or "the task asked to be tried again")


class Snooze(JobSignal):
    """Run this job again after `delay` (seconds or timedelta) without spending an attempt.

    `hold` names a gate that nobody passes for the same time, as for `RetryLater`.

    Raises:
        TypeError: `hold` is no str.
        ValueError: the delay is negative or not finite.
    """

    def __init__(self, delay: Duration, *, hold: str | None = None) -> None:
        self.delay_us = to_us(delay, "delay")
        self.hold = None if hold is None else check_gate(hold)
        super().__init__(f"the task asked for {self.delay_us / 1e6:g} s of rest")


class Cancel(JobSignal):
    """End this job as cancelled, with a reason."""

    def __init__(self, reason: str = "cancelled by the task") -> None:
        self.reason = reason
        super().__init__(reason)


class Reject(JobSignal):
    """Make this job a dead letter at once, with a reason; no attempt is left to it."""

    def __init__(self, reason: str = "rejected by the task") -> None:
        self.reason = reason
        super().__init__(reason)


class SoftTimeout(Exception):  # noqa: N818 -- pinned public name
    """Raised inside a task when its soft time limit has passed, so that it can tidy up."""
