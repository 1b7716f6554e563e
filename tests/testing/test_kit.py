"""The kit for users' tests: a memory store, a moved clock, and jobs run by the real worker."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from treadle import Cancel, Job, JobFailed, JobState, Reject, Retry, Snooze, Treadle
from treadle.testing import Kit, enqueued

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE_S = 60.0

app = Treadle("memory://")


@app.task(retry=Retry(attempts=3, base=MINUTE_S, jitter=False))
def charge(order: int, failures: int) -> int:
    """Fail a number of times, then succeed."""
    charged.append(order)
    if charged.count(order) <= failures:
        raise ConnectionError(f"order {order} could not be charged")
    return order * 2


@app.task
async def remind(name: str) -> str:
    """Leave a job of its own behind."""
    await charge.aenqueue(len(name), 0)
    return f"dear {name}"


@app.task(name="again")
async def again() -> None:
    """Enqueue itself, for ever."""
    await app.aenqueue("again")


@app.task
def steer(signal: str) -> None:
    """Raise a signal."""
    raise {"cancel": Cancel("not needed"), "reject": Reject("bad row")}[signal]


@app.task
def rest(times: list[int]) -> int:
    """Snooze for an hour while the list in the module is short."""
    rests.extend(times)
    if len(rests) < 3:
        raise Snooze(3600)
    return len(rests)


charged: list[int] = []
rests: list[int] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    charged.clear()
    rests.clear()


def test_a_drain_runs_jobs_and_what_they_enqueue() -> None:
    """After a drain the job has its result, and the job it enqueued has run as well."""
    with app.testing():
        job = remind.enqueue("ann")
        assert job.state == JobState.READY
        assert app.drain() == 2
        assert job.result() == "dear ann"
        assert [one.result() for one in enqueued(charge)] == [6]


def test_retries_are_real() -> None:
    """A failing job is tried again after its policy's delays, by the moved clock."""
    with app.testing(start=START) as kit:
        job = charge.enqueue(7, 2)
        assert app.drain() == 3
        assert job.result() == 14
        assert [a.outcome for a in job.attempts()] == ["failed", "failed", "succeeded"]
        assert kit.now == START + timedelta(minutes=1 + 2)


def test_attempts_that_are_used_up_make_a_dead_letter() -> None:
    """The last failure ends the job as a dead letter that says why."""
    with app.testing():
        job = charge.enqueue(7, 99)
        assert app.drain() == 3
        assert job.refresh().state == JobState.FAILED
        with pytest.raises(JobFailed, match="order 7 could not be charged"):
            job.result()


def test_signals_are_those_of_production() -> None:
    """Cancel and Reject end a job; a snooze costs no attempt."""
    with app.testing() as kit:
        cancelled, rejected, rested = steer.enqueue("cancel"), steer.enqueue("reject"), None
        rested = rest.enqueue([1])
        before = kit.now
        app.drain()
        assert cancelled.refresh().state == JobState.CANCELLED
        assert rejected.refresh().state == JobState.FAILED
        assert (rested.result(), rested.attempt) == (3, 1)
        assert kit.now - before == timedelta(hours=2)


def test_within_bounds_how_far_the_clock_moves() -> None:
    """With `within` only what falls due in that time runs, and the clock stands at its end."""
    with app.testing(start=START) as kit:
        soon = charge.using(delay=50).enqueue(1, 0)
        late = charge.using(delay=90).enqueue(2, 0)
        assert kit.drain(within=0) == 0
        assert kit.drain(within=60) == 1
        assert (soon.refresh().state, late.refresh().state) == ("succeeded", "scheduled")
        assert kit.now == START + timedelta(seconds=60)
        kit.move(timedelta(seconds=30))
        assert kit.drain(within=0) == 1


def test_a_job_without_end_is_an_error() -> None:
    """A job that enqueues itself again is named, and does not hang the test."""
    with app.testing():
        app.enqueue("again")
        with pytest.raises(RuntimeError, match=r"run 50 attempts .* last was of again\b"):
            app.drain(limit=50)


