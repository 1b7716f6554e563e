"""advance: which ticks of a schedule become jobs now, and when is it looked at again?

The one place that decides about ticks: a pure function of the schedule, the store's now, and
what became of its last job. The caller writes the answer by compare-and-set, so that of any
number of workers that come to it one is heard.

- *Misfire*: of several ticks that are due, `one` takes the newest, `all` takes each, `skip` takes
  the newest when it is on time (within the grace, else within a minute) and drops the others.
  A tick that is later than the grace is dropped by every policy.
- *Overlap*: what a tick does while the job before it has not ended.
- *A clock that steps back* meets the cursor: what was looked at is not looked at again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from treadle.core.durations import MINUTE, SECOND
from treadle.core.schedule.record import Schedule
from treadle.core.schedule.ticks import (
    TICKS_MAX,
    due_ticks,
    next_tick,
    ticks_between,
    trigger_of,
)
from treadle.core.when.triggers import AnyTrigger, Every

LOOK_AGAIN: Final = SECOND
"""While a job is waited for, how often it is looked at."""
WAITING_MAX: Final = 1_000
"""Ticks that wait for the job before them, at most; further ones are dropped."""
ON_TIME: Final = MINUTE
"""What `misfire="skip"` takes for on time when there is no grace."""


class Last(Struct, frozen=True):
    """What became of a schedule's last job."""

    live: bool = False
    """It has not ended."""
    ended_at: int | None = None
    """When it ended; None when that is not known, as after it was pruned."""


class Advanced(Struct, frozen=True):
    """What is to be written."""

    schedule: Schedule
    ticks: tuple[int, ...] = ()
    """The ticks that become jobs, in order."""
    due: int | None = None
    """When it is to be looked at again; None: not until somebody changes it."""
    cancel: bool = False
    """The last job is to be cancelled before."""
    unfired: Advanced | None = None
    """What is to be written instead when none of the ticks became a job, as others hold the key."""


def begin(schedule: Schedule, now: int) -> Advanced:
    """Give a schedule that is new, resumed or has a new trigger: earlier ticks are not its own."""
    return planned(replace(schedule, cursor=max(schedule.cursor, now - 1)), now)


def planned(schedule: Schedule, now: int) -> Advanced:
    """Find when to look at a schedule that was changed; its cursor stays where it is."""
    return _rest(replace(schedule, over=False), now)


def advance(schedule: Schedule, now: int, last: Last) -> Advanced:
    """Decide about what is due; with nothing due only the next look is found."""
    if schedule.paused is not None or schedule.over or schedule.sealed is not None:
        return Advanced(schedule)
    trigger = trigger_of(schedule.plan.trigger)
    following: int | None = None
    if isinstance(trigger, Every) and trigger.after == "end":
        due_now, schedule = _after_the_end(schedule, trigger, now, last)
        if due_now is None:
            return _rest(schedule, now, live=last.live, ended_at=last.ended_at)
        due = due_now
    else:
        due, schedule, following = _due(schedule, trigger, now)
    due, schedule = _skipped(due, schedule)
    return _overlapped(schedule, due, _Moment(now, last, following))


class _Moment(NamedTuple):
    """By what a schedule is decided about."""

    now: int
    last: Last
    following: int | None = None
    """The first tick behind the cursor, where it is known already: to find it costs."""


def _due(
    schedule: Schedule, trigger: AnyTrigger, now: int
) -> tuple[list[int], Schedule, int | None]:
    """Give the ticks that are due by the misfire policy, and move the cursor behind them."""
    plan = schedule.plan
    until = now if plan.ends is None else min(now, plan.ends)
    after = schedule.cursor if plan.starts is None else max(schedule.cursor, plan.starts - 1)
    if plan.grace is not None and after < now - plan.grace - 1:
        latest = min(until, now - plan.grace - 1)
        late = due_ticks(trigger, after, latest).first is not None
        schedule = replace(schedule, missed=schedule.missed + late)
        after = now - plan.grace - 1
    if plan.misfire == "all":
        found = ticks_between(trigger, after, until, TICKS_MAX)
        # A full page is not the end: what follows is looked at next.
        cursor = found[-1] if len(found) == TICKS_MAX else now
        return found, replace(schedule, cursor=max(schedule.cursor, cursor)), None
    first, newest, following = due_ticks(trigger, after, until)
    moved = replace(
        schedule,
        cursor=max(schedule.cursor, now),
        missed=schedule.missed + (first != newest),
    )
    if until != now or moved.cursor != now:
        following = None
    if newest is None:
        return [], moved, following
    late = now - newest > (ON_TIME if plan.grace is None else plan.grace)
    if plan.misfire == "skip" and late:
        return [], replace(moved, missed=moved.missed + 1), following
    return [newest], moved, following


