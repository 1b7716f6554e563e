"""A shop on PostgreSQL: an application, a table of the user's own beside it, and who sells."""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from treadle import Context, Retry, Task, Treadle, Worker, context

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
