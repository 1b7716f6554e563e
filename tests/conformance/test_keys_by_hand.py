"""Keys whose job somebody has deleted by hand, on each store: upkeep frees them."""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from treadle.core.ids import new_id
from treadle.core.job import JobState, Met
from treadle.core.keys.key import Conflict, Key
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.store.redis.engine.address import read_address
from treadle.store.redis.engine.pool import Pool
from treadle.store.redis.engine.runner import Runner
from treadle.store.redis.keys import base_key, key
from treadle.testing.conformance.kit import Hand, new_job, worker_info

Delete = Callable[[bytes], None]


@pytest.fixture
def sqlite(file: Path) -> tuple[Store, Delete]:
    """Give a store in a file, and what deletes a row of it."""

    def delete(job: bytes) -> None:
        with sqlite3.connect(file) as db:
            db.execute("delete from treadle_jobs where id = ?", (job,))
        db.close()

    return open_store(f"sqlite:///{file}", "default", Settings()), delete


@pytest.fixture
def postgres(postgres_schema: str) -> tuple[Store, Delete]:
    """Give a store in a schema, and what deletes a row of it."""
    url, _, schema = postgres_schema.partition("?schema=")
    store = open_store(postgres_schema, "default", Settings())
    asyncio.run(store.migrate())

    def delete(job: bytes) -> None:
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(f"set search_path to {schema}".encode())
            db.execute("delete from treadle_jobs where id = %s", [job.hex()])

    return store, delete


@pytest.fixture
def redis(redis_url: str) -> Iterator[tuple[Store, Delete]]:
    """Give a store in a namespace, and what deletes a hash of it."""
    namespace = f"hand_{secrets.token_hex(4)}"
    pool = Pool(read_address(redis_url))
    runner = Runner(pool, base_key(namespace), 5)

    def delete(job: bytes) -> None:
        runner.run_now(runner.command("DEL", key(namespace, "job", job.hex())))

    yield open_store(redis_url, namespace, Settings()), delete
    pool.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_a_key_whose_job_is_gone_is_freed_by_upkeep(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Those of jobs that are there stay; who waits behind one that is gone has his turn."""
    store, delete = request.getfixturevalue(kind)

    async def play() -> None:
        await store.open()
        jobs = [new_job(key=Key(name, conflict=Conflict.REPLACE)) for name in "abc"]
        await store.enqueue(new_id(), jobs)
        delete(jobs[0].id)
        delete(jobs[2].id)
        await store.prune(100)
        found = [None if one is None else one.job for one in await store.keys(["a", "b", "c"])]
        assert found == [None, jobs[1].id, None]
        again = new_job(key=Key("a"))
        assert list(await store.enqueue(new_id(), [again])) == [JobState.READY]
        await store.close()

    asyncio.run(play())


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_a_newcomer_does_not_pass_who_waits_behind_a_job_that_is_gone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """That one has the key, the newcomer's values go into it, and it is ready after upkeep."""
    store, delete = request.getfixturevalue(kind)

    async def play() -> None:
        await store.open()
        jobs = [new_job(key=Key("a", conflict=Conflict.REPLACE)) for _ in range(3)]
        await store.enqueue(new_id(), jobs[:1])
        hand = Hand(store, worker_info("w"))
        await hand.register()
        assert [claim.id for claim in await hand.claim(1)] == [jobs[0].id]
        assert list(await store.enqueue(new_id(), jobs[1:2])) == [JobState.BLOCKED]
        delete(jobs[0].id)
        [met] = await store.enqueue(new_id(), jobs[2:])
        assert isinstance(met, Met)
        assert (met.job, met.how) == (jobs[1].id, "replaced")
        await store.prune(100)
        [record] = await store.get([jobs[1].id])
        assert record is not None
        assert record.state is JobState.READY
        [key] = await store.keys(["a"])
        assert key is not None
        assert key.job == jobs[1].id
        await store.close()

    asyncio.run(play())


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_upkeep_comes_to_each_key_a_page_at_a_time(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """However many there are, each prune looks at a bounded number and the next goes on there."""
    store, delete = request.getfixturevalue(kind)

    async def play() -> None:
        await store.open()
        jobs = [new_job(key=Key(f"k{n:02}")) for n in range(25)]
        await store.enqueue(new_id(), jobs)
        delete(jobs[-1].id)
        for _ in range(2):
            await store.prune(10)
        [last] = await store.keys(["k24"])
        freed_early = last is None
        await store.prune(10)
        [last] = await store.keys(["k24"])
        assert last is None
        # Redis and PostgreSQL see at once that the holder of a key is gone, when it is asked for.
        assert not freed_early or kind != "sqlite"
        await store.close()

    asyncio.run(play())
