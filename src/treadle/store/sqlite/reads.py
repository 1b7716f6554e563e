"""Reads: jobs, their attempts and logs, queues, dead letters. They never block a writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from treadle.core.job import AttemptRecord, JobRecord, JobState, read_error
from treadle.store.contract import Filter, QueueRecord

Statements = dict[str, str]
_STATES = {str(state): state for state in JobState}


def jobs(
    db: sqlite3.Connection, sql: Statements, ids: Sequence[bytes], now: int
) -> Sequence[JobRecord | None]:
    """Read jobs by id, in order."""
    found = []
    for id_ in ids:
        row = db.execute(sql["job"], {"id": id_, "now": now}).fetchone()
        found.append(None if row is None else record_of(row))
    return found


def ended(db: sqlite3.Connection, sql: Statements, ids: Sequence[bytes]) -> Sequence[bytes]:
    """Tell which of these have ended or are gone."""
    live = sql["is_live"]
    return [id_ for id_ in ids if db.execute(live, (id_,)).fetchone() is None]


def find(
    db: sqlite3.Connection,
    sql: Statements,
    which: Filter,
    before: bytes | None,
    limit: int,
    now: int,
) -> Sequence[JobRecord]:
    """Read the newest jobs that match."""
    where = []
    values: dict[str, Any] = {"before": before, "limit": limit, "now": now}
    for column in ("state", "queue", "task", "reason"):
        value = getattr(which, column)
        if value is not None:
            where.append(f"and {column} = :{column}")
            values[column] = str(value)
    if which.reason is not None:
        # What upkeep notes of one that runs is its own: no reason is shown of it.
        where.append("and state <> 'running'")
    if which.tag is not None:
        where.append(
            "and case when json_valid(cast(tags as text)) then exists "
            "(select 1 from json_each(cast(tags as text)) where value = :tag) end"
        )
        values["tag"] = which.tag
    statement = sql["find"].replace("{where}", " ".join(where))
    return [record_of(row) for row in db.execute(statement, values)]


def attempt_of(row: Sequence[Any]) -> AttemptRecord:
    """Read an attempt from its eight columns."""
    attempt, claim, worker, started_at, finished_at, outcome, error, ran = row
    return AttemptRecord(
        attempt, claim, worker, started_at, finished_at, outcome, read_error(error), ran
    )


def attempts(db: sqlite3.Connection, sql: Statements, job: bytes) -> Sequence[AttemptRecord]:
    """Read a job's attempts, oldest first."""
    return [attempt_of(row) for row in db.execute(sql["attempts"], (job,))]


def logs(
    db: sqlite3.Connection, sql: Statements, job: bytes
) -> Sequence[tuple[int, int, str, str]]:
    """Read a job's log lines."""
    return list(db.execute(sql["logs"], (job,)))


def queues(db: sqlite3.Connection, sql: Statements) -> Sequence[QueueRecord]:
    """Read every queue with its counts by state."""
    counts: dict[str, dict[str, int]] = {}
    for queue, state, count in db.execute(sql["counts"]):
        counts.setdefault(queue, {})[state] = count
    return [
        QueueRecord(
            name,
            paused_at is not None,
            counts.get(name, {}),
            db.execute(sql["oldest_ready"], (name,)).fetchone()[0],
        )
        for name, paused_at in db.execute(sql["queues"]).fetchall()
    ]


def dead_groups(
    db: sqlite3.Connection, sql: Statements, limit: int
) -> Sequence[tuple[str, str, str, int, int]]:
    """Count dead letters by task, reason and error."""
    return list(db.execute(sql["dead_groups"], (limit,)))


def record_of(row: Sequence[Any]) -> JobRecord:
    """Read a job from a row of `job` or `find`."""
    id_, task, queue, state, *rest = row
    known = _STATES.get(state)
    if known is not None:
        return JobRecord(id_, task, queue, known, *rest)
    # A state that a hand has put there: shown as what it amounts to, a job nothing will run.
    record = JobRecord(id_, task, queue, JobState.FAILED, *rest)
    return replace(record, reason="unreadable")
