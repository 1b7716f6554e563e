"""What public calls say of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Self

from msgspec import Struct

from treadle.core.durations import as_datetime
from treadle.core.ids import id_text
from treadle.core.schedule.record import Misfire, Overlap, Pause, Schedule
from treadle.core.schedule.ticks import trigger_of
from treadle.core.when import zones
from treadle.core.when.cron import Cron
from treadle.core.when.triggers import AnyTrigger
from treadle.core.when.words import describe

_MOMENT: Final = timedelta(microseconds=1)


class PauseInfo(Struct, frozen=True):
    """Why a schedule stands still."""

    at: datetime
    note: str
    by: str

    @classmethod
    def of(cls, pause: Pause) -> Self:
        """Make it from what is stored."""
        return cls(as_datetime(pause.at), pause.note, pause.by)


class ScheduleInfo(Struct, frozen=True):
    """A schedule as it was when it was read."""

    name: str
    task: str
    trigger: AnyTrigger
    words: str
    """The trigger in words."""
    queue: str
    declared: bool
    """It was declared in code."""
    paused: PauseInfo | None
    next: datetime | None
    """When it is looked at next: its next tick, unless a tick waits for a job to end."""
    over: bool
    """It has no tick any more."""
    sealed: bool
    """A `treadle move` that has not ended holds it between two stores: it does not fire."""
    last_tick: datetime | None
    last_job: str | None
    """The id of the last job."""
    fired: int
    missed: int
    """Ticks that became no jobs: too late, overlapping or skipped; a run of them counts once
    where `misfire` takes the newest alone."""
    waiting: int
    """Ticks that wait for the job before them to end."""
    skipping: int
    """How many of the next ticks become no jobs."""
    remaining: int | None
    misfire: Misfire
    overlap: Overlap

    @classmethod
    def of(cls, schedule: Schedule, due: int | None) -> Self:
        """Make it from what is stored."""
        trigger, plan = trigger_of(schedule.plan.trigger), schedule.plan
        paused = schedule.paused
        return cls(
            name=schedule.name,
            task=plan.task,
            trigger=trigger,
            words=describe(trigger),
            queue=plan.queue,
            declared=schedule.declared,
            paused=None if paused is None else PauseInfo.of(paused),
            next=None if due is None else as_datetime(due),
            over=schedule.over,
            sealed=schedule.sealed is not None,
            last_tick=None if schedule.tick is None else as_datetime(schedule.tick),
            last_job=None if schedule.job is None else id_text(schedule.job),
            fired=schedule.fired,
            missed=schedule.missed,
            waiting=len(schedule.waiting),
            skipping=schedule.skip,
            remaining=schedule.remaining,
            misfire=plan.misfire,
            overlap=plan.overlap,
        )


class Tick(Struct, frozen=True):
    """One tick that is to come."""

    at: datetime
    """In the trigger's time zone."""
    mark: str
    """What clock changes do to it; empty for most."""


class Backfilled(Struct, frozen=True):
    """What a backfill did."""

    made: int
    """Jobs that were made."""
    there: int
    """Ticks that had a job already."""
    until: datetime
    """Where it came to: not later than its end. Begin here to go on."""
    complete: bool


class SyncDiff(Struct, frozen=True):
    """What a synchronisation changed."""

    added: Sequence[str] = ()
    changed: Sequence[str] = ()
    removed: Sequence[str] = ()
    left_alone: str = ""
    """Why nothing was changed, when another version of the code has the say."""

    def __bool__(self) -> bool:
        """Tell whether anything was changed."""
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        kinds = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        said = [f"{kind}: {', '.join(names)}" for kind, names in kinds if names]
        return "; ".join(said) or self.left_alone or "nothing to change"


def ticks_of(trigger: AnyTrigger, after: datetime, count: int) -> list[Tick]:
    """Give the next ticks with their marks."""
    return [Tick(at, _mark(trigger, at)) for at in trigger.next(after, count)]


def _mark(trigger: AnyTrigger, at: datetime) -> str:
    """Say what a clock change does to a tick."""
    if not isinstance(trigger, Cron):
        return ""
    zone = zones.load_zone(trigger.tz)
    here = at.astimezone(zone)
    before = (at - _MOMENT).astimezone(zone).utcoffset()
    now = here.utcoffset()
    if before is not None and now is not None and now > before and not trigger.shows(here):
        return "moved: clocks skip its time"
    read = zones.offsets(here.replace(tzinfo=None), zone)
    if read.plain or read.gap:
        return ""
    return "the second time that clocks show it" if here.fold else "clocks show it twice: the first"
