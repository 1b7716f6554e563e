"""What becomes of a new job that wants a key, inside the transaction of its enqueue.

Nobody else writes meanwhile, so the key is read, judged and taken one job after the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import cast

from treadle.core.job import Fate, How, JobState, Met, NewJob
from treadle.core.keys.key import Conflict, Key, Until
from treadle.store.parts.keyed import KeyRecord
from treadle.store.sqlite.enqueue import job_row, tag_of
from treadle.store.sqlite.gates.line import meet
from treadle.store.sqlite.keys.freeing import let_go
from treadle.store.sqlite.keys.steps import Row, Statements, Steps, carry


def enqueue_keyed(
    db: sqlite3.Connection, sql: Statements, request: bytes, jobs: Sequence[NewJob], now: int
) -> Sequence[Fate]:
    """Store a batch in which some jobs have keys; leave a record of its answer.

    Raises:
        ValueError: the request was made before with another number of jobs.
    """
    said = db.execute(sql["request_said"], (request,)).fetchone()
    if said is not None:
        return _again(jobs, *said)
    fates = carry(db, sql, take_all(jobs, now))
    fates = meet(db, sql, jobs, fates, now)
    db.execute(sql["request_note"], (request, now, write_fates(fates)))
    return fates


def take_all(jobs: Sequence[NewJob], now: int) -> Steps[list[Fate]]:
    """Store each job of a batch that may, with its key."""
    fates: list[Fate] = []
    for job in jobs:
        fate = yield from _store(job, now)
        fates.append(fate)
    return fates


def write_fates(fates: Sequence[Fate]) -> str:
    """Write the fates of a batch as one text: a line a job."""
    return "\n".join(
        f"{fate.how} {fate.job.hex()} {fate.state}" if isinstance(fate, Met) else str(fate)
        for fate in fates
    )


def _read_fate(line: str) -> Fate:
    words = line.split()
    if len(words) == 1:
        return JobState(words[0])
    how, job, state = words
    return Met(bytes.fromhex(job), cast("How", how), JobState(state))


def _again(jobs: Sequence[NewJob], made_at: int, said: str) -> list[Fate]:
    """Answer a batch that was stored before, whatever became of its jobs since."""
    fates = [_read_fate(line) for line in said.splitlines()]
    if len(fates) != len(jobs):
        raise ValueError(
            f"the request was made at {made_at} with {len(fates)} jobs, not {len(jobs)}; each "
            "batch has a request id of its own"
        )
    return fates


def _store(job: NewJob, now: int) -> Steps[Fate]:
    row = job_row(job, now)
    key = job.key
    columns = (None, None, None) if key is None else (key.name, key.until.value, key.hash)
    written = yield "insert_keyed", (*row, *columns, job.gates)
    if not written:
        # Stored before: it has its key, or has had it.
        [[made_at]] = yield "made_at", (job.id,)
        return JobState(job_row(job, made_at)[4])
    return JobState(row[4]) if key is None else (yield from _take(job, key, now))


def _take(job: NewJob, key: Key, now: int) -> Steps[Fate]:
    """Give a job that has just been stored its key, or take the job back."""
    found = yield "key", (key.name,)
    if found and (yield from _is_over(found[0], now)):
        # Who waits behind has it before a newcomer.
        yield from let_go(key.name, found[0][4], now)
        found = yield "key", (key.name,)
    if not found:
        until_at = now + key.hold if key.until is Until.TIME else None
        yield "key_take", (key.name, job.id, key.until.value, until_at, key.hash)
        return JobState(job_row(job, now)[4])
    holder, _, _, hash_, behind = found[0]
    if key.conflict is not Conflict.REPLACE or key.hash != hash_:
        yield "unstore", (job.id,)
        refused = key.hash != hash_ or key.conflict is Conflict.REFUSE
        return Met(holder, "refused" if refused else "kept", (yield from _state(holder)))
    for waiting in filter(None, (behind, holder)):
        if (yield from _replace(job, key, waiting, now)):
            yield "unstore", (job.id,)
            return Met(waiting, "replaced", (yield from _state(waiting)))
    # The holder runs, and nobody waits behind it.
    yield "wait_behind", (job.id,)
    yield "key_next", (job.id, key.name)
    return JobState.BLOCKED


def _is_over(held: Row, now: int) -> Steps[bool]:
    """Tell whether a key is held no more: its time is over, or its job is gone."""
    holder, until, until_at, *_ = held
    if until == Until.TIME:
        return bool(until_at <= now)
    return not (yield "state_of", (holder,))


def _state(job: bytes) -> Steps[JobState]:
    """Read the state of a job; one whose record is gone had ended well, or its key were free."""
    rows = yield "state_of", (job,)
    return JobState(rows[0][0]) if rows else JobState.SUCCEEDED


def _replace(job: NewJob, key: Key, waiting: bytes, now: int) -> Steps[bool]:
    """Put a new job's values into one that waits; False when it does not wait."""
    found = yield "state_of", (waiting,)
    if not found:
        return False
    run_at, expires_at = job_row(job, now)[7:9]
    if key.max_wait is not None:
        run_at = min(run_at, found[0][1] + key.max_wait)
    values = (
        job.task, job.queue, job.priority, job.args, run_at, expires_at, job.attempts_max,
        job.policy, job.tags, job.meta, job.tenant, job.cost, tag_of(job), key.until.value,
        job.gates, "scheduled" if run_at > now else "ready", waiting,
    )  # fmt: skip
    return bool((yield "replace_job", values))


def keys(
    db: sqlite3.Connection, sql: Statements, names: Sequence[str], now: int
) -> list[KeyRecord | None]:
    """Read who holds these keys."""
    found = [db.execute(sql["key_record"], (name,)).fetchone() for name in names]
    return [
        None if row is None or (row[2] == Until.TIME and row[3] <= now) else KeyRecord(*row)
        for row in found
    ]
