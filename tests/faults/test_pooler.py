"""Behind a pooler that lends few connections: all that goes wrong on one is met by the next client.

What must not be is that something is left on a connection when the pooler lends it on, or that
somebody who holds one waits for a second.
"""

import asyncio
import random
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.conformance.own_pooler import needs_pooler
from tests.faults.far import FarScene
from tests.faults.scene import PATIENT, QUICK, finish
from treadle import Job, StoreUnavailable, Treadle
from treadle.testing.servers import PgBouncer

pytestmark = [needs_pooler, pytest.mark.slow]

SALES: Final = 24
ROUNDS: Final = 60
ALL_S: Final = 60.0
PATIENCES_S: Final = (0.001, 0.003, 0.01, 0.03, ALL_S)
"""How long a call may take before it is cancelled: most of them are, at any step of theirs."""
STRIKE_S: Final = 0.15
BACKENDS: Final = (
    "from pg_stat_activity where datname = current_database() and backend_type = "
    "'client backend' and pid <> pg_backend_pid()"
)


@pytest.fixture(params=[1, 3])
def pooler(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[PgBouncer]:
    """Run a pooler in transaction mode that has one connection, or a few."""
    with PgBouncer(postgres_url, connections=request.param) as pooler:
        yield pooler


@pytest.fixture
def scene(pooler: PgBouncer, postgres_url: str, tmp_path: Path) -> Iterator[FarScene]:
    """Prepare a scene whose processes know the pooler alone."""
    with FarScene(tmp_path, postgres_url, QUICK | PATIENT).prepare() as scene:
        scene.url = pooler.url
        yield scene


def test_tasks_that_hold_every_connection_in_a_transaction_wait_for_no_other(
    scene: FarScene,
) -> None:
    """They enqueue and succeed over their own, each at its first attempt, in threads and loops."""
    scene.enqueue("sell", *(f"s{n}" for n in range(SALES)))
    scene.enqueue("sell_in_thread", *(f"t{n}" for n in range(SALES)))
    finish(scene, *(scene.worker("--slots", "8") for _ in range(2)), patience=ALL_S)
    assert {one.attempt for one in scene.records()} == {1}


class Callers:
    """Threads and tasks that call one application, each sure of what its answers must be."""

    def __init__(self, app: Treadle, scene: FarScene, seed: int) -> None:
        self.app = app
        self.ledger = scene.ledger
        self.seed = seed
        self.wrong: list[str] = []

    def check(self, key: str, job: Job[object], read: Job[object]) -> None:
        """Note an answer that is another caller's."""
        if (read.id, read.args, job.args) != (job.id, (key,), (key,)):
            self.wrong.append(f"{key}: asked for {job.id} {job.args}, got {read.id} {read.args}")

    def in_a_thread(self, name: int) -> None:
        """Enqueue and read, as often as it is to be, whatever is refused."""
        for turn in range(ROUNDS):
            key = f"thread{name}-{turn}"
            with suppress(StoreUnavailable):
                self.ledger.write("TRY", key)
                job = self.app.enqueue("touch", key)
                self.ledger.write("OK", key)
                self.check(key, job, self.app.job(job.id))

    async def on_a_loop(self, name: int) -> None:
        """Do the same, cancelled again and again in the midst of it."""
        draw = random.Random(self.seed + name)  # noqa: S311 -- the seed is what replays the run
        for turn in range(ROUNDS):
            key = f"loop{name}-{turn}"
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(draw.choice(PATIENCES_S)):
                    self.ledger.write("TRY", key)
                    job = await self.app.aenqueue("touch", key)
                    self.ledger.write("OK", key)
                    self.check(key, job, await self.app.ajob(job.id))

    async def within(self, name: int, url: str) -> None:
        """Enqueue in transactions of the caller's own, through the pooler, too."""
        draw = random.Random(self.seed - name - 1)  # noqa: S311 -- as above
        for turn in range(ROUNDS):
            key = f"own{name}-{turn}"
            with suppress(psycopg.Error, StoreUnavailable, TimeoutError):
                async with (
                    asyncio.timeout(draw.choice(PATIENCES_S)),
                    await psycopg.AsyncConnection.connect(url, prepare_threshold=None) as db,
                ):
                    self.ledger.write("TRY", key)
                    await self.app.named("touch").using(connection=db).aenqueue(key)
                    if turn % 2:
                        await db.rollback()
                    else:
                        await db.commit()
                        self.ledger.write("OK", key)


def all_at_once(*calls: Callable[[], Awaitable[None]]) -> None:
    """Carry these on one loop."""

    async def main() -> None:
        await asyncio.gather(*(call() for call in calls))

    asyncio.run(main())


def strike(url: str, seed: int, over: threading.Event) -> None:
    """Stop statements and end sessions of the server's, one after another."""
    draw = random.Random(seed)  # noqa: S311 -- as above
    with psycopg.connect(url, autocommit=True) as db:
        while not over.wait(STRIKE_S):
            what = draw.choice(["pg_cancel_backend", "pg_terminate_backend"])
            db.execute(f"select {what}(pid) {BACKENDS} order by random() limit 1".encode())


@pytest.mark.timeout(180)
def test_nobody_gets_anothers_answer_whatever_is_cut_off(
    scene: FarScene, pooler: PgBouncer, postgres_url: str
) -> None:
    """Calls are cancelled, statements stopped and sessions ended; nothing is lost or doubled."""
    seed, over = secrets.randbits(32), threading.Event()
    app = Treadle(pooler.url, namespace=scene.namespace, settings={"store_timeout": 5})
    callers = Callers(app, scene, seed)
    workers = [scene.worker(), scene.worker()]
    scene.until(lambda: all(one.ready for one in workers), "the workers are ready", ALL_S)
    with ExitStack() as ends, ThreadPoolExecutor(6) as pool:
        ends.callback(app.close)
        striker = pool.submit(strike, postgres_url, seed, over)
        try:
            threads = [pool.submit(callers.in_a_thread, n) for n in range(4)]
            all_at_once(
                *(lambda n=n: callers.on_a_loop(n) for n in range(6)),
                *(lambda n=n: callers.within(n, pooler.url) for n in range(2)),
            )
            for thread in threads:
                thread.result(ALL_S)
        finally:
            over.set()
        striker.result(ALL_S)
    assert not callers.wrong, f"seed {seed}: {callers.wrong}"
    finish(scene, *workers, patience=ALL_S)
