"""An idle worker's exchange writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import psycopg
import pytest

from treadle import Treadle
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, new_job, worker_info

ROW: Final = "select xmin::text, xmax::text, ctid::text from {}.treadle_workers"


def last_touched(url: str) -> Sequence[tuple[object, ...]]:
    """Tell which transactions have last written and locked the worker's row."""
    plain, _, schema = url.partition("?schema=")
    with psycopg.connect(plain, autocommit=True) as db:
        return db.execute(ROW.format(schema).encode()).fetchall()


@pytest.mark.parametrize("queues", [(), ("default",)])
def test_a_claim_that_finds_nothing_writes_nothing(
    postgres_schema: str, queues: tuple[str, ...]
) -> None:
    """Its worker's row is neither locked nor written, so it waits for no disk."""

    async def look() -> None:
        worker = Hand(PostgresStore(postgres_schema, "default", Settings()), worker_info("w"))
        await worker.store.migrate()
        await worker.store.enqueue(new_id(), [new_job()])
        await worker.register()
        unclaimed = last_touched(postgres_schema)
        assert len(await worker.claim(1, *queues)) == 1
        before = last_touched(postgres_schema)
        assert before != unclaimed
        assert await worker.claim(1, *queues) == []
        assert last_touched(postgres_schema) == before
        await worker.store.close()

    asyncio.run(look())


def test_who_hears_of_work_in_vain_looks_before_it_claims_again(postgres_schema: str) -> None:
    """After news that brought a job the next ones are claimed on at once, after vain ones not."""

    async def look() -> None:
        first, second = (
            Hand(PostgresStore(postgres_schema, "default", Settings()), worker_info(name))
            for name in ("a", "b")
        )
        await first.store.migrate()
        for worker in (first, second):
            await worker.register()
            await heard(worker)

        async def rival_takes_it() -> bool:
            """Tell whether the first worker's claim writes when the second was there before."""
            await first.store.enqueue(new_id(), [new_job()])
            await heard(first)
            assert len(await second.claim(1)) == 1
            before = last_touched(postgres_schema)
            assert await first.claim(1) == []
            return last_touched(postgres_schema) != before

        assert not await rival_takes_it()
        await first.store.enqueue(new_id(), [new_job()])
        await heard(first)
        assert len(await first.claim(1)) == 1
        assert await rival_takes_it()
        assert not await rival_takes_it()
        await first.store.close()
        await second.store.close()

    asyncio.run(look())


def test_news_leave_a_callers_transaction_as_durable_as_it_was(postgres_schema: str) -> None:
    """Somebody listens, and the caller's own commit still waits for the disk."""
    url, _, schema = postgres_schema.partition("?schema=")
    app = Treadle(postgres_schema)

    @app.task(name="mail")
    def mail() -> None:
        """Do nothing."""

    async def listen() -> None:
        worker = Hand(PostgresStore(postgres_schema, "default", Settings()), worker_info("w"))
        await worker.store.migrate()
        await heard(worker)
        news = asyncio.create_task(heard(worker))
        assert await asyncio.to_thread(enqueue_inside) == ("on",)
        await news
        await worker.store.close()

    def enqueue_inside() -> tuple[object, ...] | None:
        with psycopg.connect(url, options=f"-c search_path={schema}") as db:
            mail.using(connection=db).enqueue()
            return db.execute("show synchronous_commit").fetchone()

    asyncio.run(listen())
    app.close()


async def heard(worker: Hand) -> None:
    """Wait for news of work; the first ones come with the first wait."""
    assert await worker.store.wait(work=True, ends=False, timeout=10.0)
