"""Jobs that do not simply wait cost nothing more however many wait before them."""

import asyncio
from typing import Final

from tests.conformance.read_counts import entries_read
from treadle.core.gates.gate import PLACES, SKIP, GateUse, write_gates
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import new_job

MANY: Final = 2_000
GATES: Final = write_gates([GateUse("g", PLACES, quota=1, on_full=SKIP)])


def test_a_job_that_comes_to_a_paused_gate_reads_none_of_those_that_wait(
    postgres_schema: str,
) -> None:
    """While it is paused jobs that say `skip` wait there: a thousand more cost no look at each."""
    url, _, schema = postgres_schema.partition("?schema=")
    store = PostgresStore(f"{postgres_schema}&application_name={schema}", "default", Settings())

    async def fill() -> None:
        await store.migrate()
        await store.shut_gate("g")
        for _ in range(MANY // 1_000):
            await store.enqueue(new_id(), [new_job(gates=GATES) for _ in range(1_000)])
        for _ in range(10):
            await store.enqueue(new_id(), [new_job(gates=GATES)])
        [gate] = await store.gates(only="g")
        assert gate.waiting == MANY + 10
        await store.close()

    asyncio.run(fill())
    assert entries_read(url, schema, "treadle_jobs_full") < MANY
