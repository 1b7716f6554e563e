"""`ctx.transaction(session)`: the caller's own session or connection, and middleware around it."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.worker.shop import CTX, Shop, both
from treadle import Context, Job, Retry, Worker
from treadle.worker.attempt import CallNext

SALE: Final = "insert into sales (who) values ('ann')"
SESSION: Final[ContextVar[Any]] = ContextVar("session")
ONCE: Final = Retry(attempts=1)


@pytest.fixture
def engine(shop: Shop) -> Iterator[Engine]:
    """Give an engine on the shop's file."""
    engine = create_engine(f"sqlite:///{shop.file}")
    yield engine
    engine.dispose()


@asynccontextmanager
async def async_engine(shop: Shop) -> AsyncIterator[AsyncEngine]:
    """Give an async engine on the shop's file."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
    try:
        yield engine
    finally:
        await engine.dispose()


def check(shop: Shop, job: Job[Any], *, sold: bool) -> None:
    """Look whether the job, its child and its writes went together."""
    assert job.state == ("succeeded" if sold else "failed"), job.error
    assert shop.sales == (["ann"] if sold else [])
    assert shop.children == ([1] if sold else [])
    assert not shop.locked


sold = pytest.mark.parametrize("sold", [True, False], ids=["returns", "raises"])


@sold
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_sqlalchemy(shop: Shop, engine: Engine, kind: str, *, sold: bool) -> None:
    """What is written through it commits with the job, or not at all."""
    opened: list[Session | Connection] = []

    @shop.app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        given = Session(engine) if kind == "session" else engine.connect()
        opened.append(given)
        with ctx.transaction(given) as db:
            db.execute(text(SALE))
            shop.child.using(connection=db).enqueue(1)
            assert shop.sales == []
        if not sold:
            raise ValueError

    check(shop, shop.run(sells), sold=sold)
    opened[0].close()


@sold
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_async_sqlalchemy(shop: Shop, kind: str, *, sold: bool) -> None:
    """The same where it is awaited."""
    opened: list[AsyncSession | AsyncConnection] = []

    @shop.app.on_shutdown
    async def close() -> None:
        await opened[0].close()
        await aengine.dispose()

    @shop.app.task(name="sells", retry=ONCE)
    async def sells(ctx: Context = CTX) -> None:
        given: AsyncSession | AsyncConnection = AsyncSession(aengine)
        if kind == "connection":
            given = await aengine.connect()
        opened.append(given)
        async with ctx.transaction(given) as db:
            await db.execute(text(SALE))
            await shop.child.using(connection=db).aenqueue(1)
        if not sold:
            raise ValueError

    aengine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
    check(shop, shop.run(sells), sold=sold)


@sold
@both
@pytest.mark.parametrize("level", [None, "", "IMMEDIATE"])
def test_sqlite3(shop: Shop, level: Any, *, is_async: bool, sold: bool) -> None:  # noqa: ANN401
    """In each of the modes in which the module begins transactions."""
    opened = []

    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(shop.file, isolation_level=level, check_same_thread=False)
        opened.append(db)
        return db

    @shop.app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with ctx.transaction(connect()) as db:
            db.execute(SALE)
            shop.child.using(connection=db).enqueue(1)
        if not sold:
            raise ValueError

    @shop.app.task(name="asells", retry=ONCE)
    async def asells(ctx: Context = CTX) -> None:
        async with ctx.transaction(connect()) as db:
            db.execute(SALE)
            shop.child.using(connection=db).enqueue(1)
        if not sold:
            raise ValueError

    check(shop, shop.run(asells if is_async else sells), sold=sold)
    opened[0].close()


@pytest.mark.parametrize("how", ["closed", "committed", "rolled back"])
def test_one_that_ends_too_early_fails_the_job(shop: Shop, engine: Engine, how: str) -> None:
    """A job never succeeds without its writes: what has ended in between is noticed."""

    @shop.app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with Session(engine) as session:
            with ctx.transaction(session):
                session.execute(text(SALE))
            if how == "committed":
                session.commit()
            if how == "rolled back":
                session.rollback()

    job = shop.run(sells)
    assert job.state == "failed"
    assert job.error is not None
    assert "ended before the task's function had returned" in job.error.message
    assert shop.sales == (["ann"] if how == "committed" else [])


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_one_without_transactions_of_its_own_that_ends_too_early(shop: Shop, how: str) -> None:
    """The job fails as well where each statement after that end is a transaction."""
    db = sqlite3.connect(shop.file, isolation_level=None, check_same_thread=False)

    @shop.app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with ctx.transaction(db):
            db.execute(SALE)
        db.execute(how)

    job = shop.run(sells)
    db.close()
    assert job.state == "failed"
    assert job.error is not None
    assert "ended before the task's function had returned" in job.error.message
    assert shop.sales == (["ann"] if how == "commit" else [])


def test_a_session_is_refused_where_it_does_not_fit(shop: Shop, tmp_path: Path) -> None:
    """An awaited one in a thread, one to another file, and what is none."""
    said = []

    @shop.app.task(name="tries")
    def tries(ctx: Context = CTX) -> None:
        aengine = create_async_engine("sqlite+aiosqlite://")
        other = create_engine(f"sqlite:///{tmp_path}/other.db")
        elsewhere = Session(other)
        for wrong in (AsyncSession(aengine), elsewhere, "sales"):
            try:
                ctx.transaction(wrong).__enter__()
            except Exception as error:  # noqa: BLE001 -- looked at below
                said.append(str(error))
        elsewhere.close()
        other.dispose()
        with ctx.transaction() as db:
            db.execute(SALE)

    assert shop.run(tries).state == "succeeded"
    assert "AsyncSession is awaited" in said[0]
    assert "other.db; give one" in said[1]
    assert "connection takes" in said[2]
    assert shop.sales == ["ann"]


@both
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_middleware_may_open_and_close_the_session(
    shop: Shop, engine: Engine, ends: str, *, is_async: bool
) -> None:
    """The commit comes when the function has returned; what middleware raises later is too late."""

    @shop.app.middleware
    async def with_session(_: Job[Any], call_next: CallNext) -> Any:  # noqa: ANN401
        async with async_engine(shop) as aengine:
            made = AsyncSession(aengine) if is_async else Session(engine)
            token = SESSION.set(made)
            value = await call_next()
            await made.close() if isinstance(made, AsyncSession) else made.close()
            SESSION.reset(token)
        if ends == "badly":
            raise ValueError("too late")
        return value

    @shop.app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> str:
        with ctx.transaction(SESSION.get()) as session:
            session.execute(text(SALE))
            shop.child.using(connection=session).enqueue(1)
        return "sold"

    @shop.app.task(name="asells", retry=ONCE)
    async def asells(ctx: Context = CTX) -> str:
        async with ctx.transaction(SESSION.get()) as session:
            await session.execute(text(SALE))
            await shop.child.using(connection=session).aenqueue(1)
        return "sold"

    job = (asells if is_async else sells).enqueue()
    Worker(shop.app, "default", burst=True).run()
    job.refresh()
    assert (job.state, job.result(), shop.sales) == ("succeeded", "sold", ["ann"])


@both
@pytest.mark.parametrize("bad", ["error", "result"])
def test_middleware_sees_a_task_fail_and_its_writes_are_gone(
    shop: Shop, bad: str, *, is_async: bool
) -> None:
    """One that swallows an error makes the job succeed, without its writes.

    A result that cannot be stored stays a failure, whatever middleware returns.
    """
    seen = []

    @shop.app.middleware
    async def swallows(_: Job[Any], call_next: CallNext) -> str:
        try:
            await call_next()
        except Exception as error:  # noqa: BLE001 -- that is what this one does
            seen.append(type(error).__name__)
        return "swallowed"

    def end() -> object:
        if bad == "error":
            raise ValueError
        return object()

    @shop.app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> Any:  # noqa: ANN401
        with ctx.transaction() as db:
            db.execute(SALE)
        return end()

    @shop.app.task(name="asells", retry=ONCE)
    async def asells(ctx: Context = CTX) -> Any:  # noqa: ANN401
        async with ctx.transaction() as db:
            db.execute(SALE)
        return end()

    job = shop.run(asells if is_async else sells)
    assert job.state == ("succeeded" if bad == "error" else "failed")
    assert (shop.sales, shop.locked, len(seen)) == ([], False, 1)


def test_an_engine_that_begins_by_itself(shop: Shop, engine: Engine) -> None:
    """The recipe by which SQLAlchemy's users make SQLite begin at once works as well."""

    @event.listens_for(engine, "connect")
    def leave_it(connection: Any, _: object) -> None:  # noqa: ANN401
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:  # noqa: ANN401
        connection.exec_driver_sql("begin immediate")

    @shop.app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with ctx.transaction(Session(engine)) as session:
            session.execute(text(SALE))
            shop.child.using(connection=session).enqueue(1)

    check(shop, shop.run(sells), sold=True)
