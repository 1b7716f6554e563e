"""Whole workers on Redis that stop, stand still or are cut off as a job is handed to them."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event
from typing import Any

import pytest
import redis

from tests.conformance.handing import own, server
from tests.conformance.own_redis import needs_program
from tests.conformance.test_redis_worker import Fleet, fleet
from tests.faults.scene import Process
from treadle import Job, JobState, Reject, Treadle, Worker
from treadle.store.redis.keys import key
from treadle.testing.conformance.kit import new_job

__all__ = ["fleet", "own", "server"]

WAIT_S = 10
LEASE_S = "20"
"""Much longer than another worker takes to run three jobs."""


async def until_it_is(job: Job[Any], state: JobState) -> None:
    """Wait until a job has come to a state."""
    deadline = time.monotonic() + WAIT_S
    while (await job.arefresh()).state is not state:
        assert time.monotonic() < deadline, f"{job} is not {state}"
        await asyncio.sleep(0.01)


async def until_it_offers(server: Any, own: str, worker: Worker) -> None:  # noqa: ANN401
    """Wait until the worker's name stands in the mark by which it says that it listens."""
    deadline = time.monotonic() + WAIT_S
    while server.get(key(own, "ears_work")) != worker.id.encode():
        assert time.monotonic() < deadline, f"{worker.id} makes no offer"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def app_of(redis_url: str, own: str) -> AsyncIterator[Treadle]:
    """Give an application in the test's own namespace."""
    app = Treadle(redis_url, namespace=own)
    try:
        yield app
    finally:
        await app.aclose()


def test_what_is_handed_to_a_worker_that_stops_goes_back_at_once(
    redis_url: str,
    own: str,
    server: Any,  # noqa: ANN401 -- the client's own
) -> None:
    """It does not start, and does not wait for the hooks that the worker waits for."""

    async def play() -> None:
        called, over, ran = asyncio.Event(), asyncio.Event(), list[int]()
        async with app_of(redis_url, own) as app:

            @app.task(name="bad")
            async def bad() -> None:
                raise Reject("never")

            @app.task(name="good")
            async def good() -> None:
                ran.append(1)

            @app.on_dead
            async def told(_: Job[Any]) -> None:
                called.set()
                await over.wait()

            worker = Worker(app)
            stopped = asyncio.create_task(worker.arun())
            bad_one = await bad.aenqueue()
            async with asyncio.timeout(WAIT_S):
                await called.wait()
            await until_it_offers(server, own, worker)
            worker.stop()
            new = new_job(task="good")
            app.store.enqueue_now(new.id, [new])
            assert server.hget(key(own, "job", new.id.hex()), "state") == b"running"
            job = await app.ajob(new.id.hex())
            await until_it_is(job, JobState.READY)
            assert (job.attempt, ran, stopped.done()) == (0, [], False)
            assert server.hgetall(key(own, "counts")) == {
                f"{job.queue}:ready".encode(): b"1",
                f"{bad_one.queue}:failed".encode(): b"1",
            }
            over.set()
            assert await stopped == 0

    asyncio.run(play())


def test_a_worker_that_waits_for_its_last_job_keeps_none_that_comes(
    redis_url: str,
    own: str,
    server: Any,  # noqa: ANN401 -- the client's own
) -> None:
    """It holds nothing for the store, because that job was cancelled: what it is handed goes back.

    The code of that job goes on, and its worker lets it, for as long as the grace lasts.
    """

    async def play() -> None:
        over = Event()
        async with app_of(redis_url, own) as app:

            @app.task(name="stubborn")
            def stubborn() -> None:
                over.wait(60)

            worker = Worker(app, concurrency=2, grace=60)
            stopped = asyncio.create_task(worker.arun())
            last = await stubborn.aenqueue()
            await until_it_is(last, JobState.RUNNING)
            await until_it_offers(server, own, worker)
            await last.acancel()
            worker.stop()
            new = new_job(task="stubborn")
            app.store.enqueue_now(new.id, [new])
            assert server.hget(key(own, "job", new.id.hex()), "state") == b"running"
            await until_it_is(await app.ajob(new.id.hex()), JobState.READY)
            assert not stopped.done()
            over.set()
            await stopped

    asyncio.run(play())


def handed_while_it_stands(fleet: Fleet) -> tuple[Process, Job[Any]]:
    """Stop a worker that makes an offer, and hand it a job: the news lie unread in its socket."""
    worker = fleet.worker("--slots", "4", lease=LEASE_S)
    with redis.Redis.from_url(fleet.server.url) as server:
        fleet.until(lambda: _offers(server, worker), "the worker makes its offer")
        worker.freeze()
        job = fleet.app.named("touch").enqueue("handed")
    assert (job.refresh().state, job.attempt) == (JobState.RUNNING, 1)
    assert f":{worker.child.pid}:" in str(job.record().worker)
    return worker, job


def _offers(server: Any, worker: Process) -> bool:  # noqa: ANN401 -- the client's own
    found = server.get(key("default", "ears_work")) or b""
    return f":{worker.child.pid}:".encode() in found


@needs_program
@pytest.mark.slow
def test_a_worker_told_to_stop_as_the_news_come_gives_the_job_back(fleet: Fleet) -> None:
    """SIGTERM and the news in one moment: it ends well, and the job is not left to a rescue."""
    worker, job = handed_while_it_stands(fleet)
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGCONT)
    assert worker.wait() == 0
    assert job.refresh().state in {JobState.READY, JobState.SUCCEEDED}
    fleet.worker("--slots", "4")
    fleet.until(fleet.have_ended(job), "it has run")
    assert (job.refresh().attempt, fleet.starts()["handed"]) == (1, 1)


@needs_program
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_gone_as_the_news_come_costs_the_others_nothing(
    fleet: Fleet, number: signal.Signals
) -> None:
    """Its one job waits for the rescue and runs once; the next ones run on others at once."""
    # It is there before, for to start may take as long as a lease; and what it offers counts not.
    other = fleet.worker("--slots", "4", lease=LEASE_S)
    other.freeze()
    worker, job = handed_while_it_stands(fleet)
    other.send(signal.SIGCONT)
    worker.send(number)
    others = [fleet.app.named("touch").enqueue(f"t{n}") for n in range(3)]
    fleet.until(fleet.have_ended(*others), "the others run")
    assert job.refresh().state is JobState.RUNNING
    fleet.until(fleet.have_ended(job), "the rescue comes", 60)
    if number is signal.SIGSTOP:
        worker.send(signal.SIGCONT)
        fleet.until(lambda: "goes on as" in worker.said, "it learns of it")
    later = fleet.app.named("touch").enqueue("later")
    fleet.until(fleet.have_ended(later), "the line goes on")
    assert set(fleet.starts().values()) == {1}
