"""Transactional work on PostgreSQL.

Enqueueing inside the caller's own transaction, through each driver; `ctx.transaction()`.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.conformance.selling import CTX, ONCE, check, ends, open_shop, run, sales
from treadle import Context, JobState, StoreUnavailable, Task, Treadle, Worker

Mail = Task[[int], int]
HEARD_S: Final = 25.0


@pytest.fixture
def app(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Treadle]:
    """Give an application, and a table of the user's beside it; it hears, and does not look."""
    monkeypatch.setenv("TREADLE_POLL", "60")  # What is heard is heard long before a look.
    yield from open_shop(postgres_url, monkeypatch)


@pytest.fixture
def mail(app: Treadle) -> Mail:
    """Give a task."""

    @app.task(name="mail")
    def mail(number: int) -> int:
        return number

    return mail


class Given:
    """A connection of some driver: what to hand to treadle, and how it ends."""

    def __init__(self, connection: Any, write: Callable[[str], Any]) -> None:  # noqa: ANN401
        self.connection = connection
        self.write = write


@contextmanager
def by_psycopg(url: str) -> Iterator[Given]:
    """Connect with psycopg."""
    with psycopg.connect(url) as db:
        yield Given(db, lambda who: db.execute("insert into sales values (%s)", (who,)))


@contextmanager
def by_session(url: str) -> Iterator[Given]:
    """Open a session of SQLAlchemy."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as db:
        insert = text("insert into sales values (:who)")
        yield Given(db, lambda who: db.execute(insert, {"who": who}))
    engine.dispose()


@pytest.mark.parametrize("connect", [by_psycopg, by_session])
def test_the_callers_end_is_the_jobs(
    app: Treadle, mail: Mail, postgres_url: str, connect: Callable[[str], Any]
) -> None:
    """Rolled back the jobs never existed; committed they are there, with the caller's rows."""
    with connect(postgres_url) as given:
        bound = mail.using(connection=given.connection)
        given.write("ann")
        bound.enqueue(1)
        bound.enqueue_many([(2,), (3,)])
        assert app.jobs() == []
        given.connection.rollback()
        assert app.jobs() == []
        given.write("bob")
        job = bound.using(priority=5, delay=60).enqueue(4)
        assert (job.state, app.jobs()) == (JobState.SCHEDULED, [])
        given.connection.commit()
    [stored] = app.jobs()
    assert (stored.id, stored.state, stored.priority) == (job.id, JobState.SCHEDULED, 5)
    assert sales(postgres_url) == ["bob"]


@asynccontextmanager
async def by_async_psycopg(url: str) -> AsyncIterator[Given]:
    """Connect with psycopg's async twin."""
    async with await psycopg.AsyncConnection.connect(url) as db:
        yield Given(db, lambda who: db.execute("insert into sales values (%s)", (who,)))


@asynccontextmanager
async def by_async_session(url: str) -> AsyncIterator[Given]:
    """Open an async session of SQLAlchemy on asyncpg."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with AsyncSession(engine) as db:
        insert = text("insert into sales values (:who)")
        yield Given(db, lambda who: db.execute(insert, {"who": who}))
    await engine.dispose()


@pytest.mark.parametrize("connect", [by_async_psycopg, by_async_session])
def test_an_awaited_connection_does_the_same(
    app: Treadle, mail: Mail, postgres_url: str, connect: Callable[[str], Any]
) -> None:
    """With the async twins of `enqueue`."""

    async def main() -> str:
        async with connect(postgres_url) as given:
            bound = mail.using(connection=given.connection)
            await given.write("ann")
            await bound.aenqueue(1)
            await given.connection.rollback()
            await given.write("bob")
            await bound.aenqueue_many([(2,), (3,)])
            job = await bound.aenqueue(4)
            assert await app.ajobs() == []
            await given.connection.commit()
            return job.id

    newest = asyncio.run(main())
    assert sorted(job.args[0] for job in app.jobs()) == [2, 3, 4]
    assert newest in {job.id for job in app.jobs()}
    assert sales(postgres_url) == ["bob"]


def test_asyncpg_in_its_own_way_of_transactions(
    app: Treadle, mail: Mail, postgres_url: str
) -> None:
    """A block that is rolled back takes its jobs along."""

    async def main() -> None:
        db = await asyncpg.connect(postgres_url)
        bound = mail.using(connection=db)
        block = db.transaction()
        await block.start()
        await bound.aenqueue(1)
        await block.rollback()
        async with db.transaction():
            await bound.aenqueue(2)
        await db.close()

    asyncio.run(main())
    assert [job.args for job in app.jobs()] == [(2,)]


def test_a_connection_in_autocommit_mode_stores_at_once(
    app: Treadle, mail: Mail, postgres_url: str
) -> None:
    """Without a transaction the one statement is one."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        mail.using(connection=db).enqueue_many([(1,), (2,)])
        assert len(app.jobs()) == 2


