"""Moving schedules: each leaves one store for another one, and no tick is fired in both.

A schedule is *sealed* here, written sealed there, deleted here and opened there, each by the
compare-and-set `fire`. A sealed one has no instant at which to look at it, and what changes it
leaves the seal on. What a step has done is read, never taken from its answer: a `fire` that is
sent again says False. Ticks that come meanwhile lie behind the schedule's cursor and are fired
by the other store, by the misfire policy, as after a time without workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from treadle.client.schedules.changes import TRIES, contended, move_with, readable
from treadle.client.schedules.sync import is_record
from treadle.core import fault
from treadle.core.errors import ScheduleError
from treadle.core.schedule.advance import Step, planned
from treadle.core.schedule.record import Schedule, Sealed
from treadle.core.schedule.ticks import trigger_of
from treadle.core.when.triggers import Every
from treadle.store.parts.scheduled import Move, ScheduleRow
from treadle.transit.patience import patiently

if TYPE_CHECKING:
    from treadle.store.contract import Store

PAGE: Final = 200
NAMES_SHOWN: Final = 200
"""Schedules that are named, of those moved and of those refused; the others are counted."""

_UNREADABLE: Final = "its record cannot be read"
_OTHERS: Final = "another move has sealed it: give that command again, with its --from and --to"
_FOREIGN: Final = (
    "another schedule of this name is in the new store, and not both are declared in code: "
    "remove one of them with `treadle schedules remove`"
)
_TWINS: Final = (
    "the same schedule is in the new store already: both names lead to one store, or it was "
    "copied; if so, remove it in one of them with `treadle schedules remove`"
)
_BUSY: Final = "it was changed by others all the time: give the same command again"


class Moved(Struct):
    """What became of the schedules."""

    count: int = 0
    names: list[str] = field(default_factory=list)
    refused: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)
    """(name, why)."""

    def add(self, name: str) -> None:
        """Count one that has moved, or would."""
        self.count += 1
        if len(self.names) < NAMES_SHOWN:
            self.names.append(name)

    def refuse(self, name: str, why: str) -> None:
        """Count one that stays."""
        self.refused += 1
        if len(self.refusals) < NAMES_SHOWN:
            self.refusals.append((name, why))


Rows = dict[str, ScheduleRow | None]


class ScheduleMove:
    """The schedules' part of one move; both stores are open."""

    def __init__(self, source: Store, target: Store, move: str, moved: Moved) -> None:
        """Take the stores, the move's name, and where to count."""
        self._source, self._target = source, target
        self._move = move
        self._moved = moved

    async def survey(self, *, there: bool) -> None:
        """Note what would move; `there` tells whether the other store can be asked."""
        after = ""
        while page := await patiently(self._source.schedules_page, after, PAGE):
            after = page[-1].name
            names = [row.name for row in page if not is_record(row.name)]
            blank: Rows = dict.fromkeys(names)
            target = await _rows(self._target, names) if there else blank
            for name in self._wanted({row.name: row for row in page}, target, names):
                self._moved.add(name)

    async def run(self) -> None:
        """Move all schedules, and end what a move before has begun.

        Raises:
            StoreUnavailable: a store was away for too long; the same move goes on from there.
        """
        await self._arrivals()
        after = ""
        while page := await patiently(self._source.schedules_page, after, PAGE):
            after = page[-1].name
            await self._page([row.name for row in page if not is_record(row.name)])
        await self._records()

    async def _arrivals(self) -> None:
        """Open what a move before has written there and deleted here."""
        after = ""
        while page := await patiently(self._target.schedules_page, after, PAGE):
            after = page[-1].name
            mine = [row.name for row in page if self._sealed(row, "in") is not None]
            for name in await self._open(mine):
                self._moved.add(name)

    async def _page(self, names: Sequence[str]) -> None:
        """Move one page, again for those that others changed meanwhile."""
        left = list(names)
        for _ in range(TRIES):
            here, there = await _rows(self._source, left), await _rows(self._target, left)
            wanted = self._wanted(here, there, left)
            await self._unseal(self._source, [n for n in left if n not in wanted], "out")
            left = wanted
            if not left:
                return
            await self._seal(here, left)
            fault.point("schedules.after_seal")
            await self._adopt(left)
            fault.point("schedules.after_adopt")
            await self._drop(left)
            fault.point("schedules.after_drop")
            opened = await self._open(left)
            fault.point("schedules.after_open")
            for name in opened:
                self._moved.add(name)
            left = [name for name in left if name not in opened]
        for name in left:
            self._moved.refuse(name, _BUSY)

    def _wanted(self, here: Rows, there: Rows, names: Sequence[str]) -> list[str]:
        """Give the schedules that can go, of those that are still here; refuse the others."""
        wanted = []
        for name in names:
            row = here[name]
            if row is None:
                continue
            why = self._refuses(row, there[name])
            if why is None:
                wanted.append(name)
            else:
                self._moved.refuse(name, why)
        return wanted

    def _refuses(self, row: ScheduleRow, other: ScheduleRow | None) -> str | None:
        schedule = readable(row)
        if schedule is None:
            return _UNREADABLE
        if schedule.sealed is not None and self._sealed(row, "out") is None:
            return _OTHERS
        return None if other is None else self._clash(schedule, other)

    def _clash(self, schedule: Schedule, other: ScheduleRow) -> str | None:
        """Say why a schedule cannot take the place of the one of its name there."""
        if self._sealed(other, "in") is not None:
            return None
        old = readable(other)
        if old is not None and old.incarnation == schedule.incarnation:
            return _TWINS
        if old is not None and old.sealed is not None:
            return _OTHERS
        return None if old is not None and old.declared and schedule.declared else _FOREIGN

    async def _seal(self, here: Rows, names: Sequence[str]) -> None:
        moves = []
        for name in names:
            row = here[name]
            schedule = None if row is None else readable(row)
            if row is None or schedule is None or schedule.sealed is not None:
                continue
            kept = replace(_with_due(schedule, row.due), sealed=Sealed("out", self._move))
            moves.append(move_with(name, row.revision, Step(kept), ()))
        await patiently(self._source.fire, moves)

    async def _adopt(self, names: Sequence[str]) -> None:
        """Write there what is sealed here, where that has not been done."""
        here, there = await _rows(self._source, names), await _rows(self._target, names)
        moves = []
        for name in names:
            row, other = here[name], there[name]
            schedule = None if row is None else self._sealed(row, "out")
            if row is None or schedule is None:
                continue
            copy = self._copy(schedule, row, other)
            if copy is not None:
                moves.append(move_with(name, 0 if other is None else other.revision, copy, ()))
                continue
            if other is None or self._sealed(other, "in") is None:
                # Somebody made one of this name there meanwhile: this one goes on here.
                await self._unseal(self._source, [name], "out")
        await patiently(self._target.fire, moves)

    def _copy(self, schedule: Schedule, row: ScheduleRow, other: ScheduleRow | None) -> Step | None:
        """Give what is to be written there; None where it is written, or cannot be."""
        before = None
        if other is not None:
            mine = self._sealed(other, "in")
            if mine is None and self._refuses(row, other) is not None:
                return None
            if mine is not None and mine.sealed is not None:
                if mine.incarnation == schedule.incarnation and mine.sealed.copied == row.revision:
                    return None
                before = mine.sealed.before
            else:
                before = readable(other)
        seal = Sealed("in", self._move, row.revision, before)
        merged = schedule if before is None else _merged(schedule, before)
        return Step(replace(merged, sealed=seal))

    async def _drop(self, names: Sequence[str]) -> None:
        """Delete here what lies there as it is here."""
        here, there = await _rows(self._source, names), await _rows(self._target, names)
        moves = []
        for name in names:
            row, other = here[name], there[name]
            if row is None or other is None or self._sealed(row, "out") is None:
                continue
            copy = self._sealed(other, "in")
            if copy is not None and copy.sealed is not None and copy.sealed.copied == row.revision:
                moves.append(Move(name, row.revision, None))
        await patiently(self._source.fire, moves)

    async def _open(self, names: Sequence[str]) -> list[str]:
        """Open there what is gone from here; give what is open there now."""
        here, there = await _rows(self._source, names), await _rows(self._target, names)
        gone = []
        for name in names:
            row, other = here[name], there[name]
            copy = None if other is None else self._sealed(other, "in")
            # One of another incarnation was made here after this one had gone.
            left = None if row is None else readable(row)
            if copy is not None and (
                row is None or (left is not None and left.incarnation != copy.incarnation)
            ):
                gone.append(name)
        await self._unseal(self._target, gone, "in")
        return gone

    async def _unseal(self, store: Store, names: Sequence[str], side: str) -> None:
        """Give schedules their next look, by the store's own time.

        Raises:
            StoreUnavailable: others changed one each time; the same move goes on from there.
        """
        left = list(names)
        for _ in range(TRIES):
            if not left:
                return
            rows = await _rows(store, left)
            now = (await patiently(store.due_schedules, 0)).now
            moves = []
            for name in left:
                row = rows[name]
                schedule = None if row is None else self._sealed(row, side)
                if row is not None and schedule is not None:
                    moves.append(move_with(name, row.revision, _opened(schedule, now), ()))
            await patiently(store.fire, moves)
            left = [move.name for move in moves]
        raise contended(left[0])

    async def _records(self) -> None:
        """Copy what is remembered of the code's declarations, where nothing is known there.

        Here it stays: by it a worker that starts again does not declare anew what has left.
        """
        after = ""
        while page := await patiently(self._source.schedules_page, after, PAGE):
            after = page[-1].name
            moves = [Move(row.name, 0, row.body) for row in page if is_record(row.name)]
            await patiently(self._target.fire, moves)

    def _sealed(self, row: ScheduleRow, side: str) -> Schedule | None:
        """Read a schedule that this very move has sealed on this side; None for any other."""
        schedule = None if is_record(row.name) else readable(row)
        seal = None if schedule is None else schedule.sealed
        return schedule if seal and (seal.side, seal.move) == (side, self._move) else None


