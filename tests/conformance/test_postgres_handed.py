"""Jobs on PostgreSQL that an enqueue hands to an idle worker, and when it must not."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, LiteralString

import psycopg
import pytest

from tests.conformance.handed import *  # noqa: F403 -- as the suite is taken
from tests.conformance.handed import claims_of, idle, wait_again
from treadle.core.clock import MovedClock
from treadle.core.job import NewJob
from treadle.core.outcome import Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    Case,
    MakeStore,
    case,
    ids_of,
    new_job,
    scenario,
)

__all__ = ["case"]

Rows = list[tuple[Any, ...]]
_LISTENERS: Final = (
    "from pg_locks where locktype = 'advisory' "
    "and (classid::bigint << 32 | objid::bigint) in (select ear from treadle_offers) "
)


class Look:
    """Sees what the server holds."""

    def __init__(self, db: "psycopg.Connection[Any]") -> None:
        self._db = db

    def __call__(self, statement: LiteralString, *values: object) -> Rows:
        """Give the rows of a statement."""
        return self._db.execute(statement, values).fetchall()

    def offers(self) -> Rows:
        """Give whose offers there are, and whether they stand."""
        return self("select worker, job is null from treadle_offers order by worker")

    def heard_meanwhile(
        self, channels: list[str], act: Callable[[], None]
    ) -> list[tuple[str, str]]:
        """Give what is told on these channels while something is done."""
        for name in (*channels, "over"):
            self._db.execute(f'listen "{name}"'.encode())
        act()
        self._db.execute("notify over")
        told = [(one.channel, one.payload) for one in self._db.notifies(timeout=10, stop_after=1)]
        while told[-1][0] != "over":
            told += [
                (one.channel, one.payload) for one in self._db.notifies(timeout=10, stop_after=1)
            ]
        return told[:-1]

    def end_listeners(self) -> None:
        """End the connections on which those who offer hear news, and wait until the server has."""
        assert self("select pg_terminate_backend(pid) " + _LISTENERS) == [(True,)]
        # PostgreSQL 13 cannot wait for that itself.
        deadline = time.monotonic() + 10
        while self("select " + _LISTENERS):
            assert time.monotonic() < deadline, "a listener's session has not ended"
            time.sleep(0.01)

    @contextlib.contextmanager
    def shut_jobs(self) -> Iterator[None]:
        """Let nobody read or write jobs meanwhile."""
        with self._db.transaction():
            self._db.execute("lock table treadle_jobs in access exclusive mode")
            yield

    @contextlib.contextmanager
    def hold_workers(self) -> Iterator[None]:
        """Let no exchange of a worker lock its row meanwhile."""
        with self._db.transaction():
            self._db.execute("select from treadle_workers for update")
            yield

    async def until_listener_waits(self) -> int:
        """Wait until the connection that hears news waits for a lock; give its process's id."""
        waiting = "and pid in (select pid from pg_locks where not granted)"
        return await self._until("select pid " + _LISTENERS + waiting)

    async def until_somebody_waits(self) -> None:
        """Wait until a connection waits for a lock."""
        await self._until("select pid from pg_locks where not granted")

    async def _until(self, statement: LiteralString) -> int:
        rows: Rows = []
        async with asyncio.timeout(10):
            while not rows:
                await asyncio.sleep(0.01)
                rows = self(statement)
        [[found]] = rows
        return int(found)


@pytest.fixture
def look(postgres_schema: str) -> Iterator[Look]:
    """Give a connection of the test's own."""
    url, _, schema = postgres_schema.partition("?schema=")
    with psycopg.connect(url, autocommit=True, options=f"-c search_path={schema}") as db:
        yield Look(db)


@pytest.fixture
def make_store(postgres_schema: str, clock: MovedClock) -> MakeStore:
    """Make stores on the test's schema."""

    def make(namespace: str = "default") -> Store:
        store = PostgresStore(postgres_schema, namespace, Settings(), clock)
        store.migrate_now()
        return store

    return make


@scenario
async def test_a_worker_that_is_told_of_its_job_writes_nothing(case: Case, look: Look) -> None:
    """It reads the job that is claimed for it already: its row is neither locked nor written."""
    worker = await idle(case)
    row = "select xmin::text, ctid::text, request from treadle_workers"
    before = look(row)
    await case.enqueue(new_job())
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    assert len(await worker.claim(10)) == 1
    assert look(row) == before


