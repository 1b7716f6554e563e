"""Enqueueing inside transactions of SQLAlchemy on the store's file, sync and async."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from treadle import StoreUnavailable, Task, Treadle

Mail = Task[[int], int]
Given = Session | Connection | scoped_session[Session]
AsyncGiven = AsyncSession | AsyncConnection
KINDS: list[Callable[[Engine], Given]] = [
    Session,
    Engine.connect,
    lambda engine: scoped_session(sessionmaker(engine)),
]
ASYNC_KINDS: list[Callable[[AsyncEngine], AsyncGiven]] = [AsyncSession, AsyncEngine.connect]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on a file."""
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")
    app.store  # noqa: B018 -- opening makes the file
    yield app
    app.close()


@pytest.fixture
def mail(app: Treadle) -> Mail:
    """Give a task."""

    @app.task(name="mail")
    def mail(number: int) -> int:
        return number

    return mail


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give an engine on the same file, with a table of the user's in it."""
    engine = create_engine(f"sqlite:///{tmp_path}/jobs.db")
    with engine.begin() as connection:
        connection.execute(text("create table orders (id integer primary key)"))
    yield engine
    engine.dispose()


def with_engine(path: Path, play: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    """Play a scene with an async engine on a file."""

    async def main() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        try:
            await play(engine)
        finally:
            await engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS, ids=["session", "connection", "scoped"])
def test_the_callers_end_is_the_jobs(
    app: Treadle, mail: Mail, engine: Engine, kind: Callable[[Engine], Given]
) -> None:
    """Rolled back the jobs never existed; committed they are there, with the caller's rows."""
    with closing(kind(engine)) as given:
        bound = mail.using(connection=given)
        given.execute(text("insert into orders values (1)"))
        bound.enqueue(1)
        bound.enqueue_many([(2,), (3,)])
        assert app.jobs() == []
        given.rollback()
        assert app.jobs() == []
        job = bound.enqueue(4)
        given.execute(text("insert into orders values (2)"))
        assert app.jobs() == []
        given.commit()
        assert [one.id for one in app.jobs()] == [job.id]
        assert given.execute(text("select id from orders")).fetchall() == [(2,)]


def test_a_savepoint_rolled_back_takes_its_jobs_along(
    app: Treadle, mail: Mail, engine: Engine
) -> None:
    """What was enqueued before and after it stays."""
    with Session(engine) as session:
        bound = mail.using(connection=session)
        bound.enqueue(1)
        inner = session.begin_nested()
        bound.enqueue_many([(2,), (3,)])
        bound.enqueue(4)
        inner.rollback()
        bound.enqueue(5)
        session.commit()
    assert sorted(job.args[0] for job in app.jobs()) == [1, 5]


def test_a_batch_that_fails_leaves_nothing(app: Treadle, mail: Mail, engine: Engine) -> None:
    """The transaction of the caller goes on without it."""
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "create temp trigger stop before insert on main.treadle_jobs "
            "when new.args = x'5b312c5b335d5d' begin select raise(abort, 'no'); end"
        )
        bound = mail.using(connection=connection)
        bound.enqueue(0)
        with pytest.raises(Exception, match="no"):
            bound.enqueue_many([(n,) for n in range(6)])
        bound.enqueue(9)
        connection.commit()
    assert sorted(job.args[0] for job in app.jobs()) == [0, 9]


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=["session", "connection"])
def test_async_twins(
    app: Treadle, mail: Mail, engine: Engine, kind: Callable[[AsyncEngine], AsyncGiven]
) -> None:
    """The same holds where the connection is awaited."""

    async def play(aengine: AsyncEngine) -> None:
        async with kind(aengine) as given:
            bound = mail.using(connection=given)
            await given.execute(text("insert into orders values (1)"))
            await bound.aenqueue(1)
            await bound.aenqueue_many([(2,), (3,)])
            assert await app.ajobs() == []
            await given.rollback()
            assert await app.ajobs() == []
            job = await bound.aenqueue(4)
            await given.commit()
            assert [one.id for one in await app.ajobs()] == [job.id]
            with pytest.raises(TypeError, match=r"await task.using\(connection=...\).aenqueue"):
                bound.enqueue(5)

    with_engine(Path(str(engine.url.database)), play)


def test_a_blocking_session_is_refused_by_the_async_verb(mail: Mail, engine: Engine) -> None:
    """It would hold up the event loop, and says which verb to call."""
    with Session(engine) as session:
        bound = mail.using(connection=session)
        with pytest.raises(TypeError, match=r"sqlalchemy Session .* call enqueue there"):
            asyncio.run(bound.aenqueue(1))


def test_another_file_is_refused(mail: Mail, engine: Engine, tmp_path: Path) -> None:
    """The connection's own file is looked at, not the URL."""
    other = create_engine(f"sqlite:///{tmp_path}/other.db")
    with Session(other) as session, pytest.raises(StoreUnavailable, match=r"other\.db"):
        mail.using(connection=session).enqueue(1)
    other.dispose()
    assert engine.url != other.url


def test_another_engine_is_refused(mail: Mail) -> None:
    """A connection to a database of another kind is named, before anything is sent to it."""
    elsewhere = create_engine("postgresql+psycopg://127.0.0.1:1/none")
    with Session(elsewhere) as session, pytest.raises(TypeError, match="connection to postgresql"):
        mail.using(connection=session).enqueue(1)
    elsewhere.dispose()


@pytest.mark.parametrize("wrong", [1, "jobs.db", create_engine("sqlite://")])
def test_what_is_no_connection_is_refused(mail: Mail, wrong: Any) -> None:  # noqa: ANN401
    """An engine is told to give a connection."""
    with pytest.raises(TypeError, match="connection takes"):
        mail.using(connection=wrong)
