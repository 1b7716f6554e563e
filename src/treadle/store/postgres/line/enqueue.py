"""enqueue: storing new jobs, one or a thousand, all or nothing.

A batch leaves a record of its request, in the same statement. One that is sent again finds that
record, whatever became of its jobs since, and is answered as the first time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from treadle.core.job import JobState, NewJob
from treadle.store.batches import check_batch
from treadle.store.postgres.engine.pack import Value, blobs, int8, int8s, text, texts, uuids
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.gates.line import defined, ending, written
from treadle.store.postgres.tenants.turns import turns_of

_ID_BYTES = 16


def check_jobs(jobs: Sequence[NewJob]) -> bool:
    """Refuse a batch that cannot be stored here; tell whether some of its jobs want keys.

    Raises:
        ValueError: as `check_batch` says, or an id has not the length of a uuid.
    """
    keyed = check_batch(jobs)
    for job in jobs:
        if len(job.id) != _ID_BYTES:
            msg = f"{job.id!r} is not a job id, which has {_ID_BYTES} bytes"
            raise ValueError(msg)
    return keyed


def request_id(request: bytes) -> bytes:
    """Give the 16 bytes by which a request is remembered."""
    if len(request) == _ID_BYTES:
        return request
    return hashlib.blake2b(request, digest_size=_ID_BYTES).digest()


def enqueue(
    sql: Statements,
    request: bytes,
    jobs: Sequence[NewJob],
    new_queues: Sequence[str],
    ring: Sequence[Call],
    *,
    beside: bool = False,
) -> Talk[Sequence[JobState]]:
    """Write a batch; see the contract. `beside` leaves jobs alone that are there already."""
    name = request_id(request)
    calls: list[Call] = [(sql["insert_queues"], (texts(new_queues),))] if new_queues else []
    values = (name, *columns(jobs))
    if any(job.gates is not None for job in jobs):
        return (yield from _gated(sql, jobs, calls, values, ring))
    calls.append((sql["enqueue_beside" if beside else "enqueue"], values))
    made_at, answers = yield Ask([*calls, *turns_of(sql, jobs)], after=ring)
    made = answers[len(calls) - 1]
    if not made:
        made_at = yield from _made_before(sql, name, made_at)
    return [state_at(job, made_at) for job in jobs]


def _made_before(sql: Statements, name: Value, now: int) -> Talk[int]:
    """Give when a request was made that is sent again.

    It is answered as of then, whatever became of its jobs since.
    """
    _, [made] = yield Ask([(sql["made_at"], (name,))])
    return made[0][0] if made else now


def enqueue_one(
    sql: Statements,
    request: bytes,
    job: NewJob,
    new_queues: Sequence[str],
    ring: Sequence[Call],
) -> Talk[Sequence[JobState]]:
    """Write one plain job, claimed for an idle worker where there is one; see the contract.

    Its state is told as that of any new job: who claims it, and when, is another matter.
    """
    name = request_id(request)
    calls: list[Call] = [(sql["insert_queues"], (texts(new_queues),))] if new_queues else []
    values = (
        name, job.id, text(job.task), job.args, text(job.queue), int8(job.attempts_max),
        job.policy, job.tags, job.meta, int8(job.cost),
    )  # fmt: skip
    calls.append((sql["enqueue_one"], values))
    made_at, answers = yield Ask(calls, after=ring)
    if not answers[-1]:
        made_at = yield from _made_before(sql, name, made_at)
    return [state_at(job, made_at)]


def columns(jobs: Sequence[NewJob]) -> list[Value]:
    """Pack jobs, a column at a time, as the statements that store them take them."""
    return [
        uuids([job.id for job in jobs]),
        texts([job.task for job in jobs]),
        blobs([job.args for job in jobs]),
        texts([job.queue for job in jobs]),
        int8s([job.priority for job in jobs]),
        int8s([job.at for job in jobs]),
        int8s([job.delay for job in jobs]),
        int8s([job.expires_at for job in jobs]),
        int8s([job.expires_in for job in jobs]),
        int8s([job.attempts_max for job in jobs]),
        blobs([job.policy for job in jobs]),
        blobs([job.tags for job in jobs]),
        blobs([job.meta for job in jobs]),
        texts([job.tenant for job in jobs]),
        int8s([job.cost for job in jobs]),
    ]


def _gated(
    sql: Statements,
    jobs: Sequence[NewJob],
    calls: Sequence[Call],
    values: Sequence[Value],
    ring: Sequence[Call],
) -> Talk[Sequence[JobState]]:
    """Write a batch in which jobs have gates; some of them may be parked at once."""
    given = (*values, texts([written(job.gates) for job in jobs]))
    storing = [*calls, *defined(sql, values[0], jobs), (sql["enqueue_gated"], given)]
    ends = ending(sql, jobs)
    made_at, answers = yield Ask([*storing, *ends, *turns_of(sql, jobs)], after=ring)
    made = answers[len(storing) - 1]
    ended = {id_ for (id_,) in answers[len(storing)]} if ends else set()
    if not made:
        made_at = yield from _made_before(sql, values[0], made_at)
        return [state_at(job, made_at) for job in jobs]
    told = {id_: JobState.BLOCKED for _, id_, _ in made if id_ is not None}
    told |= dict.fromkeys(ended, JobState.CANCELLED)
    return [told.get(job.id) or state_at(job, made_at) for job in jobs]


def state_at(job: NewJob, now: int) -> JobState:
    """Give the state of a job that is stored at this time."""
    due = now + job.delay if job.at is None else job.at
    return JobState.SCHEDULED if due > now else JobState.READY
