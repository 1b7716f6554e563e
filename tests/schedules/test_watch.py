"""When a worker on duty steps: at the instant of what is due, for a crowd just before it, too."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from treadle import Every
from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.schedule.advance import begin
from treadle.core.schedule.record import Plan, Schedule, write_schedule
from treadle.core.settings import Settings
from treadle.core.when.triggers import write_trigger
from treadle.store.contract import Filter, Store
from treadle.store.open import open_store
from treadle.store.parts.scheduled import Move
from treadle.worker.firing.firing import CROWD, Firing
from treadle.worker.firing.watch import ARM_S, Watch

BEGUN = 1_800_000_000


class Scene:
    """A watch on a store whose schedules are all due in a second; its time is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store, clock: MovedClock) -> None:
        self.store, self.clock = store, clock
        self.watch = Watch(Firing(store, "default", lambda _: True), lambda: "w")
        self.begun_s = self.now_s = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now_s)

    async def plant(self, count: int) -> None:
        """Store so many schedules."""
        trigger = Every(1, anchor=datetime.fromtimestamp(BEGUN, UTC))
        plan = Plan(trigger=write_trigger(trigger), task="t", args=b"[[],{}]")
        for number in range(count):
            name, now = f"s{number}", self.clock.wall()
            step = begin(Schedule(name=name, plan=plan, incarnation=name, cursor=now), now)
            move = Move(name, 0, write_schedule(step.schedule), step.due)
            assert await self.store.fire([move]) == [True]

    async def step(self, seconds: float) -> int:
        """Step at this many seconds after the beginning; give how many jobs there are then."""
        self.clock.move(seconds - self.now_s)
        self.now_s = seconds
        await self.watch.step()
        return len(await self.store.find(Filter(), limit=1_000))


def play(
    monkeypatch: pytest.MonkeyPatch, count: int, tale: Callable[[Scene], Awaitable[None]]
) -> None:
    """Play a tale about so many schedules on a store in memory."""

    async def scenario() -> None:
        clock = MovedClock(BEGUN * SECOND)
        store = open_store("memory://", "default", Settings(), clock)
        await store.open()
        with monkeypatch.context() as patched:
            scene = Scene(patched, store, clock)
            await scene.plant(count)
            await tale(scene)
        await store.close()

    asyncio.run(scenario())


def test_a_crowd_is_read_before_its_instant_and_fired_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No job is made before the instant, and all of them are at the first step after it."""

    async def tale(scene: Scene) -> None:
        assert await scene.step(0) == 0
        arms = scene.watch.at_s
        assert arms == pytest.approx(1 - ARM_S, abs=0.002)
        assert await scene.step(arms) == 0
        assert scene.watch.at_s == pytest.approx(1, abs=0.002)
        assert await scene.step(scene.watch.at_s) == CROWD

    play(monkeypatch, CROWD, tale)


def test_what_is_no_crowd_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few schedules cost no second look."""

    async def tale(scene: Scene) -> None:
        assert await scene.step(0) == 0
        assert scene.watch.at_s == pytest.approx(1, abs=0.002)
        assert await scene.step(scene.watch.at_s) == CROWD - 1

    play(monkeypatch, CROWD - 1, tale)


def test_one_who_is_woken_looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that something else has called for finds what is overdue, crowd or not."""

    async def tale(scene: Scene) -> None:
        assert await scene.step(0) == 0
        assert await scene.step(0.5) == 0
        assert scene.watch.at_s == pytest.approx(1 - ARM_S, abs=0.002)
        scene.clock.move(0.5)
        assert await scene.step(0.6) == CROWD

    play(monkeypatch, CROWD, tale)
