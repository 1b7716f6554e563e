"""A worker's stop: it comes to its end whatever happens at that very moment.

Python 3.11 has a wait that forgets a cancellation which meets the end of what it waits for; each
test puts the two into every step of the event loop that lies between them.
"""

import asyncio
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.worker.floor import WAIT_S
from treadle import Job, JobState, Snooze, Treadle, Worker
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.sqlite.engine.turns import Turns
from treadle.worker.firing.firing import Firing
from treadle.worker.life.rest import set_within
from treadle.worker.services import Services

STEPS = range(6)
"""Steps of the event loop in which an event may come before a cancellation."""


async def steps(count: int) -> None:
    """Let the event loop take so many steps."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("between", STEPS)
def test_a_rest_is_cancelled_also_as_its_event_comes(between: int) -> None:
    """Whoever is cancelled in the moment in which the rest is over does not rest again."""

    async def loop(event: asyncio.Event) -> None:
        while True:
            await set_within(event, 60)
            event.clear()

    async def scenario() -> bool:
        event = asyncio.Event()
        task = asyncio.create_task(loop(event))
        await steps(3)
        event.set()
        await steps(between)
        task.cancel()
        await asyncio.wait({task}, timeout=1)
        return task.cancelled()

    assert asyncio.run(scenario())


def test_a_rest_tells_what_ended_it() -> None:
    """It is true for an event, also for one that is set before, and false for the time."""

    async def scenario() -> list[bool]:
        event = asyncio.Event()
        late = await set_within(event, 0.001), await set_within(event, -1)
        event.set()
        return [*late, await set_within(event, 0)]

    assert asyncio.run(scenario()) == [False, False, True]


@pytest.mark.parametrize("between", STEPS)
def test_services_stop_as_a_job_falls_due(between: int, tmp_path: Path) -> None:
    """The timer of a due job wakes a service; a stop at that moment ends it all the same."""

    async def scenario() -> None:
        store = open_store(f"sqlite:///{tmp_path}/jobs.db", "default", Settings())
        await store.open()
        firing = Firing(store, "default", lambda _: True)
        services = Services(store, lambda: "w", lambda: ("t",), lambda _: None, firing)
        services.start()
        await asyncio.sleep(0.05)  # The services rest, as they do between two steps.
        services._stage_now()  # noqa: SLF001 -- what the timer calls, at a step of our choice
        await steps(between)
        async with asyncio.timeout(WAIT_S):
            await services.stop()
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("between", STEPS)
def test_a_turn_is_cancelled_also_as_it_comes(between: int) -> None:
    """A job whose time is over as its turn comes does not begin a transaction."""

    async def scenario() -> bool:
        turns, first, second = Turns(), Future[None](), Future[None]()
        await turns.wait(first, 1)
        task = asyncio.create_task(turns.wait(second, 60))
        await steps(3)
        turns.leave(first)
        await steps(between)
        done, _ = task.done(), task.cancel()
        await asyncio.wait({task}, timeout=1)
        return task.cancelled() or done

    assert asyncio.run(scenario())


def test_workers_stop_while_their_jobs_fall_due(tmp_path: Path) -> None:
    """Worker after worker ends at once while jobs snooze for a moment and fall due again."""
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")

    @app.task(name="doze")
    async def doze(ms: int) -> None:
        raise Snooze(ms / 1000)

    async def scenario() -> None:
        jobs: list[Job[None]] = []
        for turn in range(20):
            async with asyncio.timeout(WAIT_S), Worker(app, concurrency=4):
                jobs += [await doze.aenqueue(ms) for ms in (1, 2, 3)]
                await asyncio.sleep(turn / 1000)
        states = {(await job.arefresh()).state for job in jobs}
        await app.aclose()
        assert states <= {JobState.READY, JobState.SCHEDULED}

    asyncio.run(scenario())
