"""What can be done to schedules at run time: `app.schedules`.

Each method has an async twin with the prefix a.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Unpack

from msgspec.structs import replace

from treadle.client.keys.fates import job_met
from treadle.client.link import Steps, carry
from treadle.client.schedules.backfill import BACKFILL_MAX, backfill
from treadle.client.schedules.changes import change, contended, drop, move_with, run_now, store_now
from treadle.client.schedules.look import ScheduleReads
from treadle.client.schedules.options import ScheduleOptions, make_plan, new_incarnation
from treadle.client.schedules.views import Backfilled, ScheduleInfo
from treadle.core.errors import DuplicateSchedule, ScheduleError, UnknownTask
from treadle.core.job import JobState, Met, NewJob
from treadle.core.schedule.advance import Advanced, begin, planned
from treadle.core.schedule.record import Pause, Plan, Schedule, check_name, read_schedule
from treadle.core.when.triggers import AnyTrigger
from treadle.job import Job
from treadle.task import Task

if TYPE_CHECKING:
    from treadle.store.contract import Store

NOTE_MAX: Final = 500
SKIP_MAX: Final = 1_000
_TRIES: Final = 20


class Schedules(ScheduleReads):
    """The schedules of one application."""

    def add(
        self,
        trigger: AnyTrigger,
        task: Task[..., Any] | str,
        *,
        replace: bool = False,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleInfo:
        """Store a schedule; it outlives this process and needs no declaration.

        Args:
            trigger: when it is due.
            task: the task, or its name; `task.using(...)` gives its jobs options.
            replace: take the place of a schedule of this name, which keeps its counts and its
                pause; otherwise that is an error.
            **options: those of `app.schedule`.

        Raises:
            DuplicateSchedule: there is one of this name.
            UnknownTask: no task of this name is registered here.
            ScheduleError: it would never be due.
            TypeError, ValueError, BadArguments, PayloadError: as for `app.schedule`.
        """
        name, plan = self._planned(trigger, task, options)
        link = self._home.link
        return link.run_steps(_add(link.store, name, plan, instead=replace))

    async def aadd(
        self,
        trigger: AnyTrigger,
        task: Task[..., Any] | str,
        *,
        replace: bool = False,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleInfo:
        """Do the same as `add` without blocking the event loop."""
        name, plan = self._planned(trigger, task, options)
        return await carry(_add((await self._home.alink()).store, name, plan, instead=replace))

    def _planned(
        self, trigger: AnyTrigger, task: Task[..., Any] | str, options: ScheduleOptions
    ) -> tuple[str, Plan]:
        if isinstance(task, str):
            if self._home.definition(task) is None:
                raise UnknownTask(task)
            task = self._home.named(task)
        elif not isinstance(task, Task):
            raise TypeError(f"a schedule runs a task or a task's name, not {task!r}")
        name = check_name(options.get("name") or task.name)
        return name, make_plan(trigger, name, task, options)

    def pause(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Let a schedule stand still; its running jobs go on. Pausing again changes the note.

        Args:
            name: the schedule's.
            note: why, for whoever looks next; up to 500 characters.
            by: who; None: the user this process runs as.

        Raises:
            ScheduleNotFound: there is none of this name.
        """
        return self._change(name, _pausing(note, by))

    async def apause(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Do the same as `pause` without blocking the event loop."""
        return await self._achange(name, _pausing(note, by))

    def resume(self, name: str) -> ScheduleInfo:
        """Let a schedule go on from now; the ticks of its pause become no jobs.

        Raises:
            ScheduleNotFound: there is none of this name.
        """
        return self._change(name, _resumed)

    async def aresume(self, name: str) -> ScheduleInfo:
        """Do the same as `resume` without blocking the event loop."""
        return await self._achange(name, _resumed)

    def skip(self, name: str, count: int = 1) -> ScheduleInfo:
        """Let the next `count` ticks become no jobs (0 to 1,000; it replaces an earlier count).

        Raises:
            ScheduleNotFound: there is none of this name.
            ValueError: `count` is out of range.
        """
        return self._change(name, _skipping(count))

    async def askip(self, name: str, count: int = 1) -> ScheduleInfo:
        """Do the same as `skip` without blocking the event loop."""
        return await self._achange(name, _skipping(count))

    def remove(self, name: str) -> bool:
        """Delete a schedule, not its jobs; False where there was none.

        One that code declares stays away until its declarations change.
        """
        link = self._home.link
        return link.run_steps(drop(link.store, name))

    async def aremove(self, name: str) -> bool:
        """Do the same as `remove` without blocking the event loop."""
        return await carry(drop((await self._home.alink()).store, name))

    def trigger(self, name: str) -> Job[Any]:
        """Make a job of a schedule now, whatever its ticks, pause, limit and overlap are.

        Raises:
            ScheduleNotFound: there is none of this name.
            DuplicateJob: another job holds the key of its task, which says so.
        """
        link = self._home.link
        return self._job(*link.run_steps(run_now(link.store, self._home.settings.namespace, name)))

    async def atrigger(self, name: str) -> Job[Any]:
        """Do the same as `trigger` without blocking the event loop."""
        store = (await self._home.alink()).store
        return self._job(*await carry(run_now(store, self._home.settings.namespace, name)))

    def backfill(
        self, name: str, start: datetime, end: datetime, *, limit: int = BACKFILL_MAX
    ) -> Backfilled:
        """Make the jobs of past ticks, from `start` (included) to `end` (not included).

        A tick whose job is still kept is left alone, so a backfill that was cut short is sent
        again, or goes on from `until` of its answer. Overlap, pause and limit do not hold here,
        starts and ends do; a tick whose job finds its key held by another one makes none.

        Args:
            name: the schedule's.
            start: the first instant.
            end: the instant after the last one; not later than now.
            limit: how many ticks at most, up to 10,000.

        Raises:
            ScheduleNotFound: there is none of this name.
            ValueError: an instant has no time zone, the range is reversed or not over, or the
                limit is out of range.
        """
        link, home = self._home.link, self._home
        return link.run_steps(
            backfill(link.store, home.settings.namespace, name, (start, end), limit)
        )

    async def abackfill(
        self, name: str, start: datetime, end: datetime, *, limit: int = BACKFILL_MAX
    ) -> Backfilled:
        """Do the same as `backfill` without blocking the event loop."""
        store, space = (await self._home.alink()).store, self._home.settings.namespace
        return await carry(backfill(store, space, name, (start, end), limit))

    def _change(self, name: str, apply: Callable[[Schedule, int], Advanced]) -> ScheduleInfo:
        link = self._home.link
        return ScheduleInfo.of(*link.run_steps(change(link.store, name, apply)))

    async def _achange(self, name: str, apply: Callable[[Schedule, int], Advanced]) -> ScheduleInfo:
        store = (await self._home.alink()).store
        return ScheduleInfo.of(*await carry(change(store, name, apply)))

    def _job(self, job: NewJob, met: Met | None) -> Job[Any]:
        if met is not None:
            return job_met(self._home, job, met)
        return Job(self._home, job.id, job.task, job.queue, JobState.READY)


def _add(store: Store, name: str, plan: Plan, *, instead: bool) -> Steps[ScheduleInfo]:
    for _ in range(_TRIES):
        now = yield from store_now(store)
        [row] = yield store.schedules([name])
        if row is not None and not instead:
            raise DuplicateSchedule(name, "take another name, or give replace=True")
        if row is None:
            schedule = Schedule(name=name, plan=plan, incarnation=new_incarnation(), cursor=now)
            advanced = begin(schedule, now)
        else:
            old = read_schedule(row.body)
            changed = replace(old, plan=plan)
            same = old.plan.trigger == plan.trigger
            advanced = planned(changed, now) if same else begin(replace(changed, waiting=()), now)
        if advanced.schedule.over and row is None:
            raise ScheduleError(
                f"schedule {name!r} would never be due: its trigger has no tick after now within "
                "its start and end"
            )
        move = move_with(name, 0 if row is None else row.revision, advanced, ())
        [done] = yield store.fire([move])
        if done:
            return ScheduleInfo.of(advanced.schedule, advanced.due)
    raise contended(name)


def _pausing(note: str, by: str | None) -> Callable[[Schedule, int], Advanced]:
    if len(note) > NOTE_MAX:
        raise ValueError(f"a note has at most {NOTE_MAX} characters, not {len(note)}")
    author = _user() if by is None else by[:NOTE_MAX]

    def paused(schedule: Schedule, now: int) -> Advanced:
        return Advanced(replace(schedule, paused=Pause(now, note, author)))

    return paused


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""  # A process in a container may run as a user that has no name.


def _resumed(schedule: Schedule, now: int) -> Advanced:
    if schedule.paused is None:
        return planned(schedule, now)
    return begin(replace(schedule, paused=None), now)


def _skipping(count: int) -> Callable[[Schedule, int], Advanced]:
    if type(count) is not int or not 0 <= count <= SKIP_MAX:
        raise ValueError(f"count must be an int from 0 to {SKIP_MAX:,}, not {count!r}")
    return lambda schedule, now: planned(replace(schedule, skip=count), now)
