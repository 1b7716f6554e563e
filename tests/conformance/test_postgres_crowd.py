"""Many workers on one PostgreSQL server: what they end lies in several shelves of the same time."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from tests.conformance.test_postgres_history import DAY_S, Tables, case, end, make_store, tables
from treadle.core.durations import DAY
from treadle.core.outcome import Succeeded
from treadle.testing.conformance.kit import ANY_LIMIT, Case, scenario

__all__ = ["case", "make_store", "tables"]

PROCESSES_MAX: Final = 20
"""Which shelf a process fills is drawn by its number."""


class TestCrowd:
    """More workers than one shelf is enough for."""

    @scenario
    async def test_processes_of_many_workers_fill_shelves_side_by_side(
        self, case: Case, tables: Tables, postgres_schema: str
    ) -> None:
        """What they end is found like everything else, and goes with its shelves in time."""
        for number in range(16):
            await case.worker(f"w{number}")
        ids: list[bytes] = []
        while len(tables.shelves()) < 2:
            assert len(ids) < PROCESSES_MAX
            ids += await case.add()
            await settle_elsewhere(postgres_schema, f"p{len(ids)}")
        assert await case.states(ids) == ["succeeded"] * len(ids)
        assert set(tables.places().values()) == set(tables.shelves())
        case.clock.move(3 * DAY_S)
        while await case.store.prune(ANY_LIMIT):
            pass
        assert tables.shelves() == []
        assert await case.states(ids) == ["gone"] * len(ids)

    @scenario
    async def test_a_worker_that_is_forgotten_settles_on_the_only_shelf(
        self, case: Case, tables: Tables
    ) -> None:
        """It sees nobody, not even itself, when it looks for the others."""
        assert await case.store.rescue("forgotten", ANY_LIMIT) == ()
        [job] = await end(case, (Succeeded(b"1"), DAY))
        assert tables.places() == {job: tables.shelves()[0]}


async def settle_elsewhere(url: str, name: str) -> None:
    """Let a worker in a process of its own run a job, once it knows how many others there are."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", ONE_JOB, url, name)
    assert await child.wait() == 0


ONE_JOB: Final = """
import asyncio, sys
from treadle.core.outcome import Succeeded
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, worker_info

async def main(url, name):
    worker = Hand(PostgresStore(url, "default", Settings()), worker_info(name))
    await worker.register()
    await worker.store.rescue(name, 1)
    [claim] = await worker.claim(1)
    await worker.finish(claim, Succeeded(b"1"))
    await worker.store.close()

asyncio.run(main(*sys.argv[1:]))
"""
