"""`ctx.transaction()` on PostgreSQL ends with its job, whatever else could end it."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from tests.conformance.selling import (
    CTX,
    ONCE,
    add_slow_task,
    app,
    check,
    check_failed,
    ends,
    give_up,
    run,
    run_to_its_limit,
    sales,
)
from treadle import Context, JobState, Treadle, Worker

__all__ = ["app"]


def _commits(db: Any) -> None:  # noqa: ANN401 -- psycopg's, as in those below
    db.commit()


def _rolls_back(db: Any) -> None:  # noqa: ANN401
    db.rollback()


def _closes(db: Any) -> None:  # noqa: ANN401
    db.close()


def _ends_a_block(db: Any) -> None:  # noqa: ANN401
    with db:
        db.execute("select 1")


@pytest.mark.parametrize("wrong", [_commits, _rolls_back, _closes, _ends_a_block])
def test_a_task_cannot_end_what_it_was_lent(
    app: Treadle, postgres_url: str, wrong: Callable[[Any], None]
) -> None:
    """Whatever would commit or roll back is refused, and the transaction goes on."""

    @app.task(name="ends", retry=ONCE)
    def ends(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("insert into sales values ('ann')")
            with pytest.raises(RuntimeError, match=r"connection of ctx.transaction\(\) cannot"):
                wrong(db)
            assert sales(postgres_url) == []

    assert run(app, ends).state is JobState.SUCCEEDED
    assert sales(postgres_url) == ["ann"]


@pytest.mark.parametrize("wrong", ["commit", "rollback", "close"])
def test_an_async_task_cannot_either(app: Treadle, postgres_url: str, wrong: str) -> None:
    """The same on a connection that is awaited."""

    @app.task(name="ends", retry=ONCE)
    async def ends(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            await db.execute("insert into sales values ('ann')")
            with pytest.raises(RuntimeError, match=r"connection of ctx.transaction\(\) cannot"):
                await getattr(db, wrong)()

    assert run(app, ends).state is JobState.SUCCEEDED
    assert sales(postgres_url) == ["ann"]


@ends
@pytest.mark.parametrize("autocommit", [None, False, True], ids=["lent", "given", "autocommit"])
def test_a_block_of_psycopgs_own_is_a_savepoint(
    app: Treadle, postgres_url: str, *, autocommit: bool | None, well: bool
) -> None:
    """Also where it is the first thing in the transaction, which it would else end."""
    opened: list[Any] = []

    @app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        given: Any = None
        if autocommit is not None:
            given = psycopg.connect(postgres_url, autocommit=autocommit)
            opened.append(given)
        with ctx.transaction(given) as db:
            with db.transaction():
                db.execute("insert into sales values ('ann')")
            assert sales(postgres_url) == []
            with db.transaction(force_rollback=True):
                db.execute("insert into sales values ('bob')")
        if not well:
            raise ValueError

    job = run(app, sells)
    for one in opened:
        one.close()
    check(app, job, postgres_url, well=well, children=False)


@ends
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_block_of_an_awaited_drivers_own_is_a_savepoint(
    app: Treadle, postgres_url: str, driver: str, *, well: bool
) -> None:
    """The same on a lent connection, and on one of asyncpg, whose users know no other way."""

    @app.task(name="sells", retry=ONCE)
    async def sells(ctx: Context = CTX) -> None:
        given: Any = await asyncpg.connect(postgres_url) if driver == "asyncpg" else None
        async with ctx.transaction(given) as db:
            async with db.transaction():
                await db.execute("insert into sales values ('ann')")
            assert sales(postgres_url) == []
        if given is not None:
            opened.append(given)
        if not well:
            raise ValueError

    opened: list[Any] = []

    @app.on_shutdown
    async def close() -> None:
        await give_up(opened)

    job = run(app, sells)
    assert len(opened) == (driver == "asyncpg")
    check(app, job, postgres_url, well=well, children=False)


@pytest.mark.parametrize("how", ["commit", "rollback"])
@pytest.mark.parametrize("kind", ["given", "autocommit", "lent"])
def test_one_that_ends_too_early_fails_the_job(
    app: Treadle, postgres_url: str, kind: str, how: str
) -> None:
    """A job never succeeds without its writes, whatever its connection makes of a statement."""
    opened: list[Any] = []

    @app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        given: Any = None
        if kind != "lent":
            given = psycopg.connect(postgres_url, autocommit=kind == "autocommit")
            opened.append(given)
        with ctx.transaction(given) as db:
            db.execute("insert into sales values ('ann')")
        db.execute(how)

    job = run(app, sells)
    for one in opened:
        one.close()
    sold = ["ann"] if how == "commit" else []
    check_failed(job, postgres_url, "ended before the task's function had returned", sold)


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_one_of_asyncpg_that_ends_too_early_fails_the_job(
    app: Treadle, postgres_url: str, how: str
) -> None:
    """The same where each statement outside of a transaction is one."""

    @app.task(name="sells", retry=ONCE)
    async def sells(ctx: Context = CTX) -> None:
        db = await asyncpg.connect(postgres_url)
        block = db.transaction()
        await block.start()
        async with ctx.transaction(db):
            await db.execute("insert into sales values ('ann')")
        await getattr(block, how)()
        opened.append(db)

    opened: list[Any] = []

    @app.on_shutdown
    async def close() -> None:
        await opened[0].close()

    job = run(app, sells)
    sold = ["ann"] if how == "commit" else []
    check_failed(job, postgres_url, "ended before the task's function had returned", sold)


def test_a_connection_that_begins_nothing_is_refused(app: Treadle, postgres_url: str) -> None:
    """SQLAlchemy's autocommit: writes and success would be two transactions."""
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")

    @app.task(name="sells", retry=ONCE)
    def sells(ctx: Context = CTX) -> None:
        with Session(engine) as session, ctx.transaction(session):
            session.execute(text("insert into sales values ('ann')"))

    job = run(app, sells)
    engine.dispose()
    check_failed(job, postgres_url, "is in autocommit mode and begins no transaction")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_hard_limit_frees_what_was_locked_although_the_code_goes_on(
    app: Treadle, postgres_url: str, *, is_async: bool
) -> None:
    """The server rolls back at once; what the code still writes is refused."""
    said: list[Exception] = []
    gate, agate, written = threading.Event(), asyncio.Event(), threading.Event()

    @app.task(name="stuck", retry=ONCE, timeout=1.0)
    def stuck(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("insert into sales values ('ann')")
            db.execute("lock table sales")
            while not gate.is_set():
                with suppress(BaseException):  # Code that ignores its end.
                    gate.wait()
            try:
                db.execute("insert into sales values ('late')")
            except psycopg.Error as error:
                said.append(error)
            written.set()

    @app.task(name="astuck", retry=ONCE, timeout=1.0)
    async def astuck(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            await db.execute("insert into sales values ('ann')")
            await db.execute("lock table sales")
            with suppress(asyncio.CancelledError):
                await agate.wait()
            await agate.wait()
            try:
                await db.execute("insert into sales values ('late')")
            except psycopg.Error as error:
                said.append(error)
            written.set()

    async def main() -> None:
        async with Worker(app):
            try:
                await run_to_its_limit(astuck if is_async else stuck, postgres_url)
            finally:
                gate.set()
                agate.set()
            assert await asyncio.to_thread(written.wait, 30)

    asyncio.run(main())
    assert said, "what came late was written"
    assert sales(postgres_url) == []


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_hard_limit_stops_the_statement_that_runs(
    app: Treadle, postgres_url: str, *, is_async: bool
) -> None:
    """The server keeps no lock until a long statement of a task that was ended has run out."""
    slow = add_slow_task(app)

    @app.task(name="aslow", retry=ONCE, timeout=1.0)
    async def aslow(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            await db.execute("lock table sales")
            with suppress(asyncio.CancelledError):  # Code that ignores its end.
                await db.execute("select pg_sleep(60)")
            await db.execute("select pg_sleep(60)")

    async def main() -> None:
        async with Worker(app):
            await run_to_its_limit(aslow if is_async else slow, postgres_url)

    asyncio.run(main())
