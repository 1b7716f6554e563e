"""Readers of history, prunes and drains on one server: who waits for whom.

A session waits for a lock when the server says so, so a look at its locks every few milliseconds
tells it, however busy the machine is. Each test shows that its look would have seen a wait.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import pytest

from treadle.core.decide import Rules
from treadle.core.durations import DAY
from treadle.core.ids import new_id
from treadle.core.job import Claim
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, new_job, settlement, take, worker_info

BATCH: Final = 50
ROUNDS: Final = 40
WAIT_S: Final = 20.0
WAITING: Final = """
    select distinct a.application_name from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where not l.granted and a.application_name = any(%s)
"""


class Sessions:
    """Stores on one schema, each with an application name by which the server shows it."""

    def __init__(self, url: str) -> None:
        self.url, _, self.schema = url.partition("?schema=")
        self.mark = new_id().hex()

    def named(self, text: str) -> bytes:
        """Put what stands before the names of tables in the place of `{p}`."""
        return text.replace("{p}", f"{self.schema}.treadle_").encode()

    def store(self, name: str) -> PostgresStore:
        """Make a store."""
        url = f"{self.url}?schema={self.schema}&application_name={name}-{self.mark}"
        return PostgresStore(url, "default", Settings())

    @contextmanager
    def reader(self) -> Iterator[psycopg.Connection]:
        """Keep a transaction open that has read all of history."""
        with psycopg.connect(self.url) as db:
            db.execute(self.named("select count(*) from {p}history"))
            yield db

    @contextmanager
    def watched(self, *names: str) -> Iterator[set[str]]:
        """Note which of these wait for a lock at any time within the block."""
        seen: set[str] = set()
        done = threading.Event()

        def watch() -> None:
            with psycopg.connect(self.url, autocommit=True) as db:
                while not done.is_set():
                    rows = db.execute(WAITING, [[f"{name}-{self.mark}" for name in names]])
                    seen.update(name.partition("-")[0] for (name,) in rows)
                    done.wait(0.002)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield seen
        finally:
            done.set()
            watcher.join()


@pytest.fixture
def sessions(postgres_schema: str) -> Sessions:
    """Give sessions on a schema with the tables, and a shelf whose time is over."""
    sessions = Sessions(postgres_schema)

    async def fill() -> None:
        store = sessions.store("past")
        await store.migrate()
        then = time.time_ns() // 1000 - 40 * DAY
        await store.enqueue(new_id(), [new_job() for _ in range(BATCH)], now=then)
        await store.register(worker_info("past"), now=then)
        claims = (await store.exchange("past", new_id(), (), take(BATCH), now=then)).claims
        done = [settlement(claim, Succeeded(b"1")) for claim in claims]
        await store.exchange("past", new_id(), done, None, now=then)
        await store.leave("past")
        await store.close()

    asyncio.run(fill())
    return sessions


async def drain(store: PostgresStore, *keeps: int) -> None:
    """Settle and claim, batch after batch, jobs that are to be kept for so long."""
    await store.enqueue(new_id(), [new_job() for _ in range(1_000)])
    await store.enqueue(new_id(), [new_job() for _ in range(1_000)])
    hand = Hand(store, worker_info("drain"))
    await hand.register()
    claims: list[Claim] = await hand.claim(BATCH)
    for n in range(ROUNDS):
        assert len(claims) == BATCH
        rules = Rules(keep_succeeded=keeps[n % len(keeps)])
        done = [settlement(claim, Succeeded(b"1"), rules) for claim in claims]
        answer = await hand.exchange(done, take(BATCH))
        if not answer.claims and answer.more:
            answer = await hand.exchange(demand=take(BATCH))
        assert set(answer.verdicts) <= {Verdict.APPLIED}
        claims = list(answer.claims)
    await hand.store.leave("drain")


def shelves(sessions: Sessions) -> int:
    """Count the shelves."""
    with psycopg.connect(sessions.url, autocommit=True) as db:
        rows = db.execute(sessions.named("select name from {p}shelves")).fetchall()
    return len(rows)


def test_a_drain_goes_on_beside_a_reader_and_a_prune(sessions: Sessions) -> None:
    """Prune waits for the reader, time and again; the drain, which makes shelves, for neither."""

    async def prunes(store: PostgresStore, done: asyncio.Event) -> int:
        count = 0
        while not done.is_set():
            count += await store.prune(500)
        return count

    async def together() -> None:
        draining, pruning = sessions.store("drain"), sessions.store("prune")
        done = asyncio.Event()
        with sessions.reader() as reader, sessions.watched("drain", "prune") as waited:
            prune = asyncio.create_task(prunes(pruning, done))
            await drain(draining, DAY, 30 * DAY, 300 * DAY)
            deadline = time.monotonic() + WAIT_S
            while "prune" not in waited:
                assert time.monotonic() < deadline, "prune never met the reader"
                await asyncio.sleep(0)
            done.set()
            assert await prune == 0
            assert shelves(sessions) == 4
            reader.rollback()
        assert waited == {"prune"}
        assert await pruning.prune(500) == BATCH
        assert shelves(sessions) == 3
        await draining.close()
        await pruning.close()

    asyncio.run(together())


def test_a_drain_goes_on_beside_a_drop_that_waits_for_ever(sessions: Sessions) -> None:
    """Also where somebody drops a shelf by hand, behind a reader and without any patience set."""
    day = (time.time_ns() // 1000 - 39 * DAY) // DAY

    def by_hand() -> None:
        url = f"{sessions.url}?application_name=hand-{sessions.mark}"
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(sessions.named(f"drop table {{p}}past_d{day}"))

    async def together() -> None:
        draining = sessions.store("drain")
        with sessions.reader() as reader, sessions.watched("drain", "hand") as waited:
            dropping = asyncio.create_task(asyncio.to_thread(by_hand))
            deadline = time.monotonic() + WAIT_S
            while "hand" not in waited:
                assert time.monotonic() < deadline, "the drop never met the reader"
                await asyncio.sleep(0)
            await drain(draining, DAY, 30 * DAY)
            assert not dropping.done()
            reader.rollback()
            await dropping
        assert waited == {"hand"}
        await draining.close()

    asyncio.run(together())