def test_a_limit_that_is_just_enough_is_no_error() -> None:
    """The bound is on what was run, and only work that is left over makes it an error."""
    with app.testing():
        for order in range(5):
            charge.enqueue(order, 0)
        assert app.drain(limit=5) == 5


def test_jobs_of_unknown_tasks_are_left_waiting() -> None:
    """A drain does not wait a day for code that is not here."""
    with app.testing(start=START) as kit:
        job = app.enqueue("elsewhere.task", 1)
        assert app.drain() == 0
        assert (job.refresh().state, kit.now) == ("scheduled", START)


def test_enqueued_gives_the_jobs_of_a_task_in_order() -> None:
    """`enqueued` gives jobs in any state, oldest first, with their arguments."""
    with app.testing() as kit:
        for order in range(3):
            charge.enqueue(order, 0)
        remind.enqueue("bob")
        assert [job.args for job in enqueued(charge)] == [(0, 0), (1, 0), (2, 0)]
        assert [job.args for job in kit.enqueued(remind)] == [("bob",)]
        app.drain()
        assert len(enqueued(charge)) == 4


def test_jobs_run_in_the_order_of_a_worker() -> None:
    """One at a time: higher priority first, then in the order in which they were enqueued."""
    with app.testing():
        for order in (1, 2, 3):
            charge.using(priority=10 if order == 3 else 0).enqueue(order, 0)
        app.drain()
    assert charged == [3, 1, 2]


def test_the_kit_works_on_a_running_loop() -> None:
    """An async test awaits `adrain`; the sync one is refused there and names it."""

    async def scenario() -> str:
        job = await remind.aenqueue("eve")
        with pytest.raises(RuntimeError, match=r"await app\.adrain"):
            app.drain()
        assert await app.adrain() == 2
        return await job.aresult()

    with app.testing():
        assert asyncio.run(scenario()) == "dear eve"


def test_hooks_and_middleware_are_called() -> None:
    """A drain starts and stops a worker with the application's own hooks around it."""
    own, told = Treadle("memory://"), list[str]()
    own.on_startup(lambda: told.append("start"))
    own.on_shutdown(lambda: told.append("stop"))
    own.on_dead(lambda job: told.append(f"dead {job.task}"))

    @own.middleware
    async def around(job: Job[Any], call_next: Any) -> Any:  # noqa: ANN401 -- a task's result
        told.append(f"around {job.task}")
        return await call_next()

    @own.task(name="fails", retry=1)
    def fails() -> None:
        raise ValueError("no")

    with own.testing():
        fails.enqueue()
        own.drain()
    assert told == ["start", "around fails", "dead fails", "stop"]


def test_each_test_has_a_store_of_its_own(tmp_path: Path) -> None:
    """Nothing is left over from the block before, and the real store is never made."""
    file = tmp_path / "jobs.db"
    real = Treadle(f"sqlite:///{file}")

    @real.task(name="noop")
    def noop() -> None: ...

    for _ in range(2):
        with real.testing():
            assert enqueued(noop) == []
            noop.enqueue()
            assert real.drain() == 1
    assert not list(tmp_path.iterdir())


def test_outside_the_block_nothing_is_drained() -> None:
    """Without `app.testing()` a drain and `enqueued` say what they need."""
    with app.testing() as kit:
        pass
    assert isinstance(kit, Kit)
    for call in (app.drain, lambda: enqueued(charge), lambda: asyncio.run(app.adrain())):
        with pytest.raises(RuntimeError, match=r"with app\.testing\(\)"):
            call()


def test_a_bad_bound_is_refused() -> None:
    """A limit below one, a negative time and a naive start are errors."""
    with app.testing() as kit:
        with pytest.raises(ValueError, match="limit must be at least 1"):
            kit.drain(limit=0)
        with pytest.raises(ValueError, match="within must be between"):
            kit.drain(within=-1)
    with (
        pytest.raises(ValueError, match="no timezone"),
        app.testing(start=datetime(2026, 3, 1)),  # noqa: DTZ001 -- what is refused
    ):
        pass
