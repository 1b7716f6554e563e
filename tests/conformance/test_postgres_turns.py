"""Turns on PostgreSQL, where several transactions give tags at once."""

import asyncio

import pytest

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.store.statements import COMMIT
from treadle.testing.conformance.kit import Hand, new_job, worker_info
from treadle.testing.conformance.line.transactional import Desk
from treadle.testing.conformance.tenants.kit import turns


@pytest.mark.parametrize("producers", [2, 3])
def test_producers_at_once_share_tags_and_no_more(postgres_schema: str, producers: int) -> None:
    """Each other tenant is still served in each round, and what comes after stands behind all."""

    async def scene() -> None:
        store = PostgresStore(postgres_schema, "default", Settings())
        await store.migrate()
        # A queue that is new would let the second transaction wait for the first.
        await store.enqueue(new_id(), [new_job(delay=60 * SECOND)])
        desks = [Desk(store.transactional) for _ in range(producers)]
        for desk in desks:
            await desk.begin()
            jobs = [new_job(tenant="a", args=b"a") for _ in range(3)]
            await desk.run(store.transactional.enqueue(jobs))
        for desk in desks:
            await desk.end(COMMIT)
        await store.enqueue(new_id(), [new_job(tenant="a", args=b"A")])
        await store.enqueue(new_id(), [new_job(tenant="b", args=b"b") for _ in range(5)])
        worker = Hand(store, worker_info("w"))
        await worker.register()
        claims = await worker.claim(3 * producers + 6)
        assert turns(claims) == ("a" * producers + "b") * 3 + "Abb"
        await store.close()

    asyncio.run(scene())
