"""Rows that somebody changed by hand: the tables refuse what no claim could read.

PostgreSQL itself keeps text that is none and values of a wrong type out; the checks of the
tables do so for states that are none and numbers at their end. What is left are bytes that
are not JSON. These tests go past the store, through psycopg.
"""

import asyncio

import psycopg
import pytest

from treadle.core.clock import MovedClock
from treadle.core.job import JobState
from treadle.core.outcome import Failed, Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Filter, Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import ANY_LIMIT, ERROR, Case, MakeStore, case, scenario

__all__ = ["case"]

REFUSED = [
    "state = 'dreaming'",
    "state = 'succeeded'",
    "state = null",
    "number = 9223372036854775807",
    "number = -1",
    "attempt = 2147483647",
    "attempt = null",
    "crashes = -1",
    "args = null",
    "created_at = 9223372036854775807",
    "id = '01'",
    "task = null",
    "task = convert_from('\\xff80', 'UTF8')",
    "priority = 'high'",
]
ODD = {
    "arguments that are not JSON": "args = '\\xff'",
    "tags that are not JSON": "tags = '\\x5b22'",
    "tags that are no list": "tags = '\\x37'",
    "an error that is not JSON": "error = '\\xff7b'",
    "a policy that is not JSON": "policy = '\\x00'",
}


@pytest.fixture
def make_store(postgres_schema: str, clock: MovedClock) -> MakeStore:
    """Make stores on the test's schema."""

    def make(namespace: str = "default") -> Store:
        store = PostgresStore(postgres_schema, namespace, Settings(), clock)
        store.migrate_now()
        return store

    return make


def change(url: str, table: str, change: str, job: bytes | None = None) -> int:
    """Change a table as a person with `psql` would."""
    bare, _, name = url.partition("?schema=")
    where = "" if job is None else f" where id = '{job.hex()}'"
    with psycopg.connect(bare, autocommit=True) as db:
        statement = f"update {name}.treadle_{table} set {change}{where}"  # noqa: S608 -- the test's own words
        return db.execute(statement.encode()).rowcount


@pytest.mark.parametrize("value", REFUSED)
def test_the_tables_refuse_a_wrong_value_also_by_hand(
    postgres_schema: str, make_store: MakeStore, clock: MovedClock, value: str
) -> None:
    """Types, nulls, states and ranges are constraints of the tables, not habits of the code."""

    async def one_job() -> bytes:
        async with Case(make_store, clock) as case:
            return (await case.add())[0]

    job = asyncio.run(one_job())
    with pytest.raises((psycopg.IntegrityError, psycopg.DataError)):
        change(postgres_schema, "jobs", value, job)


class TestOddRows:
    """Nothing fails beside bytes that cannot be read."""

    @pytest.mark.parametrize("damage", ODD.values(), ids=list(ODD))
    @scenario
    async def test_the_line_goes_on(self, case: Case, postgres_schema: str, damage: str) -> None:
        """Claims, settlements and upkeep carry the bytes and do not look into them."""
        ids = await case.add(3, delay=1_000_000)
        assert change(postgres_schema, "jobs", damage, ids[1]) == 1
        case.clock.move(1)
        assert await case.store.stage(["shop.mail"], ANY_LIMIT) == len(ids)
        worker = await case.worker()
        for claim in await worker.claim(5):
            await worker.finish(claim, Succeeded(b"1"))
        assert await case.states(ids) == [JobState.SUCCEEDED] * 3
        case.clock.move(100 * 86_400)
        assert await case.store.prune(ANY_LIMIT) == len(ids)

    @pytest.mark.parametrize("damage", ODD.values(), ids=list(ODD))
    @scenario
    async def test_reads_go_on(self, case: Case, postgres_schema: str, damage: str) -> None:
        """By id, by filter, by queue and by group, no read fails."""
        ids = await case.add(3, tags=b'["red"]')
        worker = await case.worker()
        for claim in await worker.claim(3):
            await worker.finish(claim, Failed(ERROR, retryable=False))
        assert change(postgres_schema, "history", damage, ids[1]) == 1
        for which in (Filter(), Filter(tag="red"), Filter(state=JobState.FAILED)):
            assert {ids[0], ids[2]} <= {record.id for record in await case.store.find(which)}
        assert None not in await case.store.get(ids)
        [queue] = await case.store.queues()
        assert sum(queue.counts.values()) == len(ids)
        assert sum(group[3] for group in await case.store.dead_groups()) == len(ids)
        await case.store.attempts(ids[1])

    @scenario
    async def test_a_worker_row_that_is_not_json_stops_no_rescue(
        self, case: Case, postgres_schema: str
    ) -> None:
        """A dead worker whose record cannot be read is rescued by the usual lease."""
        await case.add()
        worker = await case.worker("dead")
        [claim] = await worker.claim()
        assert change(postgres_schema, "workers", "info = '\\xff'") == 1
        case.clock.move(100)
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        assert [orphan.claim.id for orphan in orphans] == [claim.id]
        assert "rescuer" in {record.info.id for record in await case.store.workers()}

    @scenario
    async def test_a_tag_is_not_found_in_what_only_looks_like_it(self, case: Case) -> None:
        """What stands between two tags, or inside one, is no tag."""
        [job] = await case.add(tags=b'["red","blue \\"green\\""]')
        for tag, found in ((",", 0), ("green", 0), ("red", 1), ('blue "green"', 1)):
            assert len(await case.store.find(Filter(tag=tag))) == found, tag
        assert (await case.store.find(Filter(tag="red")))[0].id == job
