"""Waiting until the store says so, with bars that move, and never for longer than allowed.

The whole run has one deadline. When something does not come, the error says what was waited
for and how the queues stood, so that a slow day can be told from a fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from examples.orders.children import Children
from examples.orders.screen import Counts, Screen, ended
from treadle import Treadle

LOOK_S: Final = 0.1


class TookTooLongError(RuntimeError):
    """Something did not happen in time."""


class Watch:
    """Looks at the store on behalf of the demo."""

    def __init__(self, app: Treadle, children: Children, screen: Screen, seconds: float) -> None:
        self._app = app
        self._children = children
        self._screen = screen
        self._until = time.monotonic() + seconds

    def counts(self) -> Counts:
        """Count the jobs of each queue by state."""
        return {queue.name: queue.counts for queue in self._app.queues.list()}

    def until(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        """Wait without bars until `done()`.

        Raises:
            TookTooLongError: it has not come within `seconds`, or the whole run's time is over.
            ChildError: a worker has ended by itself.
        """
        limit = min(time.monotonic() + seconds, self._until)
        while not done():
            if time.monotonic() > limit:
                raise TookTooLongError(
                    f"waited in vain for {what}; the queues: {self._plain_counts()}"
                )
            self._children.check_workers()
            time.sleep(LOOK_S)

    def until_done(self, totals: Mapping[str, int], seconds: float) -> None:
        """Show bars until each queue has as many ended jobs as its total says."""
        self.until_so(
            f"the end of {sum(totals.values()):,} jobs",
            totals,
            lambda counts: all(ended(counts, name) >= total for name, total in totals.items()),
            seconds,
        )

    def until_so(
        self,
        what: str,
        totals: Mapping[str, int],
        done: Callable[[Counts], bool],
        seconds: float,
    ) -> None:
        """Show bars until `done(counts)`; fails as `until` does."""
        with self._screen.bars(totals) as bars:

            def look() -> bool:
                counts = self.counts()
                bars.show(counts)
                return done(counts)

            self.until(what, look, seconds)

    def _plain_counts(self) -> str:
        return ", ".join(f"{name} {dict(states)}" for name, states in self.counts().items())
