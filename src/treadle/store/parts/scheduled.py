"""The store contract for schedules: what every store promises about them.

A store keeps a schedule as a name, a revision, an instant at which somebody should look at it,
and bytes that it never reads. All that schedules do, from adding one to firing it, is a read and
a `fire`: pure code decides what is to be written, and it is written if nobody was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from treadle.core.job import NewJob

MOVES_MAX = 1_000
"""The most schedules that one call reads or writes."""


class ScheduleRow(Struct, frozen=True):
    """A schedule as it is stored."""

    name: str
    revision: int
    """Rises with each write, from 1."""
    due: int | None
    """When somebody should look at it; None: not until it is changed."""
    body: bytes


class DueSchedules(Struct, frozen=True):
    """The answer of `due_schedules`."""

    rows: Sequence[ScheduleRow]
    """What is due, the longest due first."""
    now: int
    """The store's time by which it is due."""
    next_due: int | None
    """Microseconds from now until the next one that is not due yet; None: there is none."""
    workers: int
    """How many workers are registered."""
    first: str
    """The id of one of them, the same for all who ask; empty when there is none."""


class Unfired(Struct, frozen=True):
    """What is written of a schedule whose jobs were not stored, as others hold their keys."""

    body: bytes
    due: int | None


class Move(Struct, frozen=True):
    """What is to become of one schedule, if it still has this revision."""

    name: str
    revision: int
    """0: there must be no schedule of this name."""
    body: bytes | None
    """None: it is deleted, which needs a revision above 0."""
    due: int | None = None
    jobs: tuple[NewJob, ...] = ()
    """Stored in the same write. One that is stored already is left as it is, and one whose key
    another job holds meets that as in `enqueue`."""
    unfired: Unfired | None = None
    """Written in the place of body and due where each of the jobs met another one."""


class KeepsSchedules(Protocol):
    """The verbs for schedules."""

    async def due_schedules(self, limit: int, *, now: int | None = None) -> DueSchedules:
        """Read what is due, at most `limit`; nothing is written and nobody waits for it."""
        ...

    async def schedules(self, names: Sequence[str]) -> Sequence[ScheduleRow | None]:
        """Read schedules by name, in order; None where there is none."""
        ...

    async def schedules_page(self, after: str, limit: int) -> Sequence[ScheduleRow]:
        """Read schedules in the order of their names' bytes in UTF-8, from after a name on."""
        ...

    async def fire(self, moves: Sequence[Move], *, now: int | None = None) -> Sequence[bool]:
        """Write each move whose schedule has the revision it names, with its jobs.

        One atomic write: each move as a whole or not at all, and all that hold together. True
        where this call did it. Sent again it does nothing, because the revisions have risen.

        Raises:
            ValueError: there are more than MOVES_MAX moves or BATCH_MAX jobs, two moves of one
                name, or a key that cannot be one.
            StoreUnavailable: it is not known whether the moves were written; read them again.
        """
        ...


def check_moves(moves: Sequence[Move], jobs_max: int) -> list[NewJob]:
    """Refuse a batch that is over the bounds; give all its jobs.

    Raises:
        ValueError: as `fire` says.
    """
    if len(moves) > MOVES_MAX:
        raise ValueError(f"one call fires at most {MOVES_MAX:,} schedules, not {len(moves):,}")
    if len({move.name for move in moves}) != len(moves):
        raise ValueError("one call fires a schedule once; two of its moves have the same name")
    jobs = [job for move in moves for job in move.jobs]
    if len(jobs) > jobs_max:
        raise ValueError(f"one call makes at most {jobs_max:,} jobs of ticks, not {len(jobs):,}")
    return jobs


def unfired_of(moves: Sequence[Move], met: Callable[[NewJob], bool]) -> list[tuple[str, Unfired]]:
    """Give what is to be written of the moves whose every job met another one."""
    return [
        (move.name, move.unfired)
        for move in moves
        if move.unfired is not None and move.jobs and all(map(met, move.jobs))
    ]
