"""Counts of what has ended on PostgreSQL: kept, not counted, and those of the tables."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
import pytest

from treadle.core.clock import MovedClock
from treadle.core.decide import Rules
from treadle.core.durations import DAY, HOUR
from treadle.core.outcome import Failed, Outcome, Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Filter, Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    ANY_LIMIT,
    ERROR,
    Case,
    MakeStore,
    case,
    scenario,
    settlement,
)

__all__ = ["case"]

DAY_S: Final = DAY / 1e6
DEAD: Final = Failed(ERROR, retryable=False)
ROW: Final = "select queue, state, count(*) from {p}records group by 1, 2"


@pytest.fixture
def make_store(postgres_schema: str, clock: MovedClock) -> MakeStore:
    """Make stores on the test's schema."""

    def make(namespace: str = "default") -> Store:
        store = PostgresStore(postgres_schema, namespace, Settings(), clock)
        store.migrate_now()
        return store

    return make


def ask(postgres_schema: str, text: str) -> list[tuple[Any, ...]]:
    """Ask the tables themselves; `{p}` stands before their names."""
    url, _, schema = postgres_schema.partition("?schema=")
    with psycopg.connect(url, autocommit=True) as db:
        return db.execute(text.replace("{p}", f"{schema}.treadle_").encode()).fetchall()


async def end(case: Case, queue: str, *ends: tuple[Outcome, int]) -> None:
    """Let a worker end a job for each outcome, to be kept for so long, in one batch."""
    await case.add(len(ends), queue=queue)
    worker = await case.worker()
    claims = await worker.claim(len(ends), queue)
    await worker.settle(
        *(
            settlement(claim, outcome, Rules(keep_succeeded=keep, keep_failed=keep))
            for claim, (outcome, keep) in zip(claims, ends, strict=True)
        )
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
@scenario
async def test_counts_are_those_of_the_tables(case: Case, postgres_schema: str, seed: int) -> None:
    """Whatever is settled, cancelled, purged, retried, discarded, expired or pruned."""
    draw = random.Random(seed)  # noqa: S311 -- draws what a test does
    queues = ["a", "b"]
    outcomes: list[Outcome] = [Succeeded(b"1"), DEAD, Failed(ERROR, delay=HOUR)]

    async def some() -> Sequence[bytes]:
        found = [record.id for record in await case.store.find(Filter(), limit=1_000)]
        return draw.sample(found, min(len(found), 7))

    async def settle() -> None:
        ends = [(draw.choice(outcomes), draw.choice([0, DAY, 30 * DAY])) for _ in range(6)]
        await end(case, f"q{draw.random()}", *ends)

    async def add() -> None:
        await case.add(4, queue=draw.choice(queues), expires_in=draw.choice([None, HOUR]))

    acts: list[Callable[[], Any]] = [
        settle,
        settle,
        add,
        lambda: case.store.purge(draw.choice(queues), limit=2),
        lambda: case.store.stage([], ANY_LIMIT),
        lambda: case.store.prune(ANY_LIMIT),
    ]
    for _ in range(40):
        await draw.choice(acts)()
        await case.store.cancel(await some())
        await case.store.retry(await some())
        await case.store.discard((await some())[:2])
        case.clock.move(draw.choice([0, 1, 3_600, DAY_S]))
    said = {
        (queue.name, state): count
        for queue in await case.store.queues()
        for state, count in queue.counts.items()
        if count
    }
    assert said == {(queue, state): count for queue, state, count in ask(postgres_schema, ROW)}


@scenario
async def test_counts_are_added_up_by_upkeep(case: Case, postgres_schema: str) -> None:
    """A busy day leaves few rows to read, and the sum stays the same."""
    worker = await case.worker()
    await case.add(600)
    for claim in await worker.claim(600):
        await worker.finish(claim, Succeeded(b"1"))
    [before] = await case.store.queues()
    await case.store.prune(ANY_LIMIT)
    [after] = await case.store.queues()
    assert before.counts == after.counts == {"succeeded": 600}
    assert ask(postgres_schema, "select count(*) from {p}counted") == [(0,)]
    assert ask(postgres_schema, "select count(*) from {p}totals") == [(1,)]