def _after_the_end(
    schedule: Schedule, trigger: Every, now: int, last: Last
) -> tuple[list[int] | None, Schedule]:
    """Give the tick of a fixed delay; None while it is not due."""
    tick = _end_tick(schedule, trigger, last)
    if last.live or tick > now or (schedule.plan.ends is not None and tick > schedule.plan.ends):
        return None, schedule
    return [tick], replace(schedule, cursor=max(schedule.cursor, now))


def _end_tick(schedule: Schedule, trigger: Every, last: Last) -> int:
    begun = schedule.cursor if last.ended_at is None else max(schedule.cursor, last.ended_at)
    return max(begun + trigger.period_us, schedule.plan.starts or 0)


def _skipped(due: list[int], schedule: Schedule) -> tuple[list[int], Schedule]:
    """Leave out the ticks that somebody said to skip."""
    count = min(schedule.skip, len(due))
    if not count:
        return due, schedule
    skipped = replace(schedule, skip=schedule.skip - count, missed=schedule.missed + count)
    return due[count:], skipped


def _overlapped(schedule: Schedule, due: list[int], moment: _Moment) -> Advanced:
    """Apply the overlap policy to what is due and to what has waited."""
    overlap, last = schedule.plan.overlap, moment.last
    if overlap in ("allow", "cancel_running"):
        fire = _limited(schedule, due if overlap == "allow" else due[-1:])
        missed = 0 if overlap == "allow" else len(due) - len(due[-1:])
        cancel = bool(fire) and overlap == "cancel_running" and last.live
        counted = replace(schedule, missed=schedule.missed + missed)
        return _fired(counted, fire, (), moment, cancel=cancel)
    line = [*schedule.waiting, *due]
    fire = _limited(schedule, [] if last.live else line[:1])
    busy = last.live or bool(fire)
    rest = line[len(fire) :]
    room = {"skip": 0, "queue_one": 1, "queue_all": WAITING_MAX}[overlap] if busy else 0
    missed = max(0, len(rest) - room)
    kept = tuple(rest[:room])
    counted = replace(schedule, missed=schedule.missed + missed)
    return _fired(counted, fire, kept, moment, cancel=False)


def _limited(schedule: Schedule, ticks: list[int]) -> list[int]:
    remaining = schedule.remaining
    return ticks if remaining is None else ticks[:remaining]


def _fired(
    schedule: Schedule, fire: list[int], waiting: tuple[int, ...], moment: _Moment, *, cancel: bool
) -> Advanced:
    """Count what fires, and find when to look again."""
    moved = replace(
        schedule,
        waiting=waiting,
        fired=schedule.fired + len(fire),
        tick=fire[-1] if fire else schedule.tick,
    )
    advanced = _rest(moved, moment.now, live=bool(fire or waiting), following=moment.following)
    unfired = None
    if fire and schedule.plan.key is not None:
        kept = replace(schedule, waiting=waiting, missed=schedule.missed + len(fire))
        unfired = _rest(kept, moment.now, live=bool(waiting), following=moment.following)
    return replace(advanced, ticks=tuple(fire), cancel=cancel, unfired=unfired)


def _rest(
    schedule: Schedule,
    now: int,
    *,
    live: bool = False,
    ended_at: int | None = None,
    following: int | None = None,
) -> Advanced:
    """Find when to look again; a schedule that has no tick any more is over."""
    if schedule.sealed is not None:
        return Advanced(schedule)
    if schedule.remaining == 0:
        return Advanced(replace(schedule, over=True, waiting=()))
    if schedule.paused is not None:
        return Advanced(schedule)
    trigger = trigger_of(schedule.plan.trigger)
    plan = schedule.plan
    if isinstance(trigger, Every) and trigger.after == "end":
        tick: int | None = _end_tick(schedule, trigger, Last(ended_at=ended_at))
        if live and tick is not None:
            # The job may end at any time, but its delay cannot be over before a whole period.
            tick = max(tick, now + min(LOOK_AGAIN, trigger.period_us))
    else:
        after = schedule.cursor if plan.starts is None else max(schedule.cursor, plan.starts - 1)
        tick = next_tick(trigger, after) if following is None else following
    if tick is not None and plan.ends is not None and tick > plan.ends:
        tick = None
    looks = [] if tick is None else [tick]
    if schedule.waiting:
        looks.append(now + LOOK_AGAIN)
    if not looks:
        return Advanced(replace(schedule, over=True))
    return Advanced(schedule, due=min(looks))
