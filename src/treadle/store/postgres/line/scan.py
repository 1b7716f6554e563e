"""The scan marks: where in the queues the next claim begins to look.

A claim enters the index of ready jobs at its best end. While another session holds a transaction
open, the rows that were claimed there cannot be removed, and each claim reads past all of them:
that is how queues in PostgreSQL usually die. So a drain remembers the last job that it claimed of
each queue and priority, and goes on behind those. Jobs that became ready before a mark meanwhile
(another process handed them back, or was slow to commit them) are found by a whole look, every
second, or more rarely where a whole look takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.core.durations import SECOND
from treadle.store.postgres.engine.rows import QUEUE
from treadle.store.postgres.engine.wire import Row

if TYPE_CHECKING:
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement

_LOOK_S: Final = 1.0
_LOOK_FACTOR: Final = 20
"""A whole look may take a twentieth of the time."""
_THOROUGH_S: Final = 10.0
"""How often a whole look of a drain takes rows that other transactions have touched."""
_GATES_MAX: Final = 64
"""Gates that are locked without having been looked for."""
_WARY_S: Final = 1.0
"""How long the short way is not taken after it has been barred twice within such a time."""
_MARKS_MAX: Final = 32
"""Kinds of queue and priority; a drain of more has no marks."""
_PRIORITIES: Final = (-(1 << 15), (1 << 15) - 1)


class Mark(Struct, frozen=True):
    """The last job of its priority that was claimed from a queue."""

    queue: str
    priority: int
    tag: int
    id: bytes


class Piece(Struct, frozen=True):
    """A piece of a queue to look at: priorities from low to high, behind a mark where one is."""

    queue: str
    low: int
    high: int
    tag: int | None = None
    id: bytes = bytes(16)


class Look(Struct, frozen=True):
    """How one claim looks: behind marks, or whole."""

    began: float
    """By the scan's clock (s)."""
    is_whole: bool
    is_thorough: bool = False
    """It takes rows, too, that other transactions have touched."""
    marks: Sequence[Mark] = ()
    is_single: bool = False
    """The simplest claim will do: of one queue, behind one mark."""
    is_guess: bool = False
    """It takes it that no other queue is open."""


class Scan:
    """One store's marks, for the queues that it drains."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Take the clock (s) that rations whole looks."""
        self._clock = clock
        self._marks: dict[tuple[str, int], Mark] = {}
        self._among_others = False
        """There are other open queues than the one that is drained."""
        self._whole_at = 0.0
        self._thorough_at = clock() + _THOROUGH_S
        self.gated = True
        """Whether ready jobs may have gates."""
        self.parking = False
        """Whether the last claim met gates that were shut, and left jobs behind them."""
        self.known: tuple[str, ...] = ()
        """The gates of the last claim, while it left nothing behind that it had not seen."""
        self._known_until = 0
        self.common: bytes | None = None
        """The gates of a job of the last claim; most others carry the same."""
        self._calm = False
        self._calm_from = clock()
        self._deceived_at = clock() - _WARY_S
        self._has_news = False
        self._trusts_news = False

    def hear(self) -> None:
        """Note that there may be work."""
        self._has_news = True

    def use_news(self) -> bool | None:
        """Use up the news: None where there were none, else whether they will do for a look.

        They do after news that have brought jobs. Where many workers hear the same, those who come
        too late look before they claim, which costs less, until they find some in time again.
        """
        heard, self._has_news = self._has_news, False
        return self._trusts_news if heard else None

    def judge_news(self, *, brought: bool) -> None:
        """Note whether the news that were used have brought jobs."""
        self._trusts_news = brought

    def begin(self, settlements: Sequence[Settlement], demand: Demand) -> Look:
        """Tell how to look; what comes of it must be told by `saw`."""
        began = self._clock()
        # Without settlements nothing is drained, and what they hand back may lie before a mark.
        draining = bool(settlements) and all(s.state.is_terminal for s in settlements)
        if not draining:
            self._marks = {}
            self._among_others = False
        marks = _asked_for(demand, self._marks.values())
        if not marks or began >= self._whole_at:
            # The marks of what a whole look does not reach stay; it passes other queues by.
            self._marks = {(mark.queue, mark.priority): mark for mark in marks}
            return Look(began, is_whole=True, is_thorough=began >= self._thorough_at)
        takes_any = demand.shares[0].queue is None
        alone = len(marks) == len(demand.shares) == 1 and not (takes_any and self._among_others)
        return Look(
            began,
            is_whole=False,
            marks=marks,
            is_single=alone,
            is_guess=alone and takes_any,
        )

    def looked(self, gated: bool, *, peeked: bool) -> bool:  # noqa: FBT001 -- as it was read
        """Note whether ready jobs have gates; tell whether a claim that did not ask left some."""
        self.gated = gated
        return gated and not peeked

    def remember(self, gates: tuple[str, ...], now: int) -> None:
        """Note the gates of a claim, to be taken for those of the next one.

        A job may say something new of a gate that is known, so a second later it is looked for.
        """
        if gates != self.known:
            self._known_until = now + SECOND
        is_old = now >= self._known_until
        self.known = () if self.parking or is_old or len(gates) > _GATES_MAX else gates

    @property
    def calm(self) -> bool:
        """Whether the gates of the last claim had room for the next one, and nobody waited."""
        return self._calm and self._clock() >= self._calm_from

    def felt(self, *, calm: bool, deceived: bool = False) -> None:
        """Note whether they had; who is deceived about it time and again asks in full for long."""
        self._calm = calm
        if deceived:
            now = self._clock()
            if now < self._deceived_at + _WARY_S:
                self._calm_from = now + _WARY_S
            self._deceived_at = now

    def saw(self, look: Look, rows: Sequence[Row], wanted: int) -> None:
        """Learn from what a claim gave; each row is (priority, tag, id, ...), the best first."""
        if look.is_whole:
            took = self._clock() - look.began
            self._whole_at = self._clock() + max(_LOOK_S, _LOOK_FACTOR * took)
        if look.is_thorough:
            self._thorough_at = self._clock() + _THOROUGH_S
        if look.is_guess and not rows:
            # Nothing behind the mark, or more than one queue is open: the next look knows.
            self._among_others = True
        elif len(rows) < wanted:
            self._marks = {}
        else:
            last = {(row[QUEUE], row[0]): row for row in rows}
            for (queue, priority), row in last.items():
                if row[1]:
                    # Of tenants' jobs a later one may stand before this one.
                    self._marks.pop((queue, priority), None)
                else:
                    self._marks[queue, priority] = Mark(queue, priority, row[1], row[2])
            if len(self._marks) > _MARKS_MAX:
                self._marks = {}


def _asked_for(demand: Demand, marks: Iterable[Mark]) -> list[Mark]:
    names = {share.queue for share in demand.shares}
    return [mark for mark in marks if None in names or mark.queue in names]


def pieces(marks: Sequence[Mark], queues: Iterable[str]) -> list[Piece]:
    """Cut queues at their marks: what is behind each, and all of the other priorities."""
    found = []
    for queue in queues:
        high = _PRIORITIES[1]
        own = [mark for mark in marks if mark.queue == queue]
        for mark in sorted(own, key=_priority, reverse=True):
            if mark.priority < high:
                found.append(Piece(queue, mark.priority + 1, high))
            found.append(Piece(queue, mark.priority, mark.priority, mark.tag, mark.id))
            high = mark.priority - 1
        if high >= _PRIORITIES[0]:
            found.append(Piece(queue, _PRIORITIES[0], high))
    return found


def _priority(mark: Mark) -> int:
    return mark.priority
