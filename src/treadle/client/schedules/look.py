"""Looking at schedules, and storing those that the code declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from treadle.client.link import Steps, carry
from treadle.client.schedules.changes import read_one, readable, store_now
from treadle.client.schedules.sync import is_record, sync
from treadle.client.schedules.views import ScheduleInfo, SyncDiff, Tick, ticks_of
from treadle.client.snapshot import Home
from treadle.core.durations import as_datetime, instant_us
from treadle.core.schedule.ticks import trigger_of
from treadle.core.when.cron import check_count
from treadle.core.when.triggers import AnyTrigger

if TYPE_CHECKING:
    from treadle.client.schedules.declare import Declared
    from treadle.store.contract import Store
    from treadle.task import Task

PAGE: Final = 500
LIST_MAX: Final = 10_000
"""Schedules that one call of `list` gives at most."""


class ScheduleHome(Home, Protocol):
    """The application, as its schedules need it."""

    default_module: str

    @property
    def declared(self) -> Mapping[str, Declared]:
        """The schedules that the code declares, by name."""
        ...

    def named(self, name: str) -> Task[..., Any]:
        """Give a task by its name."""
        ...


class ScheduleReads:
    """What can be asked about an application's schedules."""

    def __init__(self, home: ScheduleHome) -> None:
        self._home = home

    def get(self, name: str) -> ScheduleInfo:
        """Read a schedule.

        Raises:
            ScheduleNotFound: there is none of this name.
        """
        link = self._home.link
        return link.run_steps(_get(link.store, name))

    async def aget(self, name: str) -> ScheduleInfo:
        """Do the same as `get` without blocking the event loop."""
        return await carry(_get((await self._home.alink()).store, name))

    def list(self, *, after: str = "", limit: int = 1_000) -> Sequence[ScheduleInfo]:
        """Read schedules by name, from the one after `after` on, at most 10,000."""
        link = self._home.link
        return link.run_steps(_list(link.store, after, limit))

    async def alist(self, *, after: str = "", limit: int = 1_000) -> Sequence[ScheduleInfo]:
        """Do the same as `list` without blocking the event loop."""
        return await carry(_list((await self._home.alink()).store, after, limit))

    def preview(
        self, which: str | AnyTrigger, count: int = 10, *, after: datetime | None = None
    ) -> Sequence[Tick]:
        """Give the next ticks of a schedule, or of a trigger, with marks of clock changes.

        Those of a schedule lie between its start and its end, and are not more than its limit
        leaves.

        Args:
            which: a schedule's name, or a trigger that need not be stored.
            count: how many, up to 10,000.
            after: the instant from which to look; None: now.

        Raises:
            ScheduleNotFound: there is none of this name.
            ValueError: `count` is out of range, or `after` has no time zone.
        """
        link = self._home.link
        return link.run_steps(_preview(link.store, which, count, after))

    async def apreview(
        self, which: str | AnyTrigger, count: int = 10, *, after: datetime | None = None
    ) -> Sequence[Tick]:
        """Do the same as `preview` without blocking the event loop."""
        return await carry(_preview((await self._home.alink()).store, which, count, after))

    def declare(self, *, force: bool = False) -> SyncDiff:
        """Store the schedules that this code declares, as a worker does when it starts.

        What is new is added, what differs is changed, and what this module's code declared
        before and no longer does is removed. What was made at run time is left alone, and what
        was paused stays paused. Within ten minutes after newer code did so, older code changes
        nothing; `force` does all the same.

        Raises:
            StoreUnavailable: others were faster each time.
        """
        link, home = self._home.link, self._home
        return link.run_steps(sync(link.store, home.default_module, home.declared, force=force))

    async def adeclare(self, *, force: bool = False) -> SyncDiff:
        """Do the same as `declare` without blocking the event loop."""
        store, home = (await self._home.alink()).store, self._home
        return await carry(sync(store, home.default_module, home.declared, force=force))


def _get(store: Store, name: str) -> Steps[ScheduleInfo]:
    row, schedule = yield from read_one(store, name)
    return ScheduleInfo.of(schedule, row.due)


def _list(store: Store, after: str, limit: int) -> Steps[Sequence[ScheduleInfo]]:
    if not 1 <= limit <= LIST_MAX:
        raise ValueError(f"limit must be from 1 to {LIST_MAX:,}, not {limit}")
    found: list[ScheduleInfo] = []
    for _ in range(LIST_MAX):
        page = yield store.schedules_page(after, PAGE)
        for row in page:
            schedule = None if is_record(row.name) else readable(row)
            if schedule is not None and len(found) < limit:
                found.append(ScheduleInfo.of(schedule, row.due))
        if len(page) < PAGE or len(found) >= limit:
            break
        after = page[-1].name
    return found


def _preview(
    store: Store, which: str | AnyTrigger, count: int, after: datetime | None
) -> Steps[Sequence[Tick]]:
    check_count(count)
    begin, schedule = 0, None
    if isinstance(which, str):
        _, schedule = yield from read_one(store, which)
        trigger = trigger_of(schedule.plan.trigger)
        begin = (schedule.plan.starts or 1) - 1
        ends = schedule.plan.ends
        if schedule.over:
            return []
        count = count if schedule.remaining is None else min(count, schedule.remaining)
    else:
        trigger, ends = which, None
    if after is None:
        now = yield from store_now(store)
        after = as_datetime(max(now, begin, 0 if schedule is None else schedule.cursor))
    elif instant_us(after, "after") < begin:
        after = as_datetime(begin)
    ticks = ticks_of(trigger, after, count)
    return [tick for tick in ticks if ends is None or tick.at <= as_datetime(ends)]
