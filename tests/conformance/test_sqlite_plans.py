"""How SQLite carries out the statements: by their indexes, and without sorting.

Nobody runs ANALYZE on a queue's file, and without its figures the planner looks at the schema
alone, so the plans of an empty file are those of a full one. That the work of a claim does not
grow with the backlog is counted in SQLite's own instructions, which no busy machine changes.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib.resources import files
from typing import Any, Final

import pytest

from treadle.core.ids import new_id
from treadle.core.job import Claim, NewJob
from treadle.core.lanes import Lanes
from treadle.store.contract import WorkerInfo
from treadle.store.sqlite import schema, upkeep, workers
from treadle.store.sqlite.engine.sql import prefix_of, statements
from treadle.store.sqlite.enqueue import enqueue
from treadle.store.sqlite.exchange import exchange, merged
from treadle.store.sqlite.tenants.tags import give_tags

PREFIX: Final = prefix_of("default")
SQL: Final = statements(PREFIX)
WORKER: Final = WorkerInfo("w", "host", 1, None, 16, 15_000_000)
QUEUES: Final = [f"q{n}" for n in range(20)]
NOW: Final = 1_700_000_000_000_000
LINE_AND_UPKEEP: Final = (
    *("enqueue", "exchange", "worker", "rescue", "upkeep"),
    *("keys", "locks", "schedules", "tenants"),
)

STEPS: Final = re.compile(
    r"CO-ROUTINE .*|(LIST|SCALAR|CORRELATED SCALAR) SUBQUERY .*|MERGE \(UNION ALL\)|LEFT|RIGHT"
    r"|SCAN (CONSTANT ROW|\(subquery-\d+\)|json_each .*)"
    r"|SEARCH \w+ USING (PRIMARY KEY|(COVERING )?INDEX \w+)( \(.*\))?"
)
"""What a step of a plan may be: a search by an index, or what joins such searches."""
WHOLE: Final = {
    "open_queues": "SCAN treadle_queues",
    "paused_queues": "SCAN treadle_queues",
    "paused": "COMPOUND QUERY|LEFT-MOST SUBQUERY|UNION ALL|SCAN treadle_queues",
    "schedules_crew": "SCAN treadle_workers",
    "worker_ids": "SCAN treadle_workers",
    "workers": "SCAN w|USE TEMP B-TREE FOR ORDER BY",
    "holders": "SCAN treadle_jobs USING INDEX treadle_jobs_running",
    "any_kept": "SCAN treadle_keys USING COVERING INDEX treadle_keys_job",
    "any_parked": "SCAN treadle_jobs USING INDEX treadle_jobs_parked",
    "give_tags": "MATERIALIZE news|MATERIALIZE flows|SCAN news|SCAN n|SCAN f"
    "|USE TEMP B-TREE FOR ORDER BY|USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"
    "|USE TEMP B-TREE FOR DISTINCT|SEARCH t USING PRIMARY KEY (name=?) LEFT-JOIN"
    "|SEARCH f USING AUTOMATIC COVERING INDEX (queue=? AND priority=? AND tenant=?)",
}
"""What may be read whole: a row a queue or worker, what runs now, one row of an index, and what the
same write has made ready."""
RIDES: Final = {
    "claim": "jobs_ready",
    "heads": "jobs_ready",
    "any_ready": "jobs_ready",
    "best_head": "jobs_ready",
    "next_due": "jobs_due",
    "stage_due": "jobs_due",
    "stage_expired": "jobs_expiring",
    "any_expiring": "jobs_expiring",
    "stage_parked": "jobs_parked",
    "over": "jobs_ended",
    "any_over": "jobs_ended",
    "keys_of": "keys_job",
    "key_given_up": "keys_next",
    "keys_over": "keys_until",
    "requests_over": "requests_made",
    "locks_over": "locks_until",
    "any_untagged": "jobs_turns",
    "give_tags": "jobs_turns",
    "held": "jobs_running",
    "give_all_back": "jobs_running",
    "orphans": "jobs_running",
    "schedules_due": "schedules_due",
    "schedules_next": "schedules_due",
}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """Make a database in memory with the store's tables and one worker."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        schema.migrate(made, PREFIX, "the test's database")
        workers.register(made, SQL, WORKER, NOW)
        yield made


def names() -> list[str]:
    """Name every statement of the line and of upkeep, as the files have them."""
    root = files("treadle.store.sqlite") / "queries"
    texts = [(root / f"{name}.sql").read_text(encoding="utf-8") for name in LINE_AND_UPKEEP]
    return [name for text in texts for name in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)]


def plan(db: sqlite3.Connection, statement: str) -> list[str]:
    """Ask SQLite how it would carry out a statement, whatever its values are."""
    asked = set(re.findall(r":(\w+)", statement))
    values: Any = dict.fromkeys(asked, "1") if asked else ["1"] * statement.count("?")
    return [detail for *_, detail in db.execute(f"explain query plan {statement}", values)]


