"""A server that keeps ending connections: nothing is lost and nothing is done twice.

Workers and producers send each call again until it is answered, as the library's own do,
while another session ends every connection of the store some dozens of times.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import psycopg

from treadle.core.clock import SystemClock
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    Hand,
    ids_of,
    new_job,
    settlement,
    take,
    worker_info,
)

T = TypeVar("T")
BATCHES = 40
BATCH = 25
WORKERS = 3
TRIES_MAX = 60
KILLS = 40
EARS = 3
HEARD_S = 10.0
OFTEN = 5
BACK_S = 4.0
"""Less than the longest pause between two tries of a listener."""


async def until_answered(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Send the same call until the store answers."""
    for _ in range(TRIES_MAX):
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.005)
    raise AssertionError("the store did not come back")


async def produce(store: Store, ids: list[bytes]) -> None:
    """Enqueue batch after batch."""
    for _ in range(BATCHES):
        request, jobs = new_id(), [new_job() for _ in range(BATCH)]
        states = await until_answered(lambda r=request, j=jobs: store.enqueue(r, j))  # type: ignore[misc]
        assert list(states) == [JobState.READY] * BATCH
        ids += [job.id for job in jobs]


async def work(store: Store, name: str, taken: list[bytes], total: int) -> Counter[Verdict]:
    """Settle and claim until every job has been taken by somebody."""
    hand = Hand(store, worker_info(name))
    await until_answered(hand.register)
    verdicts: Counter[Verdict] = Counter()
    held: list[Claim] = []
    while held or len(taken) < total:
        request = new_id()
        done = [settlement(claim, Succeeded(b"1")) for claim in held]
        answer = await until_answered(
            lambda r=request, d=done: store.exchange(name, r, d, take(10))  # type: ignore[misc]
        )
        verdicts.update(answer.verdicts)
        held = list(answer.claims)
        taken += ids_of(held)
        await asyncio.sleep(0)
    return verdicts


async def keep_house(store: Store, stop: asyncio.Event) -> None:
    """Prune all the time, which also adds up what has ended."""
    while not stop.is_set():
        await until_answered(lambda: store.prune(10))
        await asyncio.sleep(0.002)


async def rage(url: str, application: str, stop: asyncio.Event) -> int:
    """End all of the application's connections again and again; count them."""
    ended = 0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        for _ in range(KILLS):
            if stop.is_set():
                break
            cursor = await db.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where application_name = %s",
                [application],
            )
            row = await cursor.fetchone()
            ended += row[0] if row else 0
            await asyncio.sleep(0.02)
    return ended


def test_a_listener_whose_session_is_ended_listens_again(
    postgres_url: str, postgres_schema: str
) -> None:
    """An ended session is an outage of hints alone: the next wait hears, and no task dies of it."""
    application = f"ear-{new_id().hex()}"

    async def listen() -> None:
        url = f"{postgres_schema}&application_name={application}"
        store = PostgresStore(url, "default", Settings(), SystemClock())
        await store.migrate()
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as db:
            for _ in range(EARS):
                while await store.wait(work=True, ends=False, timeout=0.2):
                    pass  # The first wait after a breakdown may end for nothing.
                await db.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = %s",
                    [application],
                )
                await store.wait(work=True, ends=False, timeout=0.2)
        heard = asyncio.create_task(store.wait(work=True, ends=False, timeout=HEARD_S))
        for _ in range(TRIES_MAX):
            await until_answered(lambda: store.enqueue(new_id(), [new_job()]))
            if (await asyncio.wait({heard}, timeout=0.1))[0]:
                break
        assert await heard
        await store.close()

    asyncio.run(listen())


def test_a_listener_that_is_ended_now_and_then_is_back_at_once_each_time(
    postgres_url: str, postgres_schema: str
) -> None:
    """A server that ends sessions which idle does not make its listeners wait longer and longer."""
    application = f"ear-{new_id().hex()}"

    async def listen() -> None:
        url = f"{postgres_schema}&application_name={application}"
        store = PostgresStore(url, "default", Settings(), SystemClock())
        await store.migrate()
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as db:
            for _ in range(OFTEN):
                while await store.wait(work=True, ends=False, timeout=1.0):
                    pass  # Until it has listened for a second in which there was no news.
                await db.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = %s and query like 'listen%%'",
                    [application],
                )
                # That it listens again is news, for it may have missed some.
                assert await store.wait(work=True, ends=False, timeout=BACK_S)
        await store.close()

    asyncio.run(listen())


def test_connections_that_are_ended_lose_and_double_nothing(
    postgres_url: str, postgres_schema: str
) -> None:
    """Every job is claimed once, settled once, counted once, and there at the end."""
    application = f"storm-{new_id().hex()}"

    async def storm() -> None:
        url = f"{postgres_schema}&application_name={application}"
        store = PostgresStore(url, "default", Settings(), SystemClock())
        await store.migrate()
        ids: list[bytes] = []
        taken: list[bytes] = []
        stop = asyncio.Event()
        raging = asyncio.create_task(rage(postgres_url, application, stop))
        pruning = asyncio.create_task(keep_house(store, stop))
        workers = [
            asyncio.create_task(work(store, f"w{n}", taken, BATCHES * BATCH))
            for n in range(WORKERS)
        ]
        await produce(store, ids)
        counted: Counter[Verdict] = Counter()
        for worker in workers:
            counted += await worker
        stop.set()
        assert await raging > WORKERS
        await pruning
        assert sorted(taken) == sorted(ids)
        assert counted == {Verdict.APPLIED: len(ids)}
        records = await until_answered(lambda: store.get(ids))
        assert {record and record.state for record in records} == {JobState.SUCCEEDED}
        [queue] = await until_answered(store.queues)
        assert queue.counts == {"succeeded": len(ids)}
        await store.close()

    asyncio.run(storm())


def test_a_queue_that_a_failover_has_forgotten_is_named_again(postgres_schema: str) -> None:
    """A new primary may lack the last writes: jobs of a queue that it does not know are claimed."""
    url, _, schema = postgres_schema.partition("?schema=")

    async def main() -> None:
        store = PostgresStore(f"{postgres_schema}&application_name={schema}", "default", Settings())
        await store.migrate()
        hand = Hand(store, worker_info("w"))
        await hand.register()
        await store.enqueue(new_id(), [new_job(queue="mail")])
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
            await db.execute(f"truncate {schema}.treadle_jobs, {schema}.treadle_queues".encode())
            await db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = %s",
                (schema,),
            )
        job = new_job(queue="mail")
        request = new_id()
        await until_answered(lambda: store.enqueue(request, [job]))
        assert ids_of(await hand.claim(1)) == [job.id]
        await store.close()

    asyncio.run(main())
