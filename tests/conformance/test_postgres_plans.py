"""How PostgreSQL carries out the statements: by their indexes, whatever history holds.

The plans asked for are the generic ones, which a connection settles on after a few calls.
"""

import asyncio
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

import psycopg
import pytest

from treadle.core.clock import MovedClock
from treadle.core.ids import new_id
from treadle.core.outcome import Succeeded
from treadle.core.settings import Settings
from treadle.store.postgres.engine.sql import place_of, statements
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, ids_of, new_job, settlement, take, worker_info

LINE_AND_UPKEEP: Final = ("enqueue", "exchange", "worker", "rescue", "upkeep")
BIG: Final = ("jobs", "history", "attempts", "logs", "requests")
RIDES: Final = {
    "claim_any": "jobs_ready",
    "claim_named": "jobs_ready",
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


@pytest.fixture
def db(postgres_schema: str) -> Iterator["psycopg.Connection[tuple[str]]"]:
    """Open a session on a schema with the tables."""
    store = PostgresStore(postgres_schema, "default", Settings())
    store.migrate_now()
    store.close_now()
    with psycopg.connect(postgres_schema.partition("?")[0], autocommit=True) as db:
        yield db


def fill(db: "psycopg.Connection[tuple[str]]", url: str, done: int) -> None:
    """Put finished jobs into history and ready ones into the live table."""
    tables = f"{url.partition('=')[2]}.treadle_"
    db.execute(FILL.format(p=tables, count=done).encode())
    db.execute(f"insert into {tables}queues values ('default'), ('other')".encode())
    db.execute(
        f"insert into {tables}jobs (id, task, queue, state, args, created_at, run_at) "  # noqa: S608 -- the test's own schema
        "select lpad(to_hex(n + 8000000), 32, '0')::uuid, 'shop.mail', "
        "case n % 4 when 0 then 'other' else 'default' end, 'ready', '[[],{}]', n, n "
        f"from generate_series(1, {FEW}) as n".encode()
    )
    for table in BIG:
        db.execute(f"analyze {tables}{table}".encode())


def names() -> list[str]:
    """Name every statement of the line and of upkeep, as the files have them."""
    root = files("treadle.store.postgres") / "queries"
    texts = [(root / f"{name}.sql").read_text(encoding="utf-8") for name in LINE_AND_UPKEEP]
    found = [n for text in texts for n in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)]
    fragments = {"is_repeat", "note_lost", "room_named", "room_any", "claiming", "claim_row_j"}
    return [name for name in found if name not in fragments]


def plan(db: "psycopg.Connection[tuple[str]]", begin: str, text: str) -> str:
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


def test_each_statement_rides_its_index(
    db: "psycopg.Connection[tuple[str]]", postgres_schema: str
) -> None:
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
    db: "psycopg.Connection[tuple[str]]", postgres_schema: str, clock: MovedClock
) -> None:
    """With a million finished jobs an exchange reads no more blocks than with few."""
    fill(db, postgres_schema, MANY)
    tables = postgres_schema.partition("=")[2]

    async def drain_some() -> None:
        store = PostgresStore(postgres_schema, "default", Settings(), clock)
        await store.open()
        await store.enqueue(new_id(), [new_job() for _ in range(10)])
        hand = Hand(store, worker_info("w"))
        await hand.register()
        claims = await hand.claim(100)
        answer = await hand.exchange([settlement(c, Succeeded(b"1")) for c in claims], take(100))
        assert len(set(ids_of(answer.claims)) | set(ids_of(claims))) == 200
        await store.close()

    asyncio.run(drain_some())
    db.execute(
        "select pg_stat_force_next_flush()" if db.info.server_version >= 150000 else "select 1"
    )
    row = db.execute(
        "select seq_scan from pg_stat_user_tables where schemaname = %s "
        "and relname = 'treadle_history'",
        [tables],
    ).fetchone()
    assert row is not None
    # analyze counts none; what is counted would be a claim that reads history whole.
    assert row[0] in {0, None}
