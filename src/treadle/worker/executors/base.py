"""What does the worker ask of an executor?

An executor runs attempts and tells how each ended; it knows neither the store nor what state
a job will have. All its methods are called on the loop's thread and return at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from treadle.core.outcome import Outcome
from treadle.worker.attempt import Attempt, CancelReason

Finished = Callable[[Attempt, Outcome], None]
"""Takes the outcome of an attempt: once each, on the loop's thread, in any order.

It may start further attempts at once. It must not raise."""


class Executor(Protocol):
    """One way to run code: on the loop, or in threads."""

    @property
    def running(self) -> Collection[Attempt]:
        """The attempts that were started and whose outcome is not known yet."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Begin an attempt; its outcome goes to `finished`.

        Raises:
            RuntimeError: this process cannot start a thread for it; nothing was begun.
        """
        ...

    def soften(self, attempt: Attempt) -> bool:
        """Raise the soft limit in the task; False when its code cannot be reached yet."""
        ...

    def cancel(self, attempt: Attempt, reason: CancelReason) -> None:
        """Ask an attempt's code to end; its outcome comes when it has.

        One whose code has not begun ends at once, handed back.
        """
        ...

    def settle(self, attempt: Attempt, reason: CancelReason, outcome: Outcome) -> None:
        """Give this outcome to an attempt now, whether or not its code stops.

        Its code is asked to end; what that gives later is ignored, and the attempt counts as
        overdue until then. One whose code has not begun is handed back instead.
        """
        ...

    def stack_of(self, attempt: Attempt) -> str:
        """Write where the code of an attempt stands now; empty when that is not known."""
        ...
