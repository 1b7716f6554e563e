"""How PostgreSQL carries out the statements: by their indexes, whatever history holds.

The plans asked for are the generic ones, which a connection settles on after a few calls.
"""

import asyncio
import re
import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import psycopg
import pytest

from treadle.core.clock import MovedClock
from treadle.core.ids import new_id
from treadle.core.outcome import Succeeded
from treadle.core.settings import Settings
from treadle.store.postgres.engine.sql import place_of, statements
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, new_job, settlement, take, worker_info

LINE_AND_UPKEEP: Final = ("enqueue", "exchange", "worker", "rescue", "upkeep", "gates")
BIG: Final = ("jobs", "history", "attempts", "logs", "requests")
RIDES: Final = {
    "claim_any": "jobs_ready",
    "claim_named": "jobs_ready",
    "claim_on": "jobs_ready",
    "available": "jobs_ready",
    "any_ready": "jobs_ready",
    "settle_succeeded": "jobs_pkey",
    "settle_ended": "jobs_pkey",
    "settle_waiting": "jobs_pkey",
    "next_due": "jobs_due",
    "stage": "jobs_due",
    "prune": "history_over",
    "prune_requests": "requests_made",
    "held": "jobs_running",
    "give_all_back": "jobs_running",
    "take_over": "jobs_running",
    "claim_gated": "jobs_ready",
    "claim_gated_any": "jobs_ready",
    "lock_worker": "jobs_gated",
    "park_more": "jobs_gated",
    "wake": "jobs_waiting",
    "look_again": "jobs_waiting",
    "gates_due": "gates_wake",
    "prune_gates": "gates_touched",
    "free_held": "jobs_running",
    "drifted": "jobs_running",
}
FEW: Final = 20_000
MANY: Final = 1_000_000
FILL = """
    insert into {p}history (
        id, task, queue, priority, tag, state, number, attempt, forgiven, crashes, args,
        created_at, run_at, worker, started_at, finished_at, keep_until, outcome, ran, result, cost
    )
    select lpad(to_hex(n), 32, '0')::uuid, 'shop.mail', 'default', 0, 0, 'succeeded', 1, 1, 0, 0,
        '[[],{{}}]', n, n, 'w', n, n, 9000000000000000 + n, 'succeeded', 5, '7', 1
    from generate_series(1, {count}) as n
"""
READY: Final = """
    insert into {p}queues values ('default'), ('other');
    insert into {p}jobs (id, task, queue, state, args, created_at, run_at)
    select lpad(to_hex(n + 8000000), 32, '0')::uuid, 'shop.mail',
        case n % 4 when 0 then 'other' else 'default' end, 'ready', '[[],{{}}]', n, n
    from generate_series(1, {count}) as n
"""

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def db(postgres_schema: str) -> Iterator[Session]:
    """Open a session on a schema with the tables."""
    store = PostgresStore(postgres_schema, "default", Settings())
    store.migrate_now()
    store.close_now()
    with psycopg.connect(postgres_schema.partition("?")[0], autocommit=True) as db:
        yield db


def fill(db: Session, url: str, done: int) -> None:
    """Put finished jobs into history and ready ones into the live table."""
    tables = f"{url.partition('=')[2]}.treadle_"
    db.execute(FILL.format(p=tables, count=done).encode())
    db.execute(READY.format(p=tables, count=FEW).encode())
    for table in BIG:
        db.execute(f"analyze {tables}{table}".encode())


def names() -> list[str]:
    """Name every statement of the line and of upkeep, as the files have them."""
    root = files("treadle.store.postgres") / "queries"
    texts = [(root / f"{name}.sql").read_text(encoding="utf-8") for name in LINE_AND_UPKEEP]
    found = [n for text in texts for n in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)]
    fragments = {
        *("is_repeat", "note_lost", "is_new", "pickable", "picking", "picking_on", "claiming"),
        *("room_named", "room_any", "room_on", "claim_row_j", "stored", "is_gated", "room_all"),
        *("takes", "room", "opens", "look", "hour", "gates_text", "known_shut", "looking"),
        *("letting_go", "admitting"),
    }
    return [name for name in found if name not in fragments]


def plan(db: Session, begin: str, text: str) -> str:
    """Ask for the generic plan of a statement."""
    count = max((int(n) for n in re.findall(r"\$(\d+)", text)), default=0)
    values = f"({', '.join(['null'] * count)})" if count else ""
    with db.transaction():
        # As every transaction of the store begins.
        db.execute(re.sub(r"\$[123]::", "null::", begin).encode())
        db.execute("set local plan_cache_mode = force_generic_plan")
        db.execute(f"prepare asked as {text}".encode())
        rows = db.execute(f"explain (costs off) execute asked{values}".encode()).fetchall()
        db.execute("deallocate asked")
    return "\n".join(line for (line,) in rows)


def test_each_statement_rides_its_index(db: Session, postgres_schema: str) -> None:
    """No statement of the line or of upkeep reads a whole table that grows."""
    fill(db, postgres_schema, FEW)
    sql = statements(place_of("default", postgres_schema.partition("=")[2]))
    bad = {}
    for name in names():
        steps = plan(db, sql["begin"].text.decode(), sql[name].text.decode())
        whole = re.findall(rf"Seq Scan on treadle_(?:{'|'.join(BIG)})\b", steps)
        if whole or f"treadle_{RIDES.get(name, '')}" not in steps + "treadle_":
            bad[name] = steps
    assert not bad, "\n\n".join(f"{name}:\n{steps}" for name, steps in bad.items())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_claim_costs_the_same_whatever_history_holds(
    db: Session, postgres_schema: str, clock: MovedClock
) -> None:
    """With a million finished jobs no exchange reads any of them."""
    fill(db, postgres_schema, MANY)
    before = _reads_of_history(db, postgres_schema)

    async def drain_some() -> None:
        store = PostgresStore(postgres_schema, "default", Settings(), clock)
        await store.open()
        await store.enqueue(new_id(), [new_job() for _ in range(10)])
        hand = Hand(store, worker_info("w"))
        await hand.register()
        claims = await hand.claim(100)
        for _ in range(10):
            done = [settlement(claim, Succeeded(b"1")) for claim in claims]
            claims = list((await hand.exchange(done, take(100))).claims)
            assert len(claims) == 100
        await store.close()

    asyncio.run(drain_some())
    assert _reads_of_history(db, postgres_schema) == before


def _reads_of_history(db: Session, url: str) -> int:
    """Count the rows of history that statements have read so far, once the server has told."""
    # A session tells what it read at its end, which is now, or a second after its last statement.
    time.sleep(1.5)
    row = db.execute(
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables "
        "where schemaname = %s and relname = 'treadle_history'",
        [url.partition("=")[2]],
    ).fetchone()
    assert row is not None
    return int(row[0])