@scenario
async def test_what_was_handed_over_is_read_as_the_news_come(case: Case, look: Look) -> None:
    """The exchange after them asks the server nothing: it is answered though no job can be read."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    brought = case.store._ears.here().own._told  # type: ignore[attr-defined] # noqa: SLF001
    while brought.get(worker.name) is None:
        # On a busy machine it may be woken by other news first.
        assert await worker.store.wait(work=True, ends=False, timeout=10)
    with look.shut_jobs():
        [claim] = await worker.claim(10)
    assert (claim.id, claim.number, claim.attempt) == (job.id, 1, 1)


async def _meddle(look: Look, how: LiteralString) -> None:
    pid = await look.until_listener_waits()
    assert look(how, pid) == [(True,)]


@pytest.mark.parametrize(
    "how",
    ["select pg_terminate_backend(%s)", "select pg_cancel_backend(%s)"],
    ids=["lost", "refused"],
)
@scenario
async def test_a_worker_is_woken_whose_job_cannot_be_read_as_the_news_come(
    case: Case, look: Look, how: LiteralString
) -> None:
    """The connection is lost, or the server refuses: then the worker's exchange reads it."""
    worker, job = await idle(case), new_job()
    case.store.enqueue_now(job.id, [job])
    with look.shut_jobs():
        # What a task has not waited for before wakes it at once: so the wait is this one's.
        meddler = asyncio.create_task(_meddle(look, how))
        assert await worker.store.wait(work=True, ends=False, timeout=30)
        await meddler
    [claim] = await worker.claim(10)
    assert (claim.id, claim.number, claim.attempt) == (job.id, 1, 1)


@scenario
async def test_only_the_worker_that_was_handed_a_job_is_woken(case: Case, look: Look) -> None:
    """The news go out under its own listener's key, and those who listen for work hear nothing."""
    worker, job = await idle(case), new_job()
    [[key]] = look("select ear::text from treadle_offers")
    channel = case.store._place.channel  # type: ignore[attr-defined] # noqa: SLF001
    heard = look.heard_meanwhile([channel + "work", channel + key], lambda: add_one(case, job))
    assert heard == [(channel + key, worker.name)]


def add_one(case: Case, job: NewJob) -> None:
    """Enqueue a job."""
    case.store.enqueue_now(job.id, [job])


@scenario
async def test_a_worker_that_hears_nothing_is_handed_none(case: Case, look: Look) -> None:
    """Its process is gone, and its connection with it: the job is ready for the others."""
    worker, job = await idle(case, await case.open()), new_job()
    look.end_listeners()
    case.store.enqueue_now(job.id, [job])
    assert look.offers() == [(worker.name, True)]
    assert await case.states([job.id]) == ["ready"]
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    [claim] = await worker.claim(10)
    await worker.finish(claim, Succeeded(b"1", 5))
    assert await worker.claim(10) == []
    await wait_again(worker)
    await case.add()
    assert look.offers() == [(worker.name, False)]
    assert len([claim async for claim in claims_of(worker)]) == 1


@scenario
async def test_who_claims_takes_its_offer_back(case: Case, look: Look) -> None:
    """With a job that was not handed over it is idle no more, and the next one is ready."""
    worker = await idle(case)
    await case.add(2)
    assert len(await worker.claim(10)) == 2
    assert look.offers() == []
    [later] = await case.add()
    assert await case.states([later]) == ["ready"]


@scenario
async def test_no_offer_is_made_beside_an_exchange(case: Case, look: Look) -> None:
    """What has claimed meanwhile leaves none behind, by which a busy worker would be handed one."""
    worker = await idle(case)
    await case.add()
    assert len([claim async for claim in claims_of(worker)]) == 1
    [ready] = await case.add()
    with look.hold_workers():
        under_way = asyncio.create_task(worker.claim(1))
        await look.until_somebody_waits()
        await wait_again(worker)
    assert ids_of(await under_way) == [ready]
    assert look.offers() in ([], [(worker.name, False)])
    [later] = await case.add()
    assert await case.states([later]) == ["ready"]


@scenario
async def test_a_worker_that_takes_no_more_takes_its_offer_back(case: Case, look: Look) -> None:
    """One that stops asks for nothing; what it was handed is given to it, to be returned."""
    worker = await idle(case)
    assert not (await worker.exchange()).claims
    assert look.offers() == []
    assert await worker.claim(10) == []
    await wait_again(worker)
    [job] = await case.add()
    assert ids_of((await worker.exchange()).claims) == [job]


@scenario
async def test_an_offer_goes_with_its_worker(case: Case, look: Look) -> None:
    """One that has left, or was rescued, is handed nothing."""
    worker = await idle(case)
    await worker.store.leave(worker.name)
    assert look.offers() == []
    worker = await idle(case)
    case.clock.move(worker.info.lease / 1e6 + 1)
    rescuer = await case.worker("w2", store=await case.open())
    await rescuer.rescue_in_two_looks(case.clock)
    assert look.offers() == []


@scenario
async def test_two_enqueues_at_once_hand_one_worker_one_job(case: Case, look: Look) -> None:
    """While the first one's transaction is open the second passes the worker by."""
    worker, job = await idle(case), new_job()
    with psycopg.connect(look._db.info.dsn, options=look._db.info.options) as other:  # noqa: SLF001
        other.execute("select from treadle_offers for update")
        await case.enqueue(job)
        assert await case.states([job.id]) == ["ready"]
    assert ids_of(await worker.claim(10)) == [job.id]


