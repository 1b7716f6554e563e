"""What has to be written so that what is stored is what the code declares.

A schedule that is removed as nobody declares it leaves what it had come to: its pause, its counts
and its place. Two programs whose modules have one name cannot be told apart, so one that was away
while the other started finds its schedules removed; when it declares them again they go on from
there, as if nobody had removed them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct, json
from msgspec.structs import replace

from treadle.client.schedules.changes import readable
from treadle.client.schedules.options import new_incarnation
from treadle.client.schedules.views import SyncDiff
from treadle.core.durations import DAY
from treadle.core.schedule.advance import Step, begin, planned
from treadle.core.schedule.record import Schedule, write_schedule
from treadle.store.parts.scheduled import Move, ScheduleRow

if TYPE_CHECKING:
    from treadle.client.schedules.declare import Declared

PLACE_KEPT: Final = DAY
"""For so long one that comes back makes up for the ticks that it has missed, by its policy."""
_PREFIX: Final = " gone "


class Gone(Struct, frozen=True):
    """A schedule that was removed as nobody declared it."""

    at: int
    schedule: Schedule


_decode: Final = json.Decoder(Gone)


def gone_name(name: str) -> str:
    """Give the name of the row that keeps what a removed schedule had come to."""
    return f"{_PREFIX}{name}"


class Stored(Struct, frozen=True):
    """What is stored under the names that a synchronisation is about."""

    rows: Mapping[str, ScheduleRow | None]
    gone: Mapping[str, ScheduleRow | None]
    back: Collection[str]
    """Names that were removed as nobody declared them, and not since."""
    keeps: bool
    """What is removed now may come back."""
    now: int


class Changes:
    """The changes that make what is stored what is declared."""

    def __init__(self, declared: Mapping[str, Declared], stored: Stored) -> None:
        """Take what is declared and what is stored."""
        self.moves: list[Move] = []
        self._stored = stored
        self._said: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
        for name in stored.rows:
            change = self._change(name, declared.get(name))
            if change is not None:
                kind, move = change
                self._said[kind].append(name)
                self.moves.append(move)

    def diff(self, kept: Collection[str], unused: Collection[str]) -> SyncDiff:
        """Say what was changed, what stays for others, and what of that nobody declares."""
        said = self._said
        return SyncDiff(
            said["added"],
            said["changed"],
            said["removed"],
            kept=sorted(kept),
            unused=sorted(unused),
        )

    def _change(self, name: str, wanted: Declared | None) -> tuple[str, Move] | None:
        """Decide about one name; None when it is as it should be."""
        row, now = self._stored.rows[name], self._stored.now
        old = None if row is None else readable(row)
        revision = 0 if row is None else row.revision
        if wanted is None:
            # One that was made anew at run time under this name belongs to whoever made it.
            # One that is on its way to another store may lie there already.
            if old is None or not old.declared or old.sealed is not None:
                return None
            self._remember(name, Gone(now, old) if self._stored.keeps else None)
            return "removed", Move(name, revision, None)
        if old is None:
            return "added", _move(revision, self._new(wanted))
        if old.plan == wanted.plan and old.declared:
            return None
        changed = replace(old, plan=wanted.plan, declared=True, waiting=())
        step = planned(changed, now) if old.plan.trigger == wanted.plan.trigger else None
        return "changed", _move(revision, step or begin(changed, now))

    def _remember(self, name: str, gone: Gone | None) -> None:
        """Keep, or forget, what a schedule had come to."""
        row = self._stored.gone.get(name)
        if gone is not None:
            body = json.encode(gone)
            self.moves.append(Move(gone_name(name), 0 if row is None else row.revision, body))
        elif row is not None:
            self.moves.append(Move(row.name, row.revision, None))

    def _new(self, wanted: Declared) -> Step:
        """Make a schedule, or take one up again that was removed while nobody declared it."""
        now, name = self._stored.now, wanted.name
        row = self._stored.gone.get(name)
        gone = None if row is None or name not in self._stored.back else _decode.decode(row.body)
        self._remember(name, None)
        if gone is None:
            made = Schedule(
                name=name,
                plan=wanted.plan,
                incarnation=new_incarnation(),
                cursor=now,
                declared=True,
            )
            return begin(made, now)
        again = replace(gone.schedule, plan=wanted.plan, declared=True)
        same = gone.schedule.plan.trigger == wanted.plan.trigger
        if same and now - gone.at < PLACE_KEPT:
            return planned(again, now)
        return begin(replace(again, waiting=()), now)


def _move(revision: int, step: Step) -> Move:
    schedule = step.schedule
    return Move(schedule.name, revision, write_schedule(schedule), step.due)
