"""`ctx.transaction()` on PostgreSQL when the commit itself fails, and behind a pooler."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.conformance.own_pooler import needs_pooler, pooler
from tests.conformance.selling import (
    CTX,
    ONCE,
    add_slow_task,
    app,
    check_failed,
    give_up,
    open_shop,
    run,
    run_to_its_limit,
    sales,
)
from treadle import Context, JobState, Retry, Treadle, Worker
from treadle.testing.servers import PgBouncer

__all__ = ["app", "pooler"]

SALE = "insert into sales values ('ann')"
# More often than a driver sends a statement before it keeps it prepared on the connection.
OFTEN = 12


@pytest.fixture
def pooled(pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Treadle]:
    """Give an application whose server is behind a pooler."""
    yield from open_shop(pooler.url, monkeypatch)


def _strict(postgres_url: str) -> None:
    """Let the user's table refuse a second sale to the same, but only at the commit."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(
            "alter table sales add constraint once unique (who) deferrable initially deferred"
        )


@pytest.mark.parametrize("kind", ["lent", "psycopg", "autocommit", "pipeline", "sqlalchemy"])
def test_a_commit_that_is_refused_fails_the_job(app: Treadle, postgres_url: str, kind: str) -> None:
    """A deferred constraint speaks at the commit: no success without the writes."""
    _strict(postgres_url)
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    given: Any = None
    if kind == "sqlalchemy":
        given = Session(engine)
    elif kind != "lent":
        given = psycopg.connect(postgres_url, autocommit=kind == "autocommit")
    block = given.pipeline() if kind == "pipeline" else None

    @app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        if block is not None:
            block.__enter__()
        with ctx.transaction(given) as db:
            for _ in range(2):
                db.execute(text(SALE) if kind == "sqlalchemy" else SALE)

    job = run(app, sells)
    if block is not None:
        with suppress(psycopg.Error):
            block.__exit__(None, None, None)
    if given is not None:
        given.close()
    engine.dispose()
    check_failed(job, postgres_url, "once")


