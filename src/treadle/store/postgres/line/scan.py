"""The scan mark: where in a queue the next claim begins to look.

A claim enters the index of ready jobs at its best end. While another session holds a transaction
open, the rows that were claimed there cannot be removed, and each claim reads past all of them:
that is how queues in PostgreSQL usually die. So a drain remembers the last job that it claimed
and goes on behind it. Jobs that became ready before the mark meanwhile (another process handed
them back, or was slow to commit them) are found by a whole look, every second, or more rarely
where a whole look takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.store.postgres.engine.rows import QUEUE
from treadle.store.postgres.engine.wire import Row

if TYPE_CHECKING:
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement

_LOOK_S: Final = 1.0
_LOOK_FACTOR: Final = 20
"""A whole look may take a twentieth of the time."""


class Mark(Struct, frozen=True):
    """The last job that was claimed from a queue."""

    queue: str
    priority: int
    tag: int
    id: bytes


class Scan:
    """One store's mark, for the queue that it drains."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Take the clock (s) that rations whole looks."""
        self._clock = clock
        self._mark: Mark | None = None
        self._whole_at = 0.0
        self._began = 0.0
        self.gated = True
        """Whether ready jobs may have gates."""
        self.parking = False
        """Whether the last claim met gates that were shut, and left jobs behind them."""

    def begin(self, settlements: Sequence[Settlement], demand: Demand | None) -> Mark | None:
        """Give the mark to go on from; None for a whole look."""
        self._began = self._clock()
        mark = self._mark
        if mark is None or demand is None:
            return None
        # Without settlements nothing is drained, and what they hand back may lie before the mark.
        draining = bool(settlements) and all(s.state.is_terminal for s in settlements)
        alone = all(step.queue in (None, mark.queue) for step in demand.steps)
        if not (draining and alone) or self._began >= self._whole_at:
            self._mark = None
        return self._mark

    def looked(self, gated: bool, *, peeked: bool) -> bool:  # noqa: FBT001 -- as it was read
        """Note whether ready jobs have gates; tell whether a claim that did not ask left some."""
        self.gated = gated
        return gated and not peeked

    def saw(self, rows: Sequence[Row], wanted: int) -> None:
        """Learn from what a claim gave, the best first; each row is (priority, tag, id, ...)."""
        if self._mark is None:
            took = self._clock() - self._began
            self._whole_at = self._clock() + max(_LOOK_S, _LOOK_FACTOR * took)
        self._mark = None
        if rows and len(rows) >= wanted and rows[0][0] == rows[-1][0]:
            priority, tag, id_, _, _, queue, *_ = rows[-1]
            if all(row[QUEUE] == queue for row in rows):
                self._mark = Mark(queue, priority, tag, id_)
