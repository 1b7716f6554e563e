"""Duty: when does this worker look at the schedules next?

Every worker may fire everything, so nothing hangs on one of them; but when all looked at each
due instant, a fleet of a hundred would ask the store a hundred times for one tick. So one worker,
the first by its id, is *on duty*: it looks at the very instant at which something is due, and
once a second. The others look rarely, about two of them in three seconds however many they are.
One that finds something overdue fires it and is on duty beside the first for a while: a worker
on duty that died is stood in for within a second or two.
"""

from __future__ import annotations

import random
from typing import Final

from treadle.worker.firing.firing import Look

REST_S: Final = 1.0
"""How often the worker on duty looks while nothing is due."""
SHARE_S: Final = 1.5
"""The others look every so many seconds for each worker there is, so all of them together at
about this pace."""
REST_MAX_S: Final = 120.0
GAP_S: Final = 0.01
"""Between two looks, so that ticks that are close together are fired together."""
MORE_S: Final = 0.001
"""Between two pages of what is due: the line starts the first one's jobs meanwhile."""
OVERDUE: Final = 400_000
"""Microseconds after which a worker that is not on duty fires."""
STAND_IN_S: Final = 20.0
"""For so long is one who fired something overdue on duty, too: a dead worker is gone by then."""


class Duty:
    """One worker's share of looking."""

    def __init__(self) -> None:
        self._until = 0.0
        """Until when this worker stands in for the first one, by the loop's clock."""
        self.on = True
        """At first, for nobody knows yet who the others are."""

    @property
    def patience(self) -> int:
        """How long something must be due before this worker fires it, in microseconds."""
        return 0 if self.on else OVERDUE

    def rest(self, worker: str, look: Look, now_s: float) -> float:
        """Take what a look found; give how many seconds to rest."""
        first = look.first in ("", worker)
        if look.won and not first and look.late >= OVERDUE:
            self._until = now_s + STAND_IN_S
        self.on = first or now_s < self._until
        if look.more and self.on:
            return MORE_S
        next_s = None if look.next_in is None else look.next_in / 1e6
        if self.on:
            # Never before it: a look that comes too early finds nothing and costs another one.
            longest = REST_S * random.uniform(1.0, 1.25)  # noqa: S311 -- spreads, guards nothing
            return max(GAP_S, longest if next_s is None else min(next_s + 0.000_5, longest))
        share = SHARE_S * max(1, look.workers)
        return min(REST_MAX_S, share * random.uniform(0.5, 1.5))  # noqa: S311 -- as above