@pytest.mark.parametrize("kind", ["lent", "psycopg", "asyncpg", "sqlalchemy"])
def test_one_that_is_awaited_does_too(app: Treadle, postgres_url: str, kind: str) -> None:
    """The same on an event loop."""
    _strict(postgres_url)
    opened: list[Any] = []

    async def give() -> Any:  # noqa: ANN401
        if kind == "psycopg":
            opened.append(await psycopg.AsyncConnection.connect(postgres_url))
        elif kind == "asyncpg":
            opened.append(await asyncpg.connect(postgres_url))
        elif kind == "sqlalchemy":
            opened.append(AsyncSession(engine))
        return opened[0] if opened else None

    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))

    @app.task(name="sells", retry=ONCE)
    async def sells(ctx: Context = CTX) -> None:
        async with ctx.transaction(await give()) as db:
            for _ in range(2):
                await db.execute(text(SALE) if kind == "sqlalchemy" else SALE)

    @app.on_shutdown
    async def close() -> None:
        for one in opened:
            if kind == "asyncpg":
                await give_up([one])
            else:
                await one.close()
        await engine.dispose()

    job = run(app, sells)
    check_failed(job, postgres_url, "once")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_serialization_failure_is_tried_again(
    app: Treadle, postgres_url: str, *, is_async: bool
) -> None:
    """The first attempt's writes are gone, the second one's are there, once."""
    numbers: list[int] = []

    def meddle() -> None:
        """Write what the transaction has read, while it reads what this has written."""
        numbers.append(1)
        if len(numbers) == 1:
            with psycopg.connect(postgres_url) as other:
                other.execute("set transaction isolation level serializable")
                other.execute("select count(*) from sales")
                other.execute("insert into sales values ('bob')")

    @app.task(name="sells", retry=Retry(attempts=2, delays=[0]))
    def sells(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("select count(*) from sales")
            meddle()
            db.execute(SALE)

    @app.task(name="asells", retry=Retry(attempts=2, delays=[0]))
    async def asells(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            await db.execute("select count(*) from sales")
            meddle()
            await db.execute(SALE)

    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("alter role current_user set default_transaction_isolation = serializable")
    try:
        job = run(app, asells if is_async else sells)
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute("alter role current_user reset default_transaction_isolation")
    assert job.state is JobState.SUCCEEDED, job.error
    assert len(numbers) == 2
    assert sales(postgres_url) == ["ann", "bob"]


@needs_pooler
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_behind_a_pooler_a_statement_may_come_often(
    pooled: Treadle, postgres_url: str, *, is_async: bool
) -> None:
    """A lent connection leaves nothing prepared on a session that the next task has as well."""

    @pooled.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            for _ in range(OFTEN):
                db.execute("insert into sales values (%s)", ("ann",))

    @pooled.task(name="asells", retry=ONCE)
    async def asells(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            for _ in range(OFTEN):
                await db.execute("insert into sales values (%s)", ("ann",))

    task = asells if is_async else sells
    for n in range(1, 5):
        job = run(pooled, task)
        assert job.state is JobState.SUCCEEDED, job.error
        assert len(sales(postgres_url)) == n * OFTEN


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_session_nests_its_own_blocks(app: Treadle, postgres_url: str, *, is_async: bool) -> None:
    """`begin_nested()` of SQLAlchemy is a savepoint, also one that is rolled back."""
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    engine, aengine = create_engine(url), create_async_engine(url)
    opened: list[Any] = []

    @app.task(name="nests", retry=ONCE)
    def nests(ctx: Context = CTX) -> None:
        opened.append(Session(engine))
        with ctx.transaction(opened[0]) as session:
            with session.begin_nested():
                session.execute(text(SALE))
            nested = session.begin_nested()
            session.execute(text("insert into sales values ('bob')"))
            nested.rollback()

    @app.task(name="anests", retry=ONCE)
    async def anests(ctx: Context = CTX) -> None:
        opened.append(AsyncSession(aengine))
        async with ctx.transaction(opened[0]) as session:
            async with session.begin_nested():
                await session.execute(text(SALE))
            nested = await session.begin_nested()
            await session.execute(text("insert into sales values ('bob')"))
            await nested.rollback()

    @app.on_shutdown
    async def close() -> None:
        if is_async:
            await opened[0].close()
        else:
            opened[0].close()
        await aengine.dispose()
        engine.dispose()

    job = run(app, anests if is_async else nests)
    assert job.state is JobState.SUCCEEDED, job.error
    assert sales(postgres_url) == ["ann"]


def _closes(db: Any) -> None:  # noqa: ANN401 -- psycopg's, as in those below
    db.close()


def _finishes(db: Any) -> None:  # noqa: ANN401
    db.pgconn.finish()


def _chains(db: Any) -> None:  # noqa: ANN401
    db.execute("rollback and chain")


def _goes_back(db: Any) -> None:  # noqa: ANN401
    db.execute("rollback to savepoint treadle_job")


@pytest.mark.parametrize("wrong", [_closes, _finishes, _chains, _goes_back])
def test_writes_that_are_gone_fail_the_job(
    app: Treadle, postgres_url: str, wrong: Callable[[Any], None]
) -> None:
    """Closed, or begun anew behind our back: the job does not succeed without its writes."""
    given = psycopg.connect(postgres_url)

    @app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with ctx.transaction(given) as db:
            db.execute(SALE)
            wrong(db)

    job = run(app, sells)
    given.close()
    assert job.state is JobState.FAILED
    assert sales(postgres_url) == []


def test_who_listens_hears_of_it_at_the_commit(app: Treadle, postgres_url: str) -> None:
    """What the transaction notifies of is heard when its writes can be seen."""
    with psycopg.connect(postgres_url, autocommit=True) as ear:
        ear.execute("listen sold")

        @app.task(name="sells", retry=ONCE)
        def sells(ctx: Context = CTX) -> None:
            with ctx.transaction() as db:
                db.execute(SALE)
                db.execute("listen sold")
                db.execute("notify sold, 'ann'")
                assert list(ear.notifies(timeout=0)) == []

        assert run(app, sells).state is JobState.SUCCEEDED
        [heard] = ear.notifies(timeout=10, stop_after=1)
        assert (heard.payload, sales(postgres_url)) == ("ann", ["ann"])


@needs_pooler
def test_behind_a_pooler_a_hard_limit_frees_what_was_locked(
    pooled: Treadle, postgres_url: str
) -> None:
    """The pooler passes on that the statement is to stop, before its client is gone."""
    slow = add_slow_task(pooled)

    async def main() -> None:
        async with Worker(pooled):
            await run_to_its_limit(slow, postgres_url)

    asyncio.run(main())
