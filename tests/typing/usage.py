"""Real usage of the public surface, read by type checkers and never run.

Each `assert_type` is a promise to users: parameters and return types survive the decorator,
sync and async, and a parameter for the context is not the caller's.
"""

import sqlite3
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from treadle.app import Treadle
from treadle.context import Context, context, current
from treadle.core.errors import JobFailed
from treadle.core.job import ErrorInfo, JobState
from treadle.core.retry import Retry
from treadle.job import Job, JobPage
from treadle.signature import Signature

app = Treadle("sqlite:///jobs.db", settings={"concurrency": 4})


@app.task
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


@app.task
async def fetch(url: str) -> bytes:
    """Fetch."""
    return url.encode()


@app.task(queue="email", retry=Retry(attempts=5, on=(ConnectionError,)), timeout=30)
async def send_email(to: str, subject: str) -> str:
    """Send."""
    return to + subject


@app.task(name="count", priority=3, expires=timedelta(hours=1), keep_result=False, retry=2)
def count(words: list[str], ctx: Context = context()) -> None:  # noqa: B008 -- the documented form
    """Count."""
    ctx.progress(len(words), 10, "counted")


def calls() -> None:
    """Call, enqueue and wait from sync code."""
    assert_type(add(1, b=2), int)
    _ = assert_type(fetch("a"), Coroutine[Any, Any, bytes])
    assert_type(add.enqueue(1, b=2), Job[int])
    assert_type(send_email.enqueue("a@example.com", subject="hi"), Job[str])
    assert_type(send_email.enqueue("a@example.com", subject="hi").result(timeout=10), str)
    assert_type(count.enqueue(["a"]), Job[None])
    assert_type(add.enqueue_many([(1,), (2, 3), add.s(4)]), list[Job[int]])
    assert_type(add.s(1), Signature[int])
    assert_type(add.si(1, b=2), Signature[int])
    assert_type(add.si(1).enqueue(), Job[int])
    assert_type(add.name, str)


def options() -> None:
    """Give options for one call; the task keeps its type."""
    urgent = add.using(queue="urgent", priority=10, delay=timedelta(seconds=5), tags=["a"])
    assert_type(urgent(1), int)
    assert_type(urgent.enqueue(1), Job[int])
    _ = assert_type(fetch.using(at=datetime.now(UTC))("a"), Coroutine[Any, Any, bytes])


async def from_a_loop() -> None:
    """Call, enqueue and wait from async code."""
    assert_type(await fetch("a"), bytes)
    assert_type(await fetch.aenqueue("a"), Job[bytes])
    assert_type(await (await send_email.aenqueue("a", "b")).aresult(), str)
    assert_type(await add.aenqueue_many([(1,)]), list[Job[int]])
    assert_type(await add.s(1).aenqueue(), Job[int])
    assert_type(await app.aenqueue("by.name", 1), Job[Any])
    assert_type(await app.ajobs(state=JobState.READY), JobPage)


def jobs(job: Job[int]) -> None:
    """Look at jobs."""
    assert_type(job.refresh(), Job[int])
    assert_type(job.id, str)
    assert_type(job.state, JobState)
    assert_type(job.priority, int)
    assert_type(job.created_at, datetime)
    assert_type(job.finished_at, datetime | None)
    assert_type(job.tags, tuple[str, ...])
    assert_type(job.cancel(), bool)
    assert_type(app.job("an id"), Job[Any])
    assert_type(app.jobs(queue="email", limit=10).cursor, str | None)
    assert_type(app.dead.replay(task="a"), int)
    try:
        job.result()
    except JobFailed as error:
        assert_type(error.args, tuple[Any, ...])


def inside() -> None:
    """Use the running job's context."""
    assert_type(current().attempt, int)
    assert_type(current().deadline, datetime | None)
    assert_type(current().idempotency_key, str)
    with sqlite3.connect("jobs.db") as own, current().transaction(own) as db:
        assert_type(db, sqlite3.Connection)
        assert_type(add.using(connection=db).enqueue(1), Job[int])


@app.on_startup
async def prepare() -> None:
    """Prepare."""


@app.on_dead
def report(job: Job[Any]) -> None:
    """Report."""
    assert_type(job.error, ErrorInfo | None)