async def _rows(store: Store, names: Sequence[str]) -> Rows:
    rows = await patiently(store.schedules, list(names))
    return dict(zip(names, rows, strict=True))


def _with_due(schedule: Schedule, due: int | None) -> Schedule:
    """Keep the next tick of a fixed delay, which hangs on a job that does not go along."""
    try:
        trigger = trigger_of(schedule.plan.trigger)
    except ScheduleError:
        return schedule  # It stands still here, and will there.
    if due is None or not (isinstance(trigger, Every) and trigger.after == "end"):
        return schedule
    return replace(schedule, cursor=max(schedule.cursor, due - trigger.period_us))


def _opened(schedule: Schedule, now: int) -> Step:
    opened = replace(schedule, sealed=None)
    try:
        return planned(opened, now)
    except ScheduleError:
        return Step(opened)


def _merged(moved: Schedule, old: Schedule) -> Schedule:
    """Make one schedule of two that code declares, here and there.

    The plan is that of the code there, which is newer; counts add up; of the rest the moved one
    has the say. A tick that either of them has decided about is not looked at again.
    """
    alike = moved.plan.trigger == old.plan.trigger
    decided = old.fired > 0 or old.missed > 0 or not alike
    later = (old.tick or 0) > (moved.tick or 0)
    return replace(
        moved,
        plan=old.plan,
        cursor=max(moved.cursor, old.cursor) if decided else moved.cursor,
        paused=moved.paused or old.paused,
        skip=max(moved.skip, old.skip),
        waiting=tuple(sorted({*moved.waiting, *old.waiting})) if alike else old.waiting,
        job=old.job if later else moved.job,
        tick=old.tick if later else moved.tick,
        fired=moved.fired + old.fired,
        missed=moved.missed + old.missed,
    )
