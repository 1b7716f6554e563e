"""Keys under several PostgreSQL sessions: who waits for whom, and that nobody waits in a circle."""

import asyncio
import threading
from collections.abc import Iterator
from typing import LiteralString, Self

import psycopg
import pytest

from treadle import DuplicateJob, Treadle, Unique
from treadle.core.errors import StoreError
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.keys.key import Conflict, Key, Until
from treadle.core.outcome import Succeeded
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, new_job, settlement, take, worker_info

WAIT_S = 25.0
SOON_S = 25.0
"""A call that waits for what the test has locked fails by the store's own timeout before it."""
"""Less than the time after which a store gives up a statement that waits."""


@pytest.fixture
def app(postgres_schema: str) -> Iterator[Treadle]:
    """Give an application on the test's schema."""
    made = Treadle(postgres_schema)
    store = PostgresStore(postgres_schema, "default", Settings())
    store.migrate_now()
    store.close_now()
    yield made
    made.close()


def session(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    """Open a session of an application's own, which begins transactions by itself."""
    server, _, schema = url.partition("?schema=")
    return psycopg.connect(server, options=f"-c search_path={schema}")


@pytest.mark.parametrize("commits", [True, False])
def test_of_two_open_transactions_the_second_waits(
    app: Treadle, postgres_schema: str, *, commits: bool
) -> None:
    """It meets the job of the first when that commits, and has the key when that rolls back."""

    @app.task(name="pay", unique=Unique())
    def pay(order: int) -> int:
        return order

    found: list[str] = []

    def second() -> None:
        with session(postgres_schema) as db:
            found.append(pay.using(connection=db).enqueue(1).id)

    with session(postgres_schema) as db:
        first = pay.using(connection=db).enqueue(1)
        other = threading.Thread(target=second)
        other.start()
        waits(postgres_schema)
        assert not found
        if commits:
            db.commit()
        else:
            db.rollback()
        other.join(WAIT_S)
    assert (found == [first.id]) == commits
    assert len(app.jobs()) == 1


def waits(url: str) -> None:
    """Wait until some session of the server waits for a lock."""
    with session(url) as db:
        for _ in range(int(WAIT_S / 0.02)):
            row = db.execute(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
            ).fetchone()
            if row is not None and row[0]:
                return
            db.rollback()
            threading.Event().wait(0.02)
    raise AssertionError("nobody waits")


def test_a_connection_outside_of_a_transaction_is_refused(
    app: Treadle, postgres_schema: str
) -> None:
    """A key would be held before its job is there; the error says to begin a transaction."""
    task = app.named("pay").using(unique=Unique())
    with session(postgres_schema) as db:
        db.autocommit = True
        with pytest.raises(StoreError, match="begin one"):
            task.using(connection=db).enqueue(1)
        with db.transaction():
            job = task.using(connection=db).enqueue(1)
    assert [one.id for one in app.jobs()] == [job.id]


def test_a_refused_job_leaves_the_transaction_usable(app: Treadle, postgres_schema: str) -> None:
    """DuplicateJob is an answer and no error of the server's."""
    task = app.named("pay").using(unique=Unique(on_conflict="raise"))
    with session(postgres_schema) as db:
        task.using(connection=db).enqueue(1)
        with pytest.raises(DuplicateJob):
            task.using(connection=db).enqueue(1)
        task.using(connection=db).enqueue(2)
    assert len(app.jobs()) == 2


def test_batches_and_ends_never_wait_in_a_circle(postgres_schema: str) -> None:
    """Batches of the same keys in opposite orders, beside settlements and cancels of their jobs."""
    setup = PostgresStore(postgres_schema, "default", Settings())
    setup.migrate_now()
    names = [f"k{n}" for n in range(8)]

    async def enqueue_all(store: PostgresStore, order: list[str]) -> None:
        for turn in range(40):
            way = Conflict.REPLACE if turn % 2 else Conflict.KEEP
            jobs = [new_job(key=Key(name, conflict=way)) for name in order]
            await store.enqueue(new_id(), jobs)

    async def end_all(store: PostgresStore, name: str) -> None:
        hand = Hand(store, worker_info(name))
        await hand.register()
        for turn in range(60):
            claims = (await hand.exchange((), take(4))).claims
            if turn % 5 == 4:
                await store.cancel([claim.id for claim in reversed(claims)])
            await hand.settle(*(settlement(claim, Succeeded(b"1")) for claim in claims))
            await store.stage([], 100)

    async def play() -> None:
        stores = [PostgresStore(postgres_schema, "default", Settings()) for _ in range(4)]
        for store in stores:
            await store.open()
        before = await deadlocks(postgres_schema)
        await asyncio.gather(
            enqueue_all(stores[0], names), enqueue_all(stores[1], names[::-1]),
            end_all(stores[2], "w1"), end_all(stores[3], "w2"),
        )  # fmt: skip
        assert await deadlocks(postgres_schema) == before
        hand = Hand(stores[0], worker_info("last"))
        await hand.register()
        for _ in range(20):
            await stores[0].stage([], 100)
            claims = (await hand.exchange((), take(99))).claims
            await hand.settle(*(settlement(claim, Succeeded(b"1")) for claim in claims))
        await stores[0].prune(100)
        assert await stores[0].keys(names) == [None] * len(names)
        counts = [q.counts.get(JobState.BLOCKED, 0) for q in await stores[0].queues()]
        assert counts == [0]
        for store in stores:
            await store.close()

    asyncio.run(play())
    setup.close_now()


async def deadlocks(url: str) -> int:
    """Count the circles that the server has broken in this database so far."""
    with session(url) as db:
        row = db.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


class Held:
    """A store, a worker by hand, and an application's transaction that keeps a key's row locked."""

    def __init__(self, url: str, name: str = "w") -> None:
        self.store = PostgresStore(url, "default", Settings())
        self.db = session(url)
        self.app = Treadle(url)
        self.hand = Hand(self.store, worker_info(name))

    async def __aenter__(self) -> Self:
        await self.store.migrate()
        await self.store.open()
        await self.hand.register()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.db.close()
        self.app.close()
        await self.store.close()

    def ask(self, way: str = "existing") -> str:
        """Enqueue under the key in the open transaction; the id of the job that answers."""
        rule = Unique(key="k", on_conflict=way)  # type: ignore[arg-type]
        return self.app.named("t").using(unique=rule, connection=self.db).enqueue().id

    def end(self, *, commits: bool) -> None:
        """End the transaction."""
        if commits:
            self.db.commit()
        else:
            self.db.rollback()

    async def enqueue(self, until: Until = Until.END, way: Conflict = Conflict.KEEP) -> object:
        """Enqueue under the key in a transaction of the store's own; the fate."""
        job = new_job(task="t", key=Key("unique:t:k", until=until, conflict=way))
        return (await self.store.enqueue(new_id(), [job]))[0]

    def count(self, query: LiteralString) -> int:
        """Give the number that a query tells."""
        row = self.db.execute(query).fetchone()
        assert row is not None
        return int(str(row[0]))

    async def holder(self) -> bytes | None:
        """Tell who holds the key."""
        (found,) = await self.store.keys(["unique:t:k"])
        return None if found is None else found.job


@pytest.mark.parametrize("commits", [True, False])
def test_the_line_goes_on_beside_an_open_transaction(
    postgres_schema: str, *, commits: bool
) -> None:
    """Who holds the row of a key keeps no settlement waiting, and the key is free after it."""

    async def play() -> None:
        async with Held(postgres_schema) as held:
            await held.enqueue()
            (first,) = (await held.hand.exchange((), take(1))).claims
            assert bytes.fromhex(held.ask().replace("-", "")) == first.id
            await held.store.enqueue(new_id(), [new_job()])
            done = held.hand.exchange([settlement(first, Succeeded(b"1"))], take(1))
            answer = await asyncio.wait_for(done, SOON_S)
            assert len(answer.claims) == 1
            await asyncio.wait_for(held.store.stage([], 100), SOON_S)
            await asyncio.wait_for(held.store.prune(100), SOON_S)
            assert await held.holder() is None
            held.end(commits=commits)
            assert await held.enqueue() is JobState.READY
            (again,) = (await held.hand.exchange((), take(1))).claims
            assert await held.holder() == again.id != first.id

    asyncio.run(play())


@pytest.mark.parametrize("commits", [True, False])
def test_a_key_that_was_left_goes_to_who_waits(postgres_schema: str, *, commits: bool) -> None:
    """A follower of an open transaction has its turn once that commits, at the next stage."""

    async def play() -> None:
        async with Held(postgres_schema) as held:
            await held.enqueue()
            (first,) = (await held.hand.exchange((), take(1))).claims
            follower = bytes.fromhex(held.ask("replace").replace("-", ""))
            await asyncio.wait_for(held.hand.settle(settlement(first, Succeeded(b"1"))), SOON_S)
            await asyncio.wait_for(held.store.stage([], 100), SOON_S)
            held.end(commits=commits)
            assert await held.holder() == (follower if commits else None)
            await held.store.stage([], 100)
            claims = (await held.hand.exchange((), take(9))).claims
            assert [claim.id for claim in claims] == ([follower] if commits else [])

    asyncio.run(play())


def test_a_new_job_meets_the_heir_of_a_key_that_was_left(postgres_schema: str) -> None:
    """Before a stage an enqueue finds the follower, and not the ended job; one of them runs."""

    async def play() -> None:
        async with Held(postgres_schema) as held:
            await held.enqueue()
            (first,) = (await held.hand.exchange((), take(1))).claims
            follower = bytes.fromhex(held.ask("replace").replace("-", ""))
            await asyncio.wait_for(held.hand.settle(settlement(first, Succeeded(b"1"))), SOON_S)
            held.end(commits=True)
            assert getattr(await held.enqueue(), "job", None) == follower
            await held.store.stage([], 100)
            claims = (await held.hand.exchange((), take(9))).claims
            assert [claim.id for claim in claims] == [follower]

    asyncio.run(play())


def test_claim_and_cancel_pass_over_a_locked_key(postgres_schema: str) -> None:
    """A first claim and a cancel do not wait; the key is free for whoever asks after them."""

    async def play() -> None:
        async with Held(postgres_schema) as held:
            await held.enqueue(Until.CLAIM)
            held.ask()
            (first,) = (await asyncio.wait_for(held.hand.exchange((), take(1)), SOON_S)).claims
            held.end(commits=True)
            assert await held.enqueue() is JobState.READY
            second = await held.holder()
            assert second not in (None, first.id)
            held.ask()
            assert second is not None
            assert await asyncio.wait_for(held.store.cancel([second]), SOON_S)
            held.end(commits=True)
            assert await held.enqueue() is JobState.READY

    asyncio.run(play())


def test_upkeep_deletes_rows_that_were_left_a_page_at_a_time(postgres_schema: str) -> None:
    """Each prune looks at a bounded number of keys, and passes over one that is locked."""

    async def play() -> None:
        async with Held(postgres_schema) as held:
            await held.enqueue()
            await held.store.enqueue(new_id(), [new_job(key=Key(f"k{n:02}")) for n in range(20)])
            held.db.execute("delete from treadle_jobs")
            held.db.commit()
            held.db.execute("select from treadle_keys where name = 'unique:t:k' for update")
            for left in (11, 1, 1):
                await asyncio.wait_for(held.store.prune(10), SOON_S)
                assert held.count("select count(*) from treadle_keys") == left
            held.end(commits=True)
            for _ in range(3):
                await held.store.prune(10)
            assert held.count("select count(*) from treadle_keys") == 0

    asyncio.run(play())


TWICE = (
    "select count(*) from (select key from treadle_jobs where key is not null"
    " and state <> 'blocked' group by key having count(*) > 1) as twice"
)


def test_one_job_a_key_beside_open_transactions(postgres_schema: str) -> None:
    """Ends, cancels and stages beside transactions that stay open: never two active, none stuck."""
    over = threading.Event()

    def call(held: Held) -> None:
        for turn in range(60):
            held.ask("replace" if turn % 3 else "existing")
            over.wait(0.01)
            held.end(commits=turn % 4 != 3)

    async def end_all(held: Held) -> None:
        while not over.is_set():
            claims = (await held.hand.exchange((), take(4))).claims
            found = await held.holder()
            if found is not None and len(claims) == 1:
                await held.store.cancel([found])
            await held.hand.settle(*(settlement(claim, Succeeded(b"1")) for claim in claims))
            await held.store.stage([], 100)

    async def watch(held: Held) -> None:
        while not over.is_set():
            assert held.count(TWICE) == 0
            held.db.commit()
            await asyncio.sleep(0)

    async def play() -> None:
        async with (
            Held(postgres_schema, "one") as one,
            Held(postgres_schema, "two") as two,
            Held(postgres_schema, "eye") as eye,
        ):
            others = asyncio.gather(end_all(one), end_all(two), watch(eye))
            await asyncio.gather(asyncio.to_thread(call, one), asyncio.to_thread(call, two))
            over.set()
            await others
            for _ in range(4):
                await eye.store.stage([], 100)
                claims = (await eye.hand.exchange((), take(9))).claims
                await eye.hand.settle(*(settlement(c, Succeeded(b"1")) for c in claims))
            assert eye.count("select count(*) from treadle_jobs") == 0
            assert await eye.holder() is None

    asyncio.run(play())


def test_a_dead_letter_takes_a_key_that_was_left(postgres_schema: str) -> None:
    """A retry finds the key free whose holder could not free it."""

    async def play() -> None:
        async with Held(postgres_schema) as held:
            await held.enqueue()
            dead = await held.holder()
            assert dead is not None
            await held.store.cancel([dead])
            await held.enqueue()
            (claim,) = (await held.hand.exchange((), take(1))).claims
            held.ask()
            await asyncio.wait_for(held.hand.settle(settlement(claim, Succeeded(b"1"))), SOON_S)
            held.end(commits=False)
            assert list(await held.store.retry([dead]))
            assert await held.holder() == dead
            claims = (await held.hand.exchange((), take(9))).claims
            assert [one.id for one in claims] == [dead]

    asyncio.run(play())
