"""A claim leaves rows alone that another transaction has touched, and forgets none of them."""

import asyncio
import time
from typing import Final
from uuid import UUID

import psycopg

from treadle.core.ids import new_id
from treadle.core.outcome import Released, Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.contract import Exchanged
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    Hand,
    ids_of,
    new_job,
    settlement,
    take,
    worker_info,
)

WAIT_S: Final = 10.0
SETTLE_S: Final = 12.0
TIMEOUT_S: Final = 30.0
"""Of the stores: the server gives up waiting for a lock after half of it."""
BEFORE, AFTER = 77, 78
# A session named `late` stops twice: in its claim, whose view of the table is taken by then, and
# behind it, before its commit. Both tables are read in those places alone.
STOPS: Final = """
    create function {s}.stop(place bigint) returns boolean language plpgsql as $$
    begin
        if current_setting('application_name') = 'late' then
            perform pg_advisory_xact_lock_shared(place);
        end if;
        return true;
    end $$;
    alter table {s}.treadle_queues rename to queues_kept;
    create view {s}.treadle_queues as select * from {s}.queues_kept where {s}.stop({before});
    insert into {s}.treadle_gates (name, kind, quota, period, burst, wake_at)
    values ('one', 'switch', 0, 0, 0, 9000000000000000);
    alter table {s}.treadle_gates rename to gates_kept;
    create view {s}.treadle_gates as select * from {s}.gates_kept where {s}.stop({after})
"""


def hand(url: str, name: str) -> Hand:
    """Give a worker with a store of its own."""
    return Hand(PostgresStore(url, "default", Settings(store_timeout=TIMEOUT_S)), worker_info(name))


async def until_stopped(db: psycopg.Connection, place: int) -> None:
    """Wait until a session waits for this advisory lock."""
    asked = "select 1 from pg_locks where locktype = 'advisory' and objid = %s and not granted"
    deadline = time.monotonic() + WAIT_S
    while not db.execute(asked, [place]).fetchone():
        assert time.monotonic() < deadline, f"nobody stopped at {place}"
        await asyncio.sleep(0.01)


def test_a_late_claim_holds_up_nobody_who_claimed_before_it(postgres_schema: str) -> None:
    """One that still saw those jobs as ready takes others; their worker settles meanwhile."""
    url, _, schema = postgres_schema.partition("?schema=")

    async def race(db: psycopg.Connection) -> None:
        fast, late = (
            hand(postgres_schema, "fast"),
            hand(f"{postgres_schema}&application_name=late", "late"),
        )
        await fast.store.migrate()
        await fast.store.enqueue(new_id(), [new_job() for _ in range(10)])
        await fast.register()
        await late.register()
        # The first claim of a store looks for gates beforehand; a drain's claims have no such look.
        [own] = await late.claim()
        db.execute(STOPS.format(s=schema, before=BEFORE, after=AFTER).encode())
        for place in (BEFORE, AFTER):
            db.execute("select pg_advisory_lock(%s)", [place])
        claiming = asyncio.create_task(late.exchange([settlement(own, Succeeded(None))], take(5)))
        await until_stopped(db, BEFORE)
        claims = await fast.claim(5)
        db.execute("select pg_advisory_unlock(%s)", [BEFORE])
        await until_stopped(db, AFTER)
        done = [settlement(claim, Succeeded(None)) for claim in claims]
        verdicts = await asyncio.wait_for(fast.settle(*done), SETTLE_S)
        db.execute("select pg_advisory_unlock(%s)", [AFTER])
        others = (await claiming).claims
        assert verdicts == [Verdict.APPLIED] * 5
        assert len(others) == 4
        assert not set(ids_of(others)) & set(ids_of(claims))
        await fast.store.close()
        await late.store.close()

    with psycopg.connect(url, autocommit=True) as db:
        asyncio.run(race(db))