def test_another_database_is_refused_and_its_transaction_goes_on(
    app: Treadle, mail: Mail, postgres_url: str
) -> None:
    """Jobs would go where no worker of this store looks."""
    name = f"other_{secrets.token_hex(4)}"
    with ExitStack() as stack:
        db = stack.enter_context(psycopg.connect(postgres_url, autocommit=True))
        db.execute(f"create database {name}")
        stack.callback(db.execute, f"drop database {name}")
        other = stack.enter_context(psycopg.connect(f"{postgres_url.rpartition('/')[0]}/{name}"))
        with pytest.raises(StoreUnavailable, match="another database"):
            mail.using(connection=other).enqueue(1)
        assert other.execute("select 1").fetchone() == (1,)
        assert app.jobs() == []
        other.close()


def test_a_worker_hears_of_the_commit(app: Treadle, mail: Mail, postgres_url: str) -> None:
    """The server itself tells the listeners, at the commit and not before."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(Worker(app))
            first = await mail.aenqueue(1)
            assert await first.aresult(timeout=HEARD_S) == 1
            db = await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(postgres_url)
            )
            job = await mail.using(connection=db).aenqueue(2)
            assert await app.ajobs(state="ready") == []
            await db.commit()
            assert await job.aresult(timeout=HEARD_S) == 2

    asyncio.run(main())


@ends
def test_a_tasks_writes_and_its_settlement_are_one(
    app: Treadle, mail: Mail, postgres_url: str, *, well: bool
) -> None:
    """On a connection that treadle lends."""

    @app.task(name="sells", retry=ONCE, queue="now")
    def sells(ctx: Context = CTX) -> None:
        ctx.progress(1, 2)
        ctx.log("sold")
        with ctx.transaction() as db:
            db.execute("insert into sales values ('ann')")
            mail.using(connection=db, delay=3600).enqueue(1)
            assert sales(postgres_url) == []
        if not well:
            raise ValueError

    job = run(app, sells)
    check(app, job, postgres_url, well=well)
    assert [line.text for line in job.logs()] == ["sold"]


@ends
def test_an_async_task_does_the_same(
    app: Treadle, mail: Mail, postgres_url: str, *, well: bool
) -> None:
    """On a connection that is awaited."""

    @app.task(name="sells", retry=ONCE)
    async def sells(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            await db.execute("insert into sales values ('ann')")
            await mail.using(connection=db, delay=3600).aenqueue(1)
        if not well:
            raise ValueError

    check(app, run(app, sells), postgres_url, well=well)


@ends
def test_a_session_of_the_tasks_own(
    app: Treadle, mail: Mail, postgres_url: str, *, well: bool
) -> None:
    """The task's session commits with the job, or not at all."""
    opened: list[Any] = []

    @app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        stack = ExitStack()
        given = stack.enter_context(by_session(postgres_url))
        opened.append(stack)
        with ctx.transaction(given.connection) as db:
            given.write("ann")
            mail.using(connection=db, delay=3600).enqueue(1)
        if not well:
            raise ValueError

    job = run(app, sells)
    opened[0].close()
    check(app, job, postgres_url, well=well)


def test_a_claim_that_was_lost_commits_nothing(app: Treadle, mail: Mail, postgres_url: str) -> None:
    """The fence holds for the task's own writes as well."""

    @app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("insert into sales values ('ann')")
            mail.using(connection=db).enqueue(1)
            app.job(ctx.job.id).cancel()

    job = run(app, sells)
    assert job.state is JobState.CANCELLED
    assert sales(postgres_url) == []
    assert app.jobs(task="mail") == []
