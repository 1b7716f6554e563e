"""A shop on PostgreSQL: an application, a table of the user's own beside it, and who sells."""

import asyncio
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import psycopg
import pytest

from treadle import Context, JobState, Retry, Task, Treadle, Worker, context

CTX: Final[Context] = context()
ONCE: Final = Retry(attempts=1)

ends = pytest.mark.parametrize("well", [True, False], ids=["returns", "raises"])


def open_shop(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Treadle]:
    """Give an application in a namespace of its own, and a table of the user's beside it."""
    monkeypatch.setenv("TREADLE_NAMESPACE", f"tx_{secrets.token_hex(4)}")
    app = Treadle(url)
    made = app._make_store()  # noqa: SLF001 -- the application itself opens only what is there
    asyncio.run(made.migrate())
    asyncio.run(made.close())
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("drop table if exists sales")
        db.execute("create table sales (who text)")
    yield app
    app.close()


@pytest.fixture
def app(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Treadle]:
    """Give an application, and a table of the user's beside it."""
    yield from open_shop(postgres_url, monkeypatch)


def sales(url: str) -> list[str]:
    """Read the user's table as anybody else would."""
    with psycopg.connect(url) as db:
        return [who for (who,) in db.execute("select who from sales order by who").fetchall()]


def run(app: Treadle, task: Task[[], None]) -> Any:  # noqa: ANN401 -- a job of any result
    """Run one job of a task by a worker that stops when nothing is left."""
    job = task.enqueue()
    Worker(app, burst=True).run()
    return job.refresh()


def check(app: Treadle, job: Any, url: str, *, well: bool, children: bool = True) -> None:  # noqa: ANN401
    """Look whether the job, its child if it has one, and its writes went together."""
    assert job.state == ("succeeded" if well else "failed"), job.error
    assert sales(url) == (["ann"] if well else [])
    assert [one.args for one in app.jobs(task="mail")] == ([(1,)] if well and children else [])


def check_failed(job: Any, url: str, why: str, sold: Sequence[str] = ()) -> None:  # noqa: ANN401
    """Look whether the job failed for that reason, and what was sold nevertheless."""
    assert job.state is JobState.FAILED
    assert why in job.error.message
    assert sales(url) == list(sold)


async def give_up(connections: Iterable[Any]) -> None:
    """Close connections of asyncpg that were given; they are as they were, and begin anew."""
    for one in connections:
        async with one.transaction():
            assert await one.fetchval("select 1") == 1
        await one.close()


def add_slow_task(app: Treadle) -> Task[[], None]:
    """Make a task that comes to its hard limit in a long statement, and holds a lock."""

    @app.task(name="slow", retry=ONCE, timeout=1.0)
    def slow(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("lock table sales")
            db.execute("select pg_sleep(60)")

    return slow


async def run_to_its_limit(task: Task[[], None], url: str) -> None:
    """Wait until a job of a task was ended by its limit; what it has locked or sold is free."""
    job = await task.aenqueue()
    await job.await_(30)
    assert job.state is JobState.FAILED
    with psycopg.connect(url) as db:
        db.execute("set lock_timeout = '20s'")
        db.execute("lock table sales")
        assert db.execute("select * from sales").fetchall() == []
