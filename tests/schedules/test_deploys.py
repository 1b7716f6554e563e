"""Deploys: who adds and removes declared schedules while several programs run."""

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from msgspec import json
from msgspec.structs import replace

from treadle import Every, Treadle, Worker
from treadle.client.schedules.merge import Gone, gone_name
from treadle.core import fault
from treadle.core.durations import DAY, MINUTE
from treadle.core.errors import StoreUnavailable
from treadle.core.schedule.record import Schedule, read_schedule, write_schedule
from treadle.store.parts.scheduled import Move, ScheduleRow
from treadle.worker.firing import begin
from treadle.worker.firing.firing import Firing

P = ParamSpec("P")
PERIODS: dict[str, float] = {}
"""Seconds between the ticks of a schedule, where they are not an hour."""
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def awaited(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def make(folder: Path, *names: str) -> Treadle:
    """Make one program of the module `shop` that declares these schedules."""
    app = Treadle(f"sqlite:///{folder / 'jobs.db'}")
    app.default_module = "shop"

    @app.task(name="t")
    def t() -> None: ...

    for name in names:
        app.schedule(Every(PERIODS.get(name, 3600)), name=name)(t)
    return app


async def stored(app: Treadle) -> list[str]:
    """Give the names of the schedules in the store."""
    return [info.name for info in await app.schedules.alist()]


async def until_stored(app: Treadle, *names: str) -> None:
    """Wait until exactly these are stored."""
    async with asyncio.timeout(10):
        while await stored(app) != list(names):  # noqa: ASYNC110 -- the store tells nobody
            await asyncio.sleep(0.02)


@awaited
async def test_two_services_of_one_module_name_keep_their_schedules(tmp_path: Path) -> None:
    """Neither removes what the other one, which lives, declares, however often they look."""
    a, b = make(tmp_path, "a"), make(tmp_path, "b")
    async with Worker(a):
        async with Worker(b):
            assert await stored(a) == ["a", "b"]
        async with Worker(b):
            assert await stored(a) == ["a", "b"]


@awaited
async def test_a_service_that_was_away_puts_its_schedules_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was removed while no live worker declared it is there again, and the log said so."""
    a, b = make(tmp_path, "a"), make(tmp_path, "b")
    async with Worker(a):
        pass
    async with Worker(b):
        assert await stored(b) == ["b"]
        [said] = [r for r in caplog.records if "schedules removed" in r.message]
        assert (said.levelno, said.message[-3:]) == (logging.WARNING, ": a")
        async with Worker(a):
            assert await stored(a) == ["a", "b"]


@pytest.mark.parametrize(("days", "period", "stays"), [(0, 3600, 1), (0, 60, 0), (2, 3600, 0)])
@awaited
async def test_what_comes_back_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, period: float, stays: int
) -> None:
    """Restarted one after the other, two services of one module lose no pause, count or tick.

    With another trigger, or after a day, its ticks begin anew; the rest is as it was.
    """
    a, b = make(tmp_path, "a", "p"), make(tmp_path, "b")
    async with Worker(a):
        await a.schedules.apause("p", "hm", by="ada")
        await a.schedules.askip("a", 2)
        before = await scheduled(a, "a", "p")
    async with Worker(b):
        assert await stored(b) == ["b"]
        rows = await b.store.schedules([gone_name("a"), gone_name("p")])
        await b.store.fire([older(row, days) for row in rows if row is not None])
    monkeypatch.setitem(PERIODS, "a", period)
    async with Worker(make(tmp_path, "a", "p")):
        [again, paused] = await scheduled(a, "a", "p")
        assert (again.skip, again.incarnation) == (2, before[0].incarnation)
        assert (again.cursor == before[0].cursor) == bool(stays)
        assert paused.paused == before[1].paused
        # Nothing that it had come to is left behind.
        assert await a.store.schedules([gone_name("a"), gone_name("p")]) == [None, None]


@awaited
async def test_what_was_removed_by_force_is_made_anew(tmp_path: Path) -> None:
    """`declare --force` removes for good: a pause does not come back."""
    a, b = make(tmp_path, "a"), make(tmp_path, "b")
    async with Worker(a):
        await a.schedules.apause("a")
    await b.schedules.adeclare(force=True)
    assert await stored(b) == ["b"]
    assert await b.store.schedules([gone_name("a")]) == [None]
    await a.schedules.adeclare(force=True)
    assert (await a.schedules.aget("a")).paused is None


async def scheduled(app: Treadle, *names: str) -> list[Schedule]:
    """Read schedules as they are stored."""
    rows = await app.store.schedules(names)
    return [read_schedule(row.body) for row in rows if row is not None]


def older(row: ScheduleRow, days: int) -> Move:
    """Let what is kept of a removed schedule be older."""
    gone = json.decode(row.body, type=Gone)
    return Move(row.name, row.revision, json.encode(replace(gone, at=gone.at - days * DAY)))


@awaited
async def test_a_rolling_deploy_removes_when_the_last_old_worker_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule that newer code lacks stays while an old worker lives, and goes after it."""
    monkeypatch.setattr(begin, "TEND_S", 0.05)
    new = make(tmp_path, "b", "c")
    async with (
        running(make(tmp_path, "a", "b")) as leave_first,
        running(make(tmp_path, "a", "b")) as leave_second,
        Worker(new),
    ):
        assert await stored(new) == ["a", "b", "c"]
        await leave_second()
        assert await stored(new) == ["a", "b", "c"]
        await leave_first()
        await until_stored(new, "b", "c")


@asynccontextmanager
async def running(app: Treadle) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run a worker that leaves when asked, at the latest at the end of the block."""
    worker = Worker(app)
    await worker.__aenter__()
    left = False

    async def leave() -> None:
        nonlocal left
        if not left:
            left = True
            await worker.__aexit__(None, None, None)

    try:
        yield leave
    finally:
        await leave()


@awaited
async def test_what_a_person_removed_stays_removed(tmp_path: Path) -> None:
    """A declared schedule that was removed by hand is not put back by a restart."""
    app = make(tmp_path, "a", "b")
    async with Worker(app), Worker(make(tmp_path, "c")):
        await app.schedules.aremove("a")
    async with Worker(make(tmp_path, "c")):
        assert await stored(app) == ["c"]
    async with Worker(app):
        # Only what was removed for want of a worker comes back.
        assert await stored(app) == ["b", "c"]


@awaited
async def test_a_worker_whose_start_fails_leaves(tmp_path: Path) -> None:
    """It beats no more and is not on the list, whatever failed after it had registered."""
    app = make(tmp_path, "a")

    def away(name: str) -> None:
        if name == "start.after_lease":
            raise StoreUnavailable("the store was away for a moment")

    before = {thread.ident for thread in threading.enumerate() if "lease" in thread.name}
    fault.arm(away)
    try:
        with pytest.raises(StoreUnavailable, match="for a moment"):
            await Worker(app).__aenter__()
    finally:
        fault.arm(None)
    assert {t.ident for t in threading.enumerate() if "lease" in t.name} == before
    assert await app.store.workers() == []
    async with Worker(app):
        assert await stored(app) == ["a"]


@pytest.mark.parametrize("broken", ["trigger", "body"])
@awaited
async def test_an_unreadable_schedule_is_left_to_others(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Newer workers fire what this one cannot read; it warns once, and asks the store rarely."""
    app = Treadle("memory://")
    app.task(name="t")(lambda: None)
    with app.testing(start=NOON) as kit:
        store = app.store
        await app.schedules.aadd(Every(60, anchor=NOON), "t", name="new")
        [row] = await store.schedules(["new"])
        assert row is not None
        good = read_schedule(row.body)
        unread = replace(good, plan=replace(good.plan, trigger=b'{"type":"moon"}'))
        body = write_schedule(unread) if broken == "trigger" else b'{"of": "a newer version"}'
        await store.fire([Move("new", row.revision, body, row.due)])
        firing = Firing(store, "default", lambda _: True)
        kit.move(61)
        for _ in range(3):
            look = await firing.look()
            assert (look.due, look.won, look.more) == (1, 0, False)
        [left] = await store.schedules(["new"])
        assert left is not None
        assert (left.body, left.due) == (body, row.due)
        assert caplog.text.count("left to workers that can read it") == 1
        kit.move(61)
        # It does not stand in the way of others for good: it is due again in a minute.
        assert (await firing.look()).won == 1
        [passed] = await store.schedules(["new"])
        assert passed is not None
        assert passed.body == body
        assert passed.due is not None
        assert row.due is not None
        assert passed.due > row.due + MINUTE
        await store.fire([Move("new", passed.revision, row.body, passed.due)])
        kit.move(61)
        assert await firing.catch_up() == 1


@awaited
async def test_a_pause_in_time_saves_the_running_job() -> None:
    """`cancel_running` cancels nothing for a schedule that was changed since it was read."""
    app = Treadle("memory://")
    app.task(name="t")(lambda: None)
    with app.testing(start=NOON) as kit:
        await app.schedules.aadd(Every(60, anchor=NOON), "t", name="a", overlap="cancel_running")
        firing = Firing(app.store, "default", lambda _: True)
        kit.move(61)
        assert await firing.catch_up() == 1
        kit.move(60)

        def pause() -> None:
            asyncio.run(app.schedules.apause("a"))

        def meanwhile(name: str) -> None:
            if name == "fire.before_cancel":
                thread = threading.Thread(target=pause)
                thread.start()
                thread.join()

        fault.arm(meanwhile)
        try:
            assert (await firing.look()).jobs == 0
        finally:
            fault.arm(None)
        job = (await app.schedules.aget("a")).last_job
        assert job is not None
        assert (await app.ajob(job)).state == "ready"
