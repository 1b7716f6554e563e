"""Whole workers on Redis that stop, stand still or are cut off as a job is handed to them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.conformance.test_redis_handed import own, server
from treadle import Job, JobState, Reject, Treadle, Worker
from treadle.store.redis.keys import key
from treadle.testing.conformance.kit import new_job

__all__ = ["own", "server"]

WAIT_S = 10


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
