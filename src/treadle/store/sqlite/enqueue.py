"""enqueue: storing new jobs, one or a thousand, all or nothing.

Job ids are made by the caller, so a batch whose answer was lost is sent again as it was: rows
that are there already are left alone and answered as the first time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from treadle.core.errors import StoreUnavailable
from treadle.core.job import JobState, NewJob
from treadle.store.contract import BATCH_MAX

Statements = dict[str, str]
# sqlite3.LEGACY_TRANSACTION_CONTROL, which CPython 3.11 has not yet.
_LEGACY = -1


def check_batch(jobs: Sequence[NewJob]) -> None:
    """Refuse a batch that is over the bound.

    Raises:
        ValueError: it holds more than BATCH_MAX jobs.
    """
    if len(jobs) > BATCH_MAX:
        msg = f"one batch takes at most {BATCH_MAX:,} jobs, not {len(jobs):,}; send several"
        raise ValueError(msg)


def check_connection(connection: sqlite3.Connection, path: Path | None, name: str) -> None:
    """Refuse a connection of the caller's that is not to the store's own file.

    Raises:
        StoreUnavailable: the jobs would go where no worker of this store looks.
    """
    rows = connection.execute("pragma database_list").fetchall()
    main = next((file for _, schema, file in rows if schema == "main"), "")
    same = path is not None and main and Path(main).exists() and Path(main).samefile(path)
    if not same:
        msg = (
            f"{name}: connection= is open on {main or 'a database in memory'}; give one that is "
            "open on the store's own file, or leave connection= out"
        )
        raise StoreUnavailable(msg)


def begin_if_asked(connection: sqlite3.Connection) -> None:
    """Begin the transaction that the sqlite3 module would begin before an insert.

    It does not for a savepoint, whose release would then commit what the caller has not.
    """
    legacy = getattr(connection, "autocommit", _LEGACY) == _LEGACY
    if legacy and connection.isolation_level is not None and not connection.in_transaction:
        connection.execute("begin")


def enqueue(
    db: sqlite3.Connection,
    sql: Statements,
    jobs: Sequence[NewJob],
    new_queues: Sequence[str],
    now: int,
) -> Sequence[JobState]:
    """Write a batch inside the caller's transaction; see the contract."""
    if new_queues:
        db.executemany(sql["insert_queue"], [(name,) for name in new_queues])
    rows = [_row(job, now) for job in jobs]
    many = len(rows) != 1
    insert = sql["insert_job"]
    written = (db.executemany(insert, rows) if many else db.execute(insert, rows[0])).rowcount
    if written != len(rows):
        # Sent before: the answer is the one of then, whatever became of the jobs since.
        rows = [_row(job, db.execute(sql["made_at"], (job.id,)).fetchone()[0]) for job in jobs]
    return [JobState.READY if row[4] == "ready" else JobState.SCHEDULED for row in rows]


def _row(job: NewJob, now: int) -> tuple[Any, ...]:
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
    )
