"""drain: running the jobs of an application under test, with the real worker.

There is no second way to run a job here: a worker with one slot takes what is ready until
nothing is, then the moved clock goes to the next due time, and so on. So retries, time
limits, signals, middleware and hooks are those of production, and jobs run one by one, in
the order in which a worker takes them.
"""

from __future__ import annotations

from typing import Final

from treadle.client.link import carry
from treadle.client.schedules.sync import sync
from treadle.core.durations import SECOND
from treadle.core.job import JobRecord, JobState
from treadle.events import Event
from treadle.store.contract import Filter
from treadle.under_test import Kit
from treadle.worker.firing.firing import Firing
from treadle.worker.worker import Worker

_STAGE_MAX: Final = 1_000
_PAGE: Final = 1_000
_PAGES_MAX: Final = 1_000
_WAITING: Final = (JobState.SCHEDULED, JobState.RETRYING)


async def drain(kit: Kit, within: int | None, limit: int) -> int:
    """Run what is due, moving the clock from one due time to the next; see `Kit.drain`.

    Raises:
        RuntimeError: there is still work after `limit` attempts.
    """
    end = None if within is None else kit.clock.wall() + within
    count = _Count(limit)
    unsubscribe = kit.app.events.subscribe(count)
    try:
        while True:
            await _run_ready(kit, count)
            due = await _next_due(kit)
            if end is not None:
                due = await _next_tick(kit, due)
            if due is None or (end is not None and due > end):
                break
            _move_to(kit, due)
    finally:
        unsubscribe()
    if end is not None:
        _move_to(kit, end)
    return count.attempts


class _Count:
    """Counts attempts, and stops the worker at the bound."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.attempts = 0
        self.worker: Worker | None = None
        self.last: str | None = None

    def __call__(self, event: Event) -> None:
        """Take an event of the line."""
        if event.name != "job.started":
            return
        self.attempts += 1
        self.last = event.task
        if self.attempts >= self.limit and self.worker is not None:
            self.worker.stop("the drain has reached its limit")


async def _run_ready(kit: Kit, count: _Count) -> None:
    """Run what is ready, and what becomes ready meanwhile, with one worker."""
    tasks = tuple(kit.app.registry)
    store = kit.app.store
    await carry(sync(store, kit.app.default_module, kit.app.declared))
    await _firing(kit).catch_up()
    for _ in range(_PAGES_MAX):
        if await store.stage(tasks, _STAGE_MAX) < _STAGE_MAX:
            break
    if not await store.ready(None):
        return
    count.worker = Worker(kit.app, concurrency=1, burst=True)
    async with count.worker as worker:
        await worker.wait()
    if count.attempts >= count.limit and (await store.ready(None) or await _next_due(kit)):
        raise RuntimeError(
            f"the drain has run {count.attempts:,} attempts and there is still work; the last "
            f"was of {count.last}. Does a job enqueue itself again, or snooze for ever? "
            "Raise limit= if there really are that many, or pass within= to stop at a time"
        )


def _firing(kit: Kit) -> Firing:
    app = kit.app
    return Firing(app.store, app.settings.namespace, lambda task: app.definition(task) is not None)


async def _next_tick(kit: Kit, due: int | None) -> int | None:
    """Give the earlier of an instant and the next one at which a schedule is due.

    Only a drain that ends at a time asks: there is no end to most schedules.
    """
    found = await kit.app.store.due_schedules(0)
    if found.next_due is None:
        return due
    tick = found.now + found.next_due
    return tick if due is None else min(due, tick)


async def _next_due(kit: Kit) -> int | None:
    """Give when the next job is due that some code here can run, or may pass its gate."""
    waiting = [record for state in _WAITING for record in await _all(kit, state)]
    due = [record.run_at for record in waiting if record.reason != "unknown_task"]
    gates = await kit.app.store.gates(limit=_PAGE)
    due += [g.opens_at for g in gates if g.waiting and g.opens_at is not None]
    return min(due, default=None)


async def _all(kit: Kit, state: JobState) -> list[JobRecord]:
    found: list[JobRecord] = []
    before: bytes | None = None
    for _ in range(_PAGES_MAX):
        page = await kit.app.store.find(Filter(state=state), limit=_PAGE, before=before)
        found += page
        if len(page) < _PAGE:
            break
        before = page[-1].id
    return found


def _move_to(kit: Kit, instant: int) -> None:
    """Move the clock forward to an instant; one in the past leaves it where it is."""
    kit.clock.move(max(0, instant - kit.clock.wall()) / SECOND)