def test_what_a_rolled_back_transaction_has_touched_keeps_its_turn(postgres_schema: str) -> None:
    """Beside gates, who was done with a row before the claim began keeps nobody from it."""
    url, _, schema = postgres_schema.partition("?schema=")

    async def drain() -> None:
        worker = hand(postgres_schema, "w")
        await worker.store.migrate()
        await worker.store.shut_gate("task:another")
        jobs = [new_job() for _ in range(4)]
        await worker.store.enqueue(new_id(), jobs)
        with psycopg.connect(url) as other, psycopg.connect(url) as db:
            # Older than the lock, and open: what it may still see bounds no look at others.
            other.execute("select pg_current_xact_id()")
            db.execute(f"set search_path = {schema}".encode())
            db.execute(
                "select 1 from treadle_jobs where id = %s for update", [UUID(bytes=jobs[0].id)]
            )
            db.rollback()
            await worker.register()
            taken = [ids_of(await worker.claim(3)), ids_of(await worker.claim(3))]
        assert taken == [[job.id for job in jobs[:3]], [jobs[3].id]]
        await worker.store.close()

    asyncio.run(drain())


def touch(url: str, schema: str) -> None:
    """Lock what is ready for a moment, as a claim does that is rolled back."""
    with psycopg.connect(url) as db:
        db.execute(f"set search_path = {schema}".encode())
        db.execute("select 1 from treadle_jobs where state = 'ready' for update")
        db.rollback()


async def claim_touched(
    db: psycopg.Connection, urls: tuple[str, str], schema: str, done: int
) -> tuple[Hand, Exchanged, list[bytes]]:
    """Settle so many jobs and claim those that are touched once the claim has seen them."""
    late = hand(f"{urls[1]}&application_name=late", "late")
    await late.store.migrate()
    await late.store.enqueue(new_id(), [new_job() for _ in range(done)])
    await late.register()
    claims = await late.claim(done + 1)
    jobs = [new_job() for _ in range(3)]
    await late.store.enqueue(new_id(), jobs)
    db.execute(STOPS.format(s=schema, before=BEFORE, after=AFTER).encode())
    db.execute("select pg_advisory_lock(%s)", [BEFORE])
    settled = [settlement(claim, Succeeded(None)) for claim in claims]
    claiming = asyncio.create_task(late.exchange(settled, take(5)))
    await until_stopped(db, BEFORE)
    touch(urls[0], schema)
    db.execute("select pg_advisory_unlock(%s)", [BEFORE])
    return late, await claiming, [job.id for job in jobs]


def test_what_was_touched_during_a_claim_is_claimed_where_nothing_else_is(
    postgres_schema: str,
) -> None:
    """One that finds no other rows takes them."""
    url, _, schema = postgres_schema.partition("?schema=")

    async def drain(db: psycopg.Connection) -> None:
        late, answer, jobs = await claim_touched(db, (url, postgres_schema), schema, 1)
        assert ids_of(answer.claims) == jobs
        await late.store.close()

    with psycopg.connect(url, autocommit=True) as db:
        asyncio.run(drain(db))


def test_a_batch_at_the_end_of_a_queue_locks_nothing_that_others_may_settle(
    postgres_schema: str,
) -> None:
    """What somebody touches meanwhile is left to the next claim, which is asked for at once."""
    url, _, schema = postgres_schema.partition("?schema=")

    async def drain(db: psycopg.Connection) -> None:
        late, answer, jobs = await claim_touched(db, (url, postgres_schema), schema, 32)
        assert (ids_of(answer.claims), answer.more) == ([], True)
        assert answer.verdicts == [Verdict.APPLIED] * 32
        assert ids_of(await late.claim(5)) == jobs
        await late.store.close()

    with psycopg.connect(url, autocommit=True) as db:
        asyncio.run(drain(db))


def test_what_was_handed_back_keeps_its_turn(postgres_schema: str) -> None:
    """A row that its last writer had locked first counts as untouched."""

    async def drain() -> None:
        worker = hand(postgres_schema, "w")
        await worker.store.migrate()
        jobs = [new_job() for _ in range(3)]
        await worker.store.enqueue(new_id(), jobs)
        await worker.register()
        [first] = await worker.claim()
        await worker.settle(settlement(first, Released()))
        assert ids_of(await worker.claim(3)) == [job.id for job in jobs]
        await worker.store.close()

    asyncio.run(drain())
