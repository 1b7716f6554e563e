"""enqueue: storing new jobs, one or a thousand, all or nothing.

Job ids are made by the caller, so a batch whose answer was lost is sent again as it was: rows
that are there already are left alone and answered as the first time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from treadle.core.job import Fate, JobState, NewJob
from treadle.core.tenants.tenant import UNTAGGED
from treadle.store.sqlite.gates.line import store
from treadle.store.sqlite.rows import Row

Statements = dict[str, str]

_STATES = {str(state): state for state in JobState}


def enqueue(
    db: sqlite3.Connection,
    sql: Statements,
    jobs: Sequence[NewJob],
    new_queues: Sequence[str],
    now: int,
) -> Sequence[Fate]:
    """Write a batch inside the caller's transaction; see the contract."""
    if new_queues:
        db.executemany(sql["insert_queue"], [(name,) for name in new_queues])
    rows = [job_row(job, now) for job in jobs]
    if any(job.gates is not None for job in jobs):
        written = _write_gated(db, sql, jobs, rows)
    else:
        many = len(rows) != 1
        insert = sql["insert_job"]
        written = (db.executemany(insert, rows) if many else db.execute(insert, rows[0])).rowcount
    if written != len(rows):
        # Sent before: the answer is the one of then, whatever became of the jobs since.
        rows = [job_row(job, db.execute(sql["made_at"], (job.id,)).fetchone()[0]) for job in jobs]
    return states_in(rows)


def _write_gated(
    db: sqlite3.Connection, sql: Statements, jobs: Sequence[NewJob], rows: list[Row]
) -> int:
    """Write jobs of which some have gates; give how many were written."""
    plain = [row for job, row in zip(jobs, rows, strict=True) if job.gates is None]
    written = db.executemany(sql["insert_job"], plain).rowcount if plain else 0
    return written + store(db, sql, jobs, rows)


def states_in(rows: Sequence[Row]) -> list[Fate]:
    """Read the jobs' states out of what was written."""
    return [_STATES[row[4]] for row in rows]


def job_row(job: NewJob, now: int) -> tuple[Any, ...]:
    """Write a job as the values of `insert_job`."""
    run_at = now + job.delay if job.at is None else job.at
    expires_at = job.expires_at
    if job.expires_in is not None:
        expires_at = now + job.expires_in
    return (
        job.id,
        job.task,
        job.queue,
        job.priority,
        "scheduled" if run_at > now else "ready",
        job.args,
        now,
        run_at,
        expires_at,
        job.attempts_max,
        job.policy,
        job.tags,
        job.meta,
        job.tenant,
        job.cost,
        tag_of(job),
    )


def tag_of(job: NewJob) -> int:
    """Give the order tag of a job that is stored; a tenant's is given one as it becomes ready."""
    return 0 if job.tenant is None else UNTAGGED
