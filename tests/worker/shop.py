"""A shop: an application with a table of its own in the store's file, and tasks that sell.

The tests of `ctx.transaction()` stand on it: what is in the table, what its tasks have
enqueued, and whether somebody keeps writers out.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

import treadle
from treadle import Context, Job, Task, Treadle, Worker

CTX: Final = treadle.context()

both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
"""Each promise holds for both kinds of tasks."""

Ends = Callable[[], object]


class Shop:
    """An application with a table of its own in the store's file."""

    def __init__(self, folder: Path, **settings: Any) -> None:  # noqa: ANN401 -- settings by name
        self.file = folder / "jobs.db"
        self.app = Treadle(f"sqlite:///{self.file}", settings=settings)
        self.app.store  # noqa: B018 -- opening makes the file
        with self.connect() as db:
            db.execute("create table sales (id integer primary key, who text)")
        self.child: Task[[int], int] = self.app.task(name="child")(_child)

    def connect(self) -> closing[sqlite3.Connection]:
        """Open a connection as an application would."""
        return closing(sqlite3.connect(self.file, timeout=0, isolation_level=None))

    @property
    def sales(self) -> list[str]:
        """What is in the user's own table."""
        with self.connect() as db:
            return [who for (who,) in db.execute("select who from sales order by who")]

    @property
    def locked(self) -> bool:
        """Whether somebody keeps writers out."""
        with self.connect() as db:
            try:
                db.execute("begin immediate")
            except sqlite3.OperationalError:
                return True
            return False

    def run(self, task: Task[..., Any], *args: object) -> Job[Any]:
        """Enqueue one job and run what is ready; give the job as it is then."""
        job = task.enqueue(*args)
        assert Worker(self.app, burst=True).run() == 0
        return job.refresh()

    @property
    def children(self) -> list[int]:
        """The arguments of the jobs that tasks have enqueued."""
        return sorted(job.args[0] for job in self.app.jobs(task="child"))


def _child(number: int) -> int:
    return number


def seller(shop: Shop, end: Ends, *, is_async: bool, **options: Any) -> Task[[str], Any]:  # noqa: ANN401
    """Make a task that sells something, enqueues a child in the same go, and ends in this way."""

    @shop.app.task(name="sell", **options)
    def sell(who: str, ctx: Context = CTX) -> Any:  # noqa: ANN401
        with ctx.transaction() as db:
            db.execute("insert into sales (who) values (?)", (who,))
            shop.child.using(connection=db).enqueue(1)
        return end()

    @shop.app.task(name="asell", **options)
    async def asell(who: str, ctx: Context = CTX) -> Any:  # noqa: ANN401
        async with ctx.transaction() as db:
            db.execute("insert into sales (who) values (?)", (who,))
            await asyncio.sleep(0)
            await shop.child.using(connection=db).aenqueue(1)
            await shop.child.using(connection=db).aenqueue_many([(2,), (3,)])
        return end()

    return asell if is_async else sell


async def play(shop: Shop, scene: Callable[[Worker], Awaitable[None]], **options: Any) -> None:  # noqa: ANN401
    """Play a scene beside a worker, which must be able to stop after it."""
    async with Worker(shop.app, **options) as worker:
        await scene(worker)