@pytest.mark.parametrize("queues", [1, 20])
@pytest.mark.parametrize("name", names())
def test_each_statement_rides_its_index(db: sqlite3.Connection, name: str, queues: int) -> None:
    """No statement of the line or of upkeep reads a whole table of jobs, or sorts."""
    steps = plan(db, SQL[name].replace("{heads}", merged(SQL["head"], queues)))
    odd = [s for s in steps if not STEPS.fullmatch(s) and s not in WHOLE.get(name, "").split("|")]
    assert not odd, f"{name}: {odd} in {steps}"
    if name in RIDES:
        assert any(f"{PREFIX}{RIDES[name]}" in step for step in steps), steps
    if name == "claim":
        assert sum(f"{PREFIX}jobs_ready" in step for step in steps) == queues


def instructions(db: sqlite3.Connection, work: Callable[[], object]) -> int:
    """Count the instructions that SQLite carries out for some work."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    db.set_progress_handler(count, 1)
    try:
        work()
    finally:
        db.set_progress_handler(None, 1)
    return counted


def fill(db: sqlite3.Connection, jobs: int) -> None:
    """Add jobs to all queues: most ready, each tenth delayed, each seventh with an expiry."""
    batch = [
        NewJob(
            new_id(),
            "t",
            b"[]",
            queue=QUEUES[n % len(QUEUES)],
            priority=n % 5,
            delay=60_000_000 if n % 10 == 0 else 0,
            expires_in=3_600_000_000 if n % 7 == 0 else None,
        )
        for n in range(jobs)
    ]
    db.execute("begin")
    enqueue(db, SQL, batch, QUEUES, NOW)
    db.execute("commit")


def claims(db: sqlite3.Connection, lanes: Lanes, limit: int) -> list[Claim]:
    """Claim once, in a transaction as the store does."""
    db.execute("begin")
    answer = exchange(db, SQL, WORKER.id, new_id(), (), lanes.demand(limit), NOW)
    db.execute("commit")
    return list(answer.claims)


@pytest.mark.parametrize("lanes", [Lanes(), Lanes({"q1": 1}), Lanes({"q1": 3, "q2": 1})])
def test_a_claim_costs_the_same_whatever_waits(db: sqlite3.Connection, lanes: Lanes) -> None:
    """Ten claims take as many instructions of a backlog of 40,000 jobs as of 2,000."""
    fill(db, 2_000)
    few = instructions(db, partial(claims, db, lanes, 10))
    fill(db, 38_000)
    many = instructions(db, partial(claims, db, lanes, 10))
    assert many < few * 1.2


def test_a_turn_costs_the_same_whatever_waits(db: sqlite3.Connection) -> None:
    """A job of one tenant or another takes as many instructions beside 20,000 as beside 200."""

    def store(tenant: str, jobs: int = 1) -> None:
        db.execute("begin")
        batch = [NewJob(new_id(), "t", b"[]", tenant=tenant) for _ in range(jobs)]
        enqueue(db, SQL, batch, ["default"], NOW)
        give_tags(db, SQL)
        db.execute("commit")

    def cost() -> int:
        return instructions(db, partial(store, "great")) + instructions(db, partial(store, "small"))

    store("great", 200)
    few = cost()
    for _ in range(20):
        store("great", 1_000)
    assert cost() < few * 1.2


@pytest.mark.parametrize("verb", ["stage", "prune"])
def test_upkeep_costs_the_same_whatever_waits(db: sqlite3.Connection, verb: str) -> None:
    """Upkeep that finds nothing to do takes no longer beside 40,000 jobs."""
    work = {
        "stage": partial(upkeep.stage, db, SQL, ["t"], 500, NOW),
        "prune": partial(upkeep.prune, db, SQL, 500, NOW),
    }[verb]
    few = instructions(db, work)
    fill(db, 40_000)
    assert instructions(db, work) < few + 50


def test_the_best_of_very_many_queues_are_joined(db: sqlite3.Connection) -> None:
    """With more queues than one claim can join, the best job of all is still claimed first."""
    queues = [f"a{n:03}" for n in range(450)] + ["last"]
    jobs = [NewJob(new_id(), "t", b"[]", queue=name) for name in queues]
    jobs[-1] = NewJob(new_id(), "t", b"[]", queue="last", priority=100)
    jobs += [NewJob(new_id(), "t", b"[]", queue=queues[0]) for _ in range(50)]
    enqueue(db, SQL, jobs, queues, NOW)
    first, *rest = claims(db, Lanes(), 451)
    assert first.queue == "last"
    rest += claims(db, Lanes(), 60)
    assert {claim.queue for claim in rest} | {"last"} == set(queues)
