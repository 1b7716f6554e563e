"""Keys under several PostgreSQL sessions: who waits for whom, and that nobody waits in a circle."""

import asyncio
import threading
from collections.abc import Iterator

import psycopg
import pytest

from treadle import DuplicateJob, Treadle, Unique
from treadle.core.errors import StoreError
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.keys.key import Conflict, Key
from treadle.core.outcome import Succeeded
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, new_job, settlement, take, worker_info

WAIT_S = 10.0


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