_DEAD: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "jobs": (
        """insert into treadle_jobs (id, task, args, queue, state, created_at, run_at)
        select gen_random_uuid(), 'a', '', 'bulk', 'ready', 1, 1
        from generate_series(1, 150000)""",
        "delete from treadle_jobs",
    ),
    "offers": (
        "insert into treadle_offers select i::text, 1, 1 from generate_series(1, 400000) as i",
        "delete from treadle_offers",
    ),
}


@pytest.mark.parametrize("where", list(_DEAD))
@scenario
async def test_no_offer_is_made_where_an_enqueue_would_look_for_long(
    case: Case, look: Look, where: str
) -> None:
    """Rows that a session with an open transaction may still see lie dead where it looks."""
    worker, [job] = await idle(case), await case.add(queue="bulk")
    with psycopg.connect(look._db.info.dsn, options=look._db.info.options) as other:  # noqa: SLF001
        other.execute("set transaction isolation level repeatable read")
        other.execute("select from treadle_jobs")
        [claim] = [claim async for claim in claims_of(worker)]
        assert claim.id == job
        await worker.finish(claim, Succeeded(b"1", 5))
        for statement in _DEAD[where]:
            look._db.execute(statement)  # noqa: SLF001
        assert await worker.claim(10) == []
        await wait_again(worker)
        assert (worker.name, True) not in look.offers()
        [ready] = await case.add()
        assert await case.states([ready]) == ["ready"]


@scenario
async def test_who_was_handed_what_is_gone_makes_an_offer_again(case: Case) -> None:
    """Its job was cancelled before it looked: the next one that is enqueued is handed to it."""
    worker, [job] = await idle(case), await case.add()
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    await case.store.cancel([job])
    await worker.beat()
    assert await worker.claim(10) == []
    await wait_again(worker)
    [handed] = await case.add()
    assert await case.states([handed]) == ["running"]


@scenario
async def test_an_offer_that_is_made_anew_keeps_what_is_handed_over_just_then(
    case: Case, look: Look
) -> None:
    """It waits for the enqueue that has the row, and finds the job that it did not see before."""
    worker, job = await idle(case), new_job()
    worker.store._offers._keys.clear()  # type: ignore[attr-defined] # noqa: SLF001
    with psycopg.connect(look._db.info.dsn, options=look._db.info.options) as other:  # noqa: SLF001
        other.execute(
            "insert into treadle_jobs (id, task, args, queue, state, number, attempt, worker, "
            "started_at, created_at, run_at) values "
            "(%s, 'a', '', 'q', 'running', 1, 1, %s, 1, 1, 1)",
            (job.id.hex(), worker.name),
        )
        other.execute("update treadle_offers set job = %s", (job.id.hex(),))
        waiting = asyncio.create_task(worker.store.wait(work=True, ends=False, timeout=0.01))
        await look.until_somebody_waits()
    await waiting
    assert ids_of(await worker.claim(10)) == [job.id]


@scenario
async def test_what_its_worker_does_not_look_for_goes_back(case: Case) -> None:
    """With its loop blocked for two beats the job is ready for the others, its attempt unspent."""
    worker, [job] = await idle(case), await case.add()
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    assert [(await worker.beat()).returned for _ in range(2)] == [0, 1]
    record = await case.job(job)
    assert (record.state, record.attempt) == ("ready", 0)
    [claim] = await worker.claim(10)
    await worker.finish(claim, Succeeded(b"1", 5))
    assert await worker.claim(10) == []
    await wait_again(worker)
    [next_one] = await case.add()
    assert await case.states([next_one]) == ["running"]


@scenario
async def test_the_backlog_of_a_paused_queue_is_not_read_by_enqueues(
    case: Case, look: Look
) -> None:
    """It takes no longer for a backlog that nobody may claim: other jobs are handed over."""
    worker, [job] = await idle(case), await case.add(queue="bulk")
    [claim] = [claim async for claim in claims_of(worker)]
    assert claim.id == job
    await worker.finish(claim, Succeeded(b"1", 5))
    await case.store.pause("bulk")
    backlog, _ = _DEAD["jobs"]
    look._db.execute(backlog)  # noqa: SLF001
    assert await worker.claim(10) == []
    await wait_again(worker)
    [handed] = await case.add()
    assert await case.states([handed]) == ["running"]


def test_a_loop_that_has_ended_is_let_go(postgres_schema: str) -> None:
    """A program that waits in one loop after another keeps the last one's listener at the most."""
    store = PostgresStore(postgres_schema, "default", Settings())
    store.migrate_now()

    async def wait() -> None:
        await store.wait(work=False, ends=True, timeout=0.01)

    for _ in range(5):
        asyncio.run(wait())
    assert len(store._ears.known()) == 1  # noqa: SLF001
    store.close_now()
