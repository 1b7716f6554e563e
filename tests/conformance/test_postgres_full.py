"""Jobs that replace each other, parked by two sessions of PostgreSQL at one moment."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

import psycopg
import pytest

from treadle.core.durations import SECOND
from treadle.core.gates.gate import REPLACED, write_gates
from treadle.core.ids import id_text, new_id
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.gates.full import replaces
from treadle.testing.conformance.kit import Hand, new_job, worker_info

WAIT_S: Final = 12.0
TIMEOUT_S: Final = 30.0
"""Of the stores: the server gives up waiting for a lock after half of it."""
HOW: Final = ("stage", "retry")


def _store(url: str, name: str) -> PostgresStore:
    """Make a store whose sessions have a name."""
    url = f"{url}&application_name={name}"
    return PostgresStore(url, "default", Settings(store_timeout=TIMEOUT_S))


async def _until_waits(db: psycopg.Connection, name: str) -> None:
    """Wait until a session of this name waits for a lock."""
    asked = (
        "select 1 from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + WAIT_S
    while not db.execute(asked, [name]).fetchone():
        assert time.monotonic() < deadline, f"{name} waits for no lock"
        await asyncio.sleep(0.01)


def _park(store: PostgresStore, how: str, id_: bytes) -> Coroutine[Any, Any, object]:
    """Make one job ready, which is parked: the next one that is due, or a named one."""
    if how == "retry":
        return store.retry([id_])
    return store.stage((), 1, now=time.time_ns() // 1_000 + 60 * SECOND)


@pytest.mark.parametrize("second", HOW)
@pytest.mark.parametrize("first", HOW)
def test_of_two_jobs_parked_at_one_moment_the_newest_waits(
    postgres_schema: str, first: str, second: str
) -> None:
    """Each session has parked its own before the other has committed; the older one ends."""
    url, _, schema = postgres_schema.partition("?schema=")

    async def race(db: psycopg.Connection, lock: psycopg.Connection) -> list[Any]:
        one, two = _store(postgres_schema, "one"), _store(postgres_schema, "two")
        await one.migrate()
        gates = write_gates([replaces()])
        hand = Hand(one, worker_info("w"))
        await hand.register()
        await one.enqueue(new_id(), [new_job(gates=gates)])
        assert len(await hand.claim(1)) == 1
        jobs = [new_job(gates=gates, delay=SECOND), new_job(gates=gates, delay=2 * SECOND)]
        await one.enqueue(new_id(), jobs)
        ids = [job.id for job in jobs]
        await one.cancel(
            [id_ for id_, how in zip(ids, (first, second), strict=True) if how == "retry"]
        )
        # Turns are given last before the commit, and read the weights of tenants.
        lock.execute(f"lock table {schema}.treadle_tenants".encode())
        begun = asyncio.create_task(_park(one, first, ids[0]))
        await _until_waits(db, "one")
        then = asyncio.create_task(_park(two, second, ids[1]))
        await _until_waits(db, "two")
        lock.commit()
        await asyncio.gather(begun, then)
        found = await one.get(ids)
        await one.close()
        await two.close()
        return [(record.state, record.reason) for record in found if record] + [id_text(ids[1])]

    with psycopg.connect(url, autocommit=True) as db, psycopg.connect(url) as lock:
        older, newer, newer_id = asyncio.run(race(db, lock))
    assert older == ("cancelled", REPLACED + newer_id)
    assert newer == ("blocked", "gate")
