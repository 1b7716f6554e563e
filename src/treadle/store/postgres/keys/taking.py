"""Storing jobs that want a key.

The rows of the keys decide: they are locked first, in the order of their names, so two batches
wait for each other in one direction only. What each job meets is judged by the statements after
that, which see what was committed until then. Jobs of one batch that want one key are judged in
rounds, the first of each name, then the second, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from msgspec import Struct

from treadle.core.job import Fate, How, JobState, Met, NewJob
from treadle.core.keys.key import Key
from treadle.store.postgres.engine.pack import Value, blobs, int8s, texts, uuids
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.gates.line import meet, written
from treadle.store.postgres.line.enqueue import columns, request_id, state_at
from treadle.store.postgres.tenants.turns import turns_of

_COUNTS = 1
"""Columns of an answer that only counts."""


class Wanted(Struct, frozen=True):
    """A job at its place in the batch, with the key that it wants."""

    place: int
    job: NewJob
    key: Key


def rounds_of(jobs: Sequence[NewJob]) -> list[list[Wanted]]:
    """Part the jobs that want keys so that no name comes twice in a round."""
    rounds: list[list[Wanted]] = []
    times: dict[str, int] = {}
    for place, job in enumerate(jobs):
        if job.key is not None:
            turn = times[job.key.name] = times.get(job.key.name, -1) + 1
            if turn == len(rounds):
                rounds.append([])
            rounds[turn].append(Wanted(place, job, job.key))
    return rounds


def enqueue_keyed(
    sql: Statements,
    request: bytes,
    jobs: Sequence[NewJob],
    new_queues: Sequence[str],
    ring: Sequence[Call],
    *,
    end: bool = True,
) -> Talk[list[Fate]]:
    """Write a batch in which some jobs want keys; see the contract. As for `enqueue`, `end`."""
    name = request_id(request)
    calls: list[Call] = [(sql["insert_queues"], (texts(new_queues),))] if new_queues else []
    calls.append((sql["request_keyed"], (name,)))
    first = len(calls)
    plain = [job for job in jobs if job.key is None]
    if plain:
        calls.append((sql["store_unkeyed"], (name, *columns(plain))))
    for wanted in rounds_of(jobs):
        names = _names(wanted)
        calls += [(sql["take_keys"], names), (sql["take_left"], names)]
        calls.append((sql["store_keyed"], (name, *_jobs(wanted))))
    calls += [*meet(sql, name, jobs), *turns_of(sql, jobs)]
    made_at, answers = yield Ask(calls, end, after=ring)
    if answers[first - 1]:
        said: Iterable[Sequence[Any]] = [
            row for rows in answers[first:] for row in rows if len(row) > _COUNTS
        ]
    else:
        # Sent before: the answer is the one of then, whatever became of the jobs since.
        _, [[[made_at, lines]]] = yield Ask([(sql["request_said"], (name,))], end)
        said = (line.split(" ") for line in (lines or "").splitlines())
    return fates_of(jobs, made_at, said)


def fates_of(jobs: Sequence[NewJob], made_at: int, said: Iterable[Sequence[Any]]) -> list[Fate]:
    """Tell the fate of each job of a batch: `said` is of those that were not simply stored."""
    fates: list[Fate] = [state_at(job, made_at) for job in jobs]
    for place, how, job, state in said:
        if how == "stored":
            fates[int(place)] = JobState(state)
        else:
            fates[int(place)] = Met(_id_of(job), cast("How", how), JobState(state))
    return fates


def _id_of(value: object) -> bytes:
    """Read an id as our own connection gives it, or a driver, or a text."""
    return value if isinstance(value, bytes) else bytes.fromhex(str(value).replace("-", ""))


def _names(wanted: Sequence[Wanted]) -> list[Value]:
    return [
        texts([one.key.name for one in wanted]),
        uuids([one.job.id for one in wanted]),
        texts([one.key.until.value for one in wanted]),
        int8s([one.key.hold for one in wanted]),
        blobs([one.key.hash for one in wanted]),
    ]


def _jobs(wanted: Sequence[Wanted]) -> list[Value]:
    return [
        *columns([one.job for one in wanted]),
        texts([one.key.name for one in wanted]),
        texts([one.key.until.value for one in wanted]),
        blobs([one.key.hash for one in wanted]),
        texts([one.key.conflict.value for one in wanted]),
        int8s([one.key.max_wait for one in wanted]),
        int8s([one.place for one in wanted]),
        texts([written(one.job.gates) for one in wanted]),
    ]
