"""The adapters of PostgreSQL's drivers, on a real server and a small table."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import asyncpg
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from treadle.client.connections.find import adapter_of
from treadle.store.statements import (
    BEGIN,
    COMMIT,
    ROLLBACK,
    Adapter,
    AsyncAdapter,
    Script,
    Statement,
    acarry,
    carry,
)

COUNT: Final = Statement("select count(*) from made")


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """Give a database with an empty table."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table made (id bytea primary key, number bigint)")
        yield postgres_url
        connection.execute("drop table made")


def forgotten() -> Script[None]:
    """Write, and roll back."""
    yield BEGIN
    yield Statement("savepoint treadle_job")
    yield Statement("insert into made values ($1, $2)", [(b"gone", 1)])
    yield ROLLBACK


def written() -> Script[list[Any]]:
    """Write in each way that a store does, and commit."""
    found: list[Any] = []
    yield BEGIN
    yield BEGIN
    yield Statement("savepoint treadle_job")
    batch = Statement(
        "insert into made select * from unnest($1::bytea[], $2::bigint[]) returning number % 10",
        [([b"a", b"b"], [21, 32])],
    )
    found += [row[0] for row in (yield batch)]
    yield Statement("insert into made values ($1, $2)", [(b"c", 3), (b"d", 4)])
    rows = yield Statement("select $2::text, $1::bigint, $2::text", [(7, "7")])
    found += [tuple(rows[0])]
    try:
        yield Statement("savepoint inner_one")
        yield batch
    except Exception:  # noqa: BLE001 -- each driver has its own
        yield Statement("rollback to savepoint inner_one")
        found.append("refused")
    found += [row[0] for row in (yield COUNT)]
    yield Statement("release savepoint treadle_job")
    yield COMMIT
    return found


WANTED: Final = [1, 2, ("7", 7, "7"), "refused", 4]


def check_sync(adapter: Adapter) -> None:
    """Carry the scripts and look at what is stored."""
    assert adapter.engine == "postgresql"
    carry(forgotten(), adapter)
    assert carry(written(), adapter) == WANTED
    adapter.rollback()
    assert adapter.run(COUNT)[0][0] == 4
    adapter.rollback()


async def check_async(adapter: AsyncAdapter) -> None:
    """Do the same."""
    assert adapter.engine == "postgresql"
    found = []
    for steps in (forgotten(), written()):
        found.append(await acarry(steps, adapter))
        await adapter.rollback()
    assert found == [None, WANTED]
    assert (await adapter.run(COUNT))[0][0] == 4
    await adapter.rollback()


def sync_adapter(connection: object) -> Adapter:
    """Find an adapter that answers at once."""
    adapter = adapter_of(connection)
    assert isinstance(adapter, Adapter)
    return adapter


def async_adapter(connection: object) -> AsyncAdapter:
    """Find an adapter that is awaited."""
    adapter = adapter_of(connection)
    assert isinstance(adapter, AsyncAdapter)
    return adapter


@pytest.mark.parametrize("autocommit", [False, True])
def test_psycopg(url: str, *, autocommit: bool) -> None:
    """Whatever row factory its owner has set, and whether psycopg begins by itself."""
    with psycopg.connect(url, row_factory=dict_row, autocommit=autocommit) as connection:
        check_sync(sync_adapter(connection))


@pytest.mark.parametrize("cursor", [psycopg.ClientCursor, psycopg.RawCursor])
def test_psycopg_with_another_kind_of_cursor(url: str, cursor: Any) -> None:  # noqa: ANN401
    """One that puts values into the text itself, and one that wants the server's own marks."""
    with psycopg.connect(url, cursor_factory=cursor) as connection:
        check_sync(sync_adapter(connection))


def test_psycopg_in_a_pipeline(url: str) -> None:
    """What its owner has sent there stays in order, and each answer is waited for."""
    with psycopg.connect(url) as connection, connection.pipeline():
        connection.execute("insert into made values ('first', 9)")
        assert carry(written(), sync_adapter(connection)) == [1, 2, ("7", 7, "7"), "refused", 5]


def test_sqlalchemy(url: str) -> None:
    """A session and a connection."""
    engine = create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
    with Session(engine) as session:
        check_sync(sync_adapter(session))
    with engine.connect() as connection:
        connection.exec_driver_sql("truncate made")
        connection.commit()
        check_sync(sync_adapter(connection))
    engine.dispose()


async def _psycopg(url: str, *, autocommit: bool = False) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=autocommit) as connection:
        await check_async(async_adapter(connection))


async def _psycopg_raw(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(
        url, cursor_factory=psycopg.AsyncRawCursor
    ) as connection:
        await check_async(async_adapter(connection))


async def _psycopg_pipeline(url: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(url) as connection,
        connection.pipeline(),
    ):
        assert await acarry(written(), async_adapter(connection)) == WANTED


async def _asyncpg(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await check_async(async_adapter(connection))
    finally:
        await connection.close()


async def _asyncpg_pool(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=1) as pool, pool.acquire() as connection:
        await check_async(async_adapter(connection))


async def _sessions(url: str, driver: str) -> None:
    engine = create_async_engine(url.replace("postgresql", f"postgresql+{driver}", 1))
    async with AsyncSession(engine) as session:
        await check_async(async_adapter(session))
    await engine.dispose()


ASYNC: Final[dict[str, Callable[[str], Awaitable[None]]]] = {
    "psycopg": _psycopg,
    "psycopg-autocommit": lambda url: _psycopg(url, autocommit=True),
    "psycopg-raw": _psycopg_raw,
    "psycopg-pipeline": _psycopg_pipeline,
    "asyncpg": _asyncpg,
    "asyncpg-pool": _asyncpg_pool,
    "sqlalchemy-psycopg": lambda url: _sessions(url, "psycopg"),
    "sqlalchemy-asyncpg": lambda url: _sessions(url, "asyncpg"),
}


@pytest.mark.parametrize("kind", ASYNC)
def test_async_drivers(url: str, kind: str) -> None:
    """Each driver that is awaited runs the same script."""

    async def main() -> None:
        await ASYNC[kind](url)

    asyncio.run(main())
