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

SHELF: Final = "past_d20000"
LINE_AND_UPKEEP: Final = (
    *("enqueue", "handing", "exchange", "worker", "rescue", "upkeep"),
    *("keys", "locks", "schedules", "tenants"),
    *("gates/room", "gates/bounds", "gates/enqueue", "gates/claim", "gates/ample", "gates/park"),
    *("gates/full", "gates/free", "gates/tells", "gates/wake", "gates/holds", "gates/control"),
)
BIG: Final = ("jobs", "dead", "rest", "attempts", "logs", "requests", "keys", "schedules")
RIDES: Final = {
    "claim_any": "jobs_ready",
    "claim_named": "jobs_ready",
    "claim_on": "jobs_ready",
    "claim_marked": "jobs_ready",
    "available": "jobs_ready",
    "available_marked": "jobs_ready",
    "any_ready": "jobs_ready",
    "any_left": "jobs_ready",
    "settle_succeeded": "jobs_pkey",
    "settle_ended": "jobs_pkey",
    "settle_waiting": "jobs_pkey",
    "next_due": "jobs_due",
    "stage": "jobs_due",
    "prune": "rest_over",
    "sweep_attempts": "attempts_pkey",
    "sweep_logs": "logs_pkey",
    "prune_requests": "requests_made",
    "free_ended": "keys_job",
    "free_left": "keys_next",
    "hand_on": "keys_loose",
    "keys_over": "keys_until",
    "sweep": "keys_pkey",
    "locks_over": "locks_until",
    "held": "jobs_running",
    "give_all_back": "jobs_running",
    "take_over": "jobs_running",
    "crew": "jobs_running",
    "claim_gated": "jobs_ready",
    "claim_gated_any": "jobs_ready",
    "claim_ample": "jobs_ready",
    "claim_ample_any": "jobs_ready",
    "claim_ample_on": "jobs_ready",
    "settle_noted": "jobs_pkey",
    "gates_calm": "jobs_waiting",
    "lock_worker": "jobs_gated",
    "park_more": "jobs_gated",
    "park_paused": "jobs_ready",
    "wake_parked": "jobs_waiting",
    "look_again": "jobs_waiting",
    "gates_due": "gates_wake",
    "prune_gates": "gates_touched",
    "free_held": "jobs_running",
    "lock_gates_held": "jobs_running",
    "drifted": "jobs_running",
    "give_tags": "jobs_untagged",
    "give_tags_waiting": "jobs_untagged",
    "tenants": "tenants_pkey",
    "schedules_due": "schedules_due",
    "schedules_next": "schedules_due",
    "schedules_named": "schedules_pkey",
    "schedules_page": "schedules_pkey",
    "schedules_move": "schedules_pkey",
    "schedules_drop": "schedules_pkey",
}
CLAIMS: Final = (
    *("claim_any", "claim_named", "claim_on", "claim_marked", "claim_gated", "claim_gated_any"),
    *("claim_ample", "claim_ample_any", "claim_ample_on"),
)
GATED: Final = (
    *("park_ready", "park_back", "park_more", "park_paused", "wake_parked", "lock_gates_of"),
    *("end_full", "end_staged", "end_again", "give_tags", "give_tags_waiting", "tell_gates"),
    *("free_noted", "gates_calm"),
)
NAMED: Final = (
    *("take_keys", "take_left", "store_keyed", "free_ended", "free_left", "retake_keys"),
    *("retake_left", "sweep", "keys", "drifted", "cancel", "retry_live", "retry_ended"),
    *("seal", "parcels", "adopt_dead", "unseal", "drop_sealed"),
)
"""Statements of keys, control and moving in which others name jobs."""
SETTLEMENTS: Final = ("settle_succeeded", "settle_noted", "settle_ended", "settle_waiting")
LINE: Final = (
    *("claim_any", "claim_named", "claim_on", "claim_marked", "available", "available_marked"),
    *("any_ready", "next_due", "last_request"),
    *("settle_succeeded", "settle_ended", "settle_waiting", "live", "stage"),
)
ONE_PLAN: Final = 140_000
WHOLE: Final = re.compile(
    r"using treadle_jobs_pkey on treadle_jobs\b.*\n(?!.*Index Cond)"
    r"|using treadle_jobs_ready on treadle_jobs\b.*\n(?!.*Index Cond: \(+queue )"
)
"""A plan that reads all of an index of jobs."""
FEW: Final = 20_000
MANY: Final = 1_000_000
FILL = """
    create table {p}{shelf} (check (keep_until < 9100000000000000)) inherits ({p}history);
    create index on {p}{shelf} (id);
    insert into {p}shelves values ('{shelf}', 0, 9100000000000000);
    insert into {p}{shelf} (
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
    from generate_series(1, {count}) as n;
    insert into {p}schedules select 's' || n, 1, n, '' from generate_series(1, {count}) as n
"""
KEYED: Final = """
    insert into {p}keys (name, job, until)
    select 'k' || n, lpad(to_hex(n + 8000000), 32, '0')::uuid, 'end'
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
    db.execute(READY.format(p=tables, count=FEW).encode())
    db.execute(KEYED.format(p=tables, count=FEW).encode())
    put_away(db, tables, SHELF, done)


def put_away(db: Session, tables: str, shelf: str, done: int) -> None:
    """Make a shelf with finished jobs, and tell the server how large each table is."""
    db.execute(FILL.format(p=tables, shelf=shelf, count=done).encode())
    for table in (*BIG, shelf):
        db.execute(f"analyze {tables}{table}".encode())


def names() -> list[str]:
    """Name every statement of the line and of upkeep, as the files have them."""
    root = files("treadle.store.postgres") / "queries"
    texts = [(root / f"{name}.sql").read_text(encoding="utf-8") for name in LINE_AND_UPKEEP]
    found = [n for text in texts for n in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)]
    fragments = {
        *(
            "is_repeat",
            "note_lost",
            "is_new",
            "pickable",
            "untouched",
            "was_let_go",
            "define_news",
            "heir",
            "picking",
            "picking_on",
            "claiming",
            "answered",
            *("is_heard", "is_next"),
        ),
        *("is_gated", "room_all", "paused_tasks", "plain"),
        *("takes", "room", "boundless", "opens", "look", "hour", "gates_text"),
        *("starts", "more_starts", "leaves", "bounding"),
        *("known_shut", "cost_there", "looking", "parking"),
        *("letting_go", "admitting", "running_at", "bounding", "defining"),
        *("room_named", "room_any", "room_on", "claim_row_j", "stored", "head", "is_open"),
        "picking_marked",
        # These make and drop tables.
        *("make_shelf", "index_shelf", "drop_shelf", "known", "orphans", "swept"),
        *("is_made", "is_free", "is_untaken", "is_left", "may_run", "freed", "started"),
        *("reserved", "turning", "says_full", "ending_full", "shut_elsewhere"),
        *("new_turn", "same_turn", "given_turns", "step", "head_tag"),
        *("succeeding", "owed", "full_after", "part_after", "is_calm"),
        *("meant", "best_meant", "best_meant_on", "claiming_ample"),
    }
    return [name for name in found if name not in fragments]


def plan(db: Session, begin: str, text: str, *, costs: bool = False) -> str:
    """Ask for the generic plan of a statement."""
    count = max((int(n) for n in re.findall(r"\$(\d+)", text)), default=0)
    values = f"({', '.join(['null'] * count)})" if count else ""
    with db.transaction():
        # As every transaction of the store begins.
        db.execute(re.sub(r"\$[123]::", "null::", begin).replace("$4::", "true::").encode())
        db.execute("set local plan_cache_mode = force_generic_plan")
        db.execute(f"prepare asked as {text}".encode())
        asked = f"explain (costs {costs}) execute asked{values}"
        rows = db.execute(asked.encode()).fetchall()
        db.execute("deallocate asked")
    return "\n".join(line for (line,) in rows)


def test_each_statement_rides_its_index(db: Session, postgres_schema: str) -> None:
    """No statement of the line or of upkeep reads a whole table that grows."""
    if db.info.server_version < ONE_PLAN:
        pytest.skip("before version 14 a plan lists alternatives beside what is taken")
    fill(db, postgres_schema, FEW)
    sql = statements(place_of("default", postgres_schema.partition("=")[2]))
    bad = {}
    for name in names():
        steps = plan(db, sql["begin"].text.decode(), sql[name].text.decode())
        whole = re.findall(rf"Seq Scan on treadle_(?:{'|'.join((*BIG, SHELF))})\b", steps)
        if whole or f"treadle_{RIDES.get(name, '')}" not in steps + "treadle_":
            bad[name] = steps
    assert not bad, "\n\n".join(f"{name}:\n{steps}" for name, steps in bad.items())


@pytest.mark.parametrize("jobs", [0, 20])
def test_a_plan_that_was_made_while_there_were_few_jobs_is_good_for_many(
    db: Session, postgres_schema: str, jobs: int
) -> None:
    """It is kept: jobs that others name are looked up by their ids, and never all of them read."""
    schema = postgres_schema.partition("=")[2]
    if jobs:
        db.execute(READY.format(p=f"{schema}.treadle_", count=jobs).encode())
    db.execute(f"vacuum analyze {schema}.treadle_jobs".encode())
    sql = statements(place_of("default", schema))
    bad = {}
    for name in (
        *CLAIMS,
        *SETTLEMENTS,
        *GATED,
        *NAMED,
        "give_back",
        "mark_begun",
        "take_again",
        "hand_on",
        "stage",
    ):
        steps = plan(db, sql["begin"].text.decode(), sql[name].text.decode())
        if WHOLE.search(steps):
            bad[name] = steps
    assert not bad, "\n\n".join(f"{name}:\n{steps}" for name, steps in bad.items())


def test_what_the_line_does_is_planned_alike_whatever_history_holds(
    db: Session, postgres_schema: str
) -> None:
    """Claims, settlements and looks keep their plans and what they are expected to cost."""
    tables = f"{postgres_schema.partition('=')[2]}.treadle_"
    sql = statements(place_of("default", postgres_schema.partition("=")[2]))

    def plans() -> dict[str, str]:
        begin = sql["begin"].text.decode()
        return {name: plan(db, begin, sql[name].text.decode(), costs=True) for name in LINE}

    db.execute(READY.format(p=tables, count=FEW).encode())
    put_away(db, tables, SHELF, 1)
    small = plans()
    for n in range(1, 15):
        put_away(db, tables, f"{SHELF}{n}", FEW)
    assert plans() == small


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_claim_costs_the_same_whatever_history_holds(
    db: Session, postgres_schema: str, clock: MovedClock
) -> None:
    """With a million finished jobs no exchange, upkeep or look at the queues reads any of them."""
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
        await store.stage([], 500)
        assert await store.prune(500) == 0
        ended = [queue.counts.get("succeeded", 0) for queue in await store.queues()]
        assert sum(ended) == 1_000
        await store.close()

    asyncio.run(drain_some())
    assert _reads_of_history(db, postgres_schema) == before


def _reads_of_history(db: Session, url: str) -> int:
    """Count the rows of history that statements have read so far, once the server has told."""
    # A session tells what it read at its end, which is now, or a second after its last statement.
    time.sleep(1.5)
    row = db.execute(
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables "
        "where schemaname = %s and relname = %s",
        [url.partition("=")[2], f"treadle_{SHELF}"],
    ).fetchone()
    assert row is not None
    return int(row[0])
