"""Rows that somebody changed by hand: one bad row never stops its neighbours.

The tables are STRICT, so SQLite itself refuses a value of a wrong type; what a hand can
still do is put a number at its end, text that is none, a state that is none or bytes that
are not JSON. These tests go past the store, through `sqlite3`.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.conformance.damaged import DAMAGED_GATES, go_on_without
from treadle.core.clock import MovedClock
from treadle.core.job import JobState
from treadle.core.outcome import Failed, Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Filter, Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import (
    ANY_LIMIT,
    ERROR,
    Case,
    MakeStore,
    case,
    ids_of,
    scenario,
)

__all__ = ["case"]

CLAIMS_MAX = 5
UNREADABLE = {
    "a claim number at its end": "number = 9223372036854775807",
    "an attempt at its end": "attempt = 9223372036854775807",
    "a task that is no text": "task = cast(x'ff80' as text)",
    "a tenant that is no text": "tenant = cast(x'c3' as text)",
}
ODD = UNREADABLE | {
    "a state that is none": "state = 'dreaming'",
    "tags that are not JSON": "tags = x'5b22'",
    "tags that are no list": "tags = x'37'",
    "a reason that is no text": "reason = cast(x'ff' as text)",
    "an error that is not JSON": "error = x'ff7b'",
}
REFUSED = [
    "attempt = 'two'",
    "attempt = null",
    "args = 'text'",
    "args = null",
    "run_at = x'00'",
    "state = null",
    "state = 'dreaming'",
    "id = x'0102'",
]


@pytest.fixture
def make_store(file: Path, clock: MovedClock) -> MakeStore:
    """Make stores on the test's file."""

    def make(namespace: str = "default") -> Store:
        return open_store(f"sqlite:///{file}", namespace, Settings(), clock)

    return make


def change(file: Path, job: bytes, change: str, *, unchecked: bool = False) -> None:
    """Change a job's row as a person with an SQLite shell would."""
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute(f"pragma ignore_check_constraints = {unchecked}")
        tables = db.execute("select name from sqlite_master where type = 'table'")
        [table] = [name for (name,) in tables if name.endswith("jobs")]
        changed = db.execute(f"update {table} set {change} where id = ?", (job,))  # noqa: S608
        assert changed.rowcount == 1
    db.close()


class TestUnreadable:
    """A row that cannot be read is set aside."""

    @pytest.mark.parametrize("queues", [[], ["default"]], ids=["merged", "by name"])
    @pytest.mark.parametrize("damage", UNREADABLE.values(), ids=list(UNREADABLE))
    @scenario
    async def test_its_neighbours_are_claimed(
        self, case: Case, file: Path, damage: str, queues: list[str]
    ) -> None:
        """Within a few claims all others are given out, and the bad row is a dead letter."""
        ids = await case.add(5)
        change(file, ids[2], damage)
        worker = await case.worker()
        taken: list[bytes] = []
        for _ in range(CLAIMS_MAX):
            taken += ids_of(await worker.claim(2, *queues))
        assert taken == [job for job in ids if job != ids[2]]
        [record] = await case.store.get([ids[2]])
        assert record is not None
        assert (record.state, record.reason) == (JobState.FAILED, "unreadable")

    @scenario
    async def test_settling_goes_on_beside_it(self, case: Case, file: Path) -> None:
        """A row that goes bad while it runs costs no other job its settlement."""
        ids = await case.add(3)
        worker = await case.worker()
        claims = await worker.claim(3)
        change(file, ids[1], UNREADABLE["a task that is no text"])
        for claim in claims:
            await worker.finish(claim, Succeeded(b"1"))
        states = await case.states([ids[0], ids[2]])
        assert states == [JobState.SUCCEEDED] * 2


class TestOddRows:
    """Reads and upkeep go on beside a bad row."""

    @pytest.mark.parametrize("damage", ODD.values(), ids=list(ODD))
    @scenario
    async def test_reads_show_its_neighbours(self, case: Case, file: Path, damage: str) -> None:
        """By id, by filter, by queue and by group, no read fails."""
        ids = await case.add(3, tags=b'["red"]')
        worker = await case.worker()
        claims = await worker.claim(3)
        for claim in claims:
            await worker.finish(claim, Failed(ERROR, retryable=False))
        change(file, ids[1], damage, unchecked=True)
        neighbours = {ids[0], ids[2]}
        for which in (Filter(), Filter(tag="red"), Filter(state=JobState.FAILED)):
            assert neighbours <= {record.id for record in await case.store.find(which)}
        first, _, third = await case.store.get(ids)
        assert first is not None
        assert third is not None
        [queue] = await case.store.queues()
        assert sum(queue.counts.values()) == len(ids)
        assert sum(group[3] for group in await case.store.dead_groups()) >= len(neighbours)
        await case.store.attempts(ids[1])

    @pytest.mark.parametrize("damage", ODD.values(), ids=list(ODD))
    @scenario
    async def test_upkeep_goes_on(self, case: Case, file: Path, damage: str) -> None:
        """Due jobs become ready and records are pruned, whatever one row holds."""
        ids = await case.add(3, delay=1_000_000)
        change(file, ids[1], damage, unchecked=True)
        case.clock.move(1)
        await case.store.stage(["shop.mail"], ANY_LIMIT)
        assert await case.states([ids[0], ids[2]]) == [JobState.READY] * 2
        await case.store.cancel([ids[0], ids[2]])
        case.clock.move(100 * 86_400)
        await case.store.prune(ANY_LIMIT)
        assert await case.states([ids[0], ids[2]]) == ["gone"] * 2

    @scenario
    async def test_a_worker_row_that_is_not_json_stops_no_rescue(
        self, case: Case, file: Path
    ) -> None:
        """A dead worker whose record cannot be read is rescued by the usual lease."""
        await case.add()
        worker = await case.worker("dead")
        [claim] = await worker.claim()
        with contextlib.closing(sqlite3.connect(file)) as db, db:
            tables = db.execute("select name from sqlite_master where type = 'table'")
            [table] = [name for (name,) in tables if name.endswith("workers")]
            db.execute(f"update {table} set info = x'ff'")  # noqa: S608
        db.close()
        case.clock.move(100)
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        assert [orphan.claim.id for orphan in orphans] == [claim.id]
        assert "rescuer" in {record.info.id for record in await case.store.workers()}


@pytest.mark.parametrize("value", REFUSED)
def test_the_file_refuses_a_wrong_value_also_by_hand(
    file: Path, make_store: MakeStore, clock: MovedClock, value: str
) -> None:
    """Types, nulls and states are constraints of the tables, not habits of the code."""

    async def one_job() -> bytes:
        async with Case(make_store, clock) as case:
            return (await case.add())[0]

    job = asyncio.run(one_job())
    with pytest.raises(sqlite3.IntegrityError):
        change(file, job, value)


class TestDamagedGates:
    """Gates that cannot be read are none: the job goes on without, and its neighbours as before."""

    @pytest.mark.parametrize("damage", DAMAGED_GATES)
    @scenario
    async def test_everything_goes_on(self, case: Case, file: Path, damage: bytes) -> None:
        """Upkeep counts without it, numbers can be set, and what waits comes to its turn."""
        await go_on_without(case, lambda job: change(file, job, f"gates = x'{damage.hex()}'"))
