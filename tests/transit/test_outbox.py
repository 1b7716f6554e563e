"""Enqueueing into an outbox: inside the caller's transaction, through every driver."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.transit.kit import Shop
from treadle import (
    JobNotFound,
    JobState,
    ResultTimeout,
    SettingsError,
    StoreUnavailable,
    Treadle,
    Worker,
)

Connect = Callable[[Shop], Any]


@contextmanager
def by_driver(shop: Shop) -> Iterator[Any]:
    """Connect with sqlite3 or psycopg."""
    with shop.connected() as db:
        yield db


@contextmanager
def by_session(shop: Shop) -> Iterator[Any]:
    """Open a session of SQLAlchemy."""
    url, arguments = _alchemy(shop, "postgresql+psycopg")
    engine = create_engine(url, **arguments)
    with Session(engine) as db:
        yield db
    engine.dispose()


@asynccontextmanager
async def by_async_session(shop: Shop) -> AsyncIterator[Any]:
    """Open an async session of SQLAlchemy, over aiosqlite or asyncpg."""
    if shop.is_file:
        engine = create_async_engine(shop.url.replace("sqlite:", "sqlite+aiosqlite:"))
    else:
        server, _, schema = shop.url.partition("?schema=")
        settings = {"server_settings": {"search_path": schema}}
        url = server.replace("postgresql:", "postgresql+asyncpg:")
        engine = create_async_engine(url, connect_args=settings)
    async with AsyncSession(engine) as db:
        yield db
    await engine.dispose()


@asynccontextmanager
async def by_async_psycopg(shop: Shop) -> AsyncIterator[Any]:
    """Connect with psycopg's async twin."""
    server, _, schema = shop.url.partition("?schema=")
    options = f"-c search_path={schema}"
    async with await psycopg.AsyncConnection.connect(server, options=options) as db:
        yield db


class _Asyncpg:
    """A transaction of asyncpg that ends as the others do."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 -- the driver is untyped
        self.connection = connection

    async def commit(self) -> None:
        await self.connection.execute("commit")
        await self.connection.execute("begin")

    async def rollback(self) -> None:
        await self.connection.execute("rollback")
        await self.connection.execute("begin")


@asynccontextmanager
async def by_asyncpg(shop: Shop) -> AsyncIterator[Any]:
    """Connect with asyncpg."""
    server, _, schema = shop.url.partition("?schema=")
    connection: Any = await asyncpg.connect(server, server_settings={"search_path": schema})
    await connection.execute("begin")
    yield _Asyncpg(connection)
    await connection.close()


def _alchemy(shop: Shop, driver: str) -> tuple[str, dict[str, Any]]:
    if shop.is_file:
        return shop.url, {}
    server, _, schema = shop.url.partition("?schema=")
    options = {"connect_args": {"options": f"-c search_path={schema}"}}
    return server.replace("postgresql:", f"{driver}:"), options


@pytest.mark.parametrize("connect", [by_driver, by_session])
def test_a_job_goes_with_the_callers_transaction(shop: Shop, connect: Connect) -> None:
    """Rolled back it never existed; committed it is relayed, as it was enqueued."""
    with connect(shop) as db, shop.relay() as relay:
        mail = shop.mail.using(connection=db)
        mail.enqueue(1)
        mail.enqueue_many([(2,), (3,)])
        assert relay.step() == 0
        db.rollback()
        assert relay.step() == 0
        job = mail.using(queue="post", priority=5, delay=60, tags=["t"], meta={"a": 1}).enqueue(4)
        assert job.state is JobState.SCHEDULED
        db.commit()
        assert relay.step() == 1
    [stored] = shop.app.jobs()
    assert (stored.id, stored.state, stored.queue) == (job.id, JobState.SCHEDULED, "post")
    assert (stored.priority, stored.tags, stored.meta) == (5, ("t",), {"a": 1})
    assert 55 < (stored.run_at - stored.created_at).total_seconds() <= 60


@pytest.mark.parametrize("connect", [by_async_session, by_async_psycopg, by_asyncpg])
def test_an_async_driver_writes_the_same_rows(shop: Shop, connect: Connect) -> None:
    """The async twins go with the caller's transaction, too."""
    if shop.is_file and connect is not by_async_session:
        pytest.skip("this driver is PostgreSQL's")

    async def play() -> list[str]:
        async with connect(shop) as db:
            given = db.connection if isinstance(db, _Asyncpg) else db
            mail = shop.mail.using(connection=given)
            await mail.aenqueue(1)
            await db.rollback()
            one = await mail.aenqueue(2)
            more = await mail.aenqueue_many([(3,), (4,)])
            await db.commit()
            return [one.id, *(job.id for job in more)]

    ids = asyncio.run(play())
    with shop.relay() as relay:
        assert relay.step() == 3
    assert shop.stored() == ids


def test_a_result_is_waited_for_through_outbox_and_store(shop: Shop) -> None:
    """A job that no relay has come to is said to be late, and its result comes all the same."""
    with shop.connected() as db:
        job = shop.mail.using(connection=db).enqueue(7)
        db.commit()
    with pytest.raises(ResultTimeout, match="`treadle relay` has not come to it"):
        job.result(timeout=0.05)
    with pytest.raises(JobNotFound, match="it lies in the outbox"):
        job.refresh()
    assert not job.wait(0)
    with shop.relay() as relay:
        relay.step()
    Worker(shop.app, burst=True).run()
    assert job.result(timeout=10) == 7
    assert asyncio.run(job.aresult(timeout=10)) == 7


def test_an_enqueue_does_not_need_the_store(tmp_path: Path) -> None:
    """While the store is away, jobs are written into the outbox."""
    url = f"sqlite:///{tmp_path}/shop.db"
    app = Treadle("redis://127.0.0.1:1/0", settings={"outbox": url})
    shop = Shop(app, url)
    shop.make()
    with shop.connected() as db:
        shop.mail.using(connection=db).enqueue(1)
        db.commit()
    assert shop.say(shop.outbox.backlog()).waiting == 1


def test_a_connection_without_an_outbox_is_refused(tmp_path: Path) -> None:
    """Neither another engine nor a database without the table is written to."""
    app = Treadle("redis://127.0.0.1:1/0", settings={"outbox": "postgresql://u@127.0.0.1/db"})
    task = app.task(name="t")(lambda: None)
    db = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(TypeError, match="the outbox lies in postgresql"):
        task.using(connection=db).enqueue()
    app = Treadle("redis://127.0.0.1:1/0", settings={"outbox": f"sqlite:///{tmp_path}/shop.db"})
    task = app.task(name="t")(lambda: None)
    with pytest.raises(StoreUnavailable, match="without the table treadle_outbox"):
        task.using(connection=db).enqueue()
    db.close()


def test_an_outbox_lies_in_a_database_with_transactions() -> None:
    """Another URL is an error where the application is made."""
    with pytest.raises(SettingsError, match="not one of 'redis'"):
        Treadle("redis://127.0.0.1/0", settings={"outbox": "redis://127.0.0.1/1"})


@pytest.mark.parametrize("url", ["joe:s3cret@db/shop", "s3cret://db/shop", "joe:s3cret://db"])
def test_a_password_is_not_shown_where_no_scheme_stands(url: str) -> None:
    """What stands before the address is named only if it can be a scheme."""
    with pytest.raises(SettingsError, match="begins with no scheme") as caught:
        Treadle("redis://127.0.0.1/0", settings={"outbox": url})
    assert "s3cret" not in str(caught.value)
