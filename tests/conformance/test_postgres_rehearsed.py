"""A worker that has nothing to do lets the server plan what its first jobs will need."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import psycopg
import pytest

from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.postgres.engine.runner import Runner, Talk, drive
from treadle.store.postgres.engine.sql import place_of, statement, statements
from treadle.store.postgres.engine.target import read_target
from treadle.store.postgres.engine.wire import Ask
from treadle.store.postgres.history import History
from treadle.store.postgres.line.rehearse import rehearse
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, new_job, settlement, take, worker_info

PREPARED: Final = statement("select name from pg_prepared_statements")
BATCH: Final = 40
TAKEN_OUT: Final = "delete from {}.treadle_shelves returning name"
KEEP: Final = 86_400_000_000


async def prepared(store: PostgresStore) -> set[str]:
    """Name what is prepared on the connection of a store's line."""

    def talk() -> Talk[set[str]]:
        _, [rows] = yield Ask([(PREPARED, ())])
        return {name for (name,) in rows}

    return await drive(runner_of(store).run(talk, line=True))


def runner_of(store: PostgresStore) -> Runner:
    """Give what carries a store's conversations: its connections are nobody else's business."""
    return store._runner  # noqa: SLF001


async def drain(worker: Hand, *queues: str) -> list[Verdict]:
    """Claim a batch, and settle it with the claim of another one, until nothing is left."""
    verdicts: list[Verdict] = []
    answer = await worker.exchange(demand=take(BATCH, *queues))
    while answer.claims:
        ended = [settlement(claim, Succeeded(b"1")) for claim in answer.claims]
        answer = await worker.exchange(ended, take(BATCH, *queues))
        verdicts += answer.verdicts
    return verdicts


@pytest.mark.parametrize("queues", [(), ("default",)])
def test_a_worker_that_was_idle_plans_nothing_for_its_first_jobs(
    postgres_schema: str, queues: tuple[str, ...]
) -> None:
    """Its claims and settlements are statements that its first look, which found none, has sent."""

    async def work() -> None:
        filler, worker = (
            Hand(PostgresStore(postgres_schema, "default", Settings()), worker_info(name))
            for name in ("filler", "w")
        )
        assert isinstance(filler.store, PostgresStore)
        assert isinstance(worker.store, PostgresStore)
        await filler.store.migrate()
        # Who drains first makes the shelf, and opens the queue.
        await filler.register()
        await filler.store.enqueue(new_id(), [new_job() for _ in range(BATCH)])
        await drain(filler, *queues)
        await worker.register()
        assert await worker.claim(BATCH, *queues) == []
        before = await prepared(worker.store)
        await filler.store.enqueue(new_id(), [new_job() for _ in range(3 * BATCH)])
        answer = await worker.exchange(demand=take(BATCH, *queues))
        ended = [settlement(claim, Succeeded(b"1")) for claim in answer.claims]
        answer = await worker.exchange(ended, take(BATCH, *queues))
        assert answer.verdicts == [Verdict.APPLIED] * BATCH
        assert len(answer.claims) == BATCH
        assert await prepared(worker.store) == before
        for store in (filler.store, worker.store):
            await store.close()

    asyncio.run(work())


def test_a_rehearsal_leaves_every_job_as_it_is(postgres_schema: str) -> None:
    """Jobs that become ready just before it are claimed after it, once, as first attempts."""

    async def work() -> None:
        worker = Hand(PostgresStore(postgres_schema, "default", Settings()), worker_info("w"))
        await worker.store.migrate()
        await worker.register()
        jobs = [new_job() for _ in range(BATCH)]
        await worker.store.enqueue(new_id(), jobs)
        target = read_target(postgres_schema, 5)
        place = place_of("default", target.schema)
        sql = statements(place)
        runner = Runner(target, sql, timeout=5, clock=None)
        history = History(sql, place, lambda: None)
        for queues in ((), ("default",), ("default", "other")):
            words = (sql, take(BATCH, *queues), history, KEEP, None)
            await drive(runner.run(partial(rehearse, *words)))
        runner.pool.close()
        ids = [job.id for job in jobs]
        assert [r and r.state for r in await worker.store.get(ids)] == [JobState.READY] * BATCH
        claims = await worker.claim(BATCH)
        assert sorted(claim.id for claim in claims) == sorted(ids)
        assert {(claim.attempt, claim.number) for claim in claims} == {(1, 1)}
        await worker.store.close()

    asyncio.run(work())


def test_a_worker_rehearses_once(postgres_schema: str) -> None:
    """Its later looks ask no more than whether there is work; a new incarnation rehearses anew."""

    async def work() -> None:
        store = PostgresStore(postgres_schema, "default", Settings())
        await store.migrate()
        worker = Hand(store, worker_info("first"))
        await worker.register()
        assert await worker.claim(BATCH) == []
        place = place_of("default", read_target(postgres_schema, 5).schema)
        claim = statements(place)["claim_any"].name.decode()
        assert claim in await prepared(store)
        # Each look is on a new connection, where nothing is prepared.
        runner_of(store).pool.close()
        assert await worker.claim(BATCH) == []
        assert claim not in await prepared(store)
        again = Hand(store, worker_info("second"))
        await again.register()
        assert await again.claim(BATCH) == []
        assert claim in await prepared(store)
        await store.close()

    asyncio.run(work())


def test_a_shelf_that_goes_before_a_rehearsal_is_done_without(postgres_schema: str) -> None:
    """The look that found nothing is answered, and the next jobs are claimed and settled."""

    async def work() -> None:
        store = PostgresStore(postgres_schema, "default", Settings())
        await store.migrate()
        worker = Hand(store, worker_info("first"))
        await worker.register()
        await store.enqueue(new_id(), [new_job() for _ in range(BATCH)])
        assert set(await drain(worker)) == {Verdict.APPLIED}
        plain, _, schema = postgres_schema.partition("?schema=")
        with psycopg.connect(plain, autocommit=True) as db:
            for (name,) in db.execute(TAKEN_OUT.format(schema).encode()).fetchall():
                db.execute(f"drop table {schema}.treadle_{name}".encode())
        again = Hand(store, worker_info("second"))
        await again.register()
        runner_of(store).pool.close()
        assert await again.claim(BATCH) == []
        await store.enqueue(new_id(), [new_job() for _ in range(BATCH)])
        assert await drain(again) == [Verdict.APPLIED] * BATCH
        await store.close()

    asyncio.run(work())
