"""Reads: jobs, their attempts and logs, queues, dead letters. They never block a writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import json

from treadle.core.job import TERMINAL, AttemptRecord, JobRecord, JobState, read_error
from treadle.store.contract import Filter, QueueRecord
from treadle.store.postgres.control import named
from treadle.store.postgres.engine.pack import Value, int8, text, uuids
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements, statement
from treadle.store.postgres.engine.wire import Ask

_ROUNDS_MAX: Final = 20
_ID_MAX: Final = b"\xff" * 16
_encode = json.Encoder().encode
_decode_tags = json.Decoder(list[Any]).decode


def jobs(sql: Statements, ids: Sequence[bytes]) -> Talk[Sequence[JobRecord | None]]:
    """Read jobs by id, in order."""
    _, [rows] = yield Ask([(sql["jobs"], (uuids(named(ids)),))])
    found: dict[bytes, JobRecord] = {}
    for row in rows:
        record = record_of(row)
        # An id that was used again hours later may have ended once and live again.
        if record.id not in found or record.state not in TERMINAL:
            found[record.id] = record
    return [found.get(id_) for id_ in ids]


def ended(sql: Statements, ids: Sequence[bytes]) -> Talk[Sequence[bytes]]:
    """Tell which of these have ended or are gone."""
    _, [rows] = yield Ask([(sql["live"], (uuids(named(ids)),))])
    live = {id_ for (id_,) in rows}
    return [id_ for id_ in ids if id_ not in live]


def find(
    sql: Statements, which: Filter, before: bytes | None, limit: int
) -> Talk[Sequence[JobRecord]]:
    """Read the newest jobs that match.

    Tags are bytes to the server: it looks for the tag as JSON writes it, and what it finds is
    looked at again here, in as many rounds as that takes, bounded.
    """
    name = "find_any"
    if which.state is JobState.FAILED:
        name = "find_dead"
    elif which.state is not None:
        name = "find_ended" if which.state in TERMINAL else "find_live"
    where = ["id < $2::uuid"]
    values: list[Value] = []
    for column in ("state", "queue", "task", "reason"):
        value = getattr(which, column)
        if value is not None:
            values.append(text(str(value)))
            where.append(f"{column} = ${len(values) + 2}::text")
    if which.reason is not None:
        # What upkeep notes of one that runs is its own: no reason is shown of it.
        where.append("state <> 'running'")
    if which.tag is not None:
        values.append(_encode(which.tag))
        where.append(f"position(${len(values) + 2}::bytea in tags) > 0")
    asked = statement(sql[name].text.decode().replace("{where}", " and ".join(where)))
    found: list[JobRecord] = []
    last = before if before is not None else _ID_MAX
    for _ in range(_ROUNDS_MAX):
        room = limit - len(found)
        _, [rows] = yield Ask([(asked, (int8(room), _bound(last), *values))])
        records = [record_of(row) for row in rows]
        found += [one for one in records if which.tag is None or _has_tag(one, which.tag)]
        if len(found) >= limit or len(rows) < room:
            break
        last = records[-1].id
    return found


def _bound(id_: bytes) -> bytes:
    """Make a bound of any bytes: those of another length sort as bytes do."""
    return id_[:16].ljust(16, b"\0")


def _has_tag(record: JobRecord, tag: str) -> bool:
    try:
        return tag in _decode_tags(record.tags or b"[]")
    except ValueError:
        return False


def attempt_of(row: Sequence[Any]) -> AttemptRecord:
    """Read an attempt from its eight columns."""
    attempt, claim, worker, started_at, finished_at, outcome, error, ran = row
    return AttemptRecord(
        attempt, claim, worker, started_at, finished_at, outcome, read_error(error), ran
    )


def attempts(sql: Statements, job: bytes) -> Talk[Sequence[AttemptRecord]]:
    """Read a job's attempts, oldest first."""
    if not named([job]):
        return []
    _, [rows] = yield Ask([(sql["attempts"], (job,))])
    return [attempt_of(row) for row in rows]


def logs(sql: Statements, job: bytes) -> Talk[Sequence[tuple[int, int, str, str]]]:
    """Read a job's log lines."""
    if not named([job]):
        return []
    _, [rows] = yield Ask([(sql["logs"], (job,))])
    return [(attempt, at, level, line) for attempt, at, level, line in rows]


def queues(sql: Statements) -> Talk[Sequence[QueueRecord]]:
    """Read every queue with its counts by state."""
    calls = [(sql["queues"], ()), (sql["read_whole"], ()), (sql["counts"], ())]
    _, (names, _, rows) = yield Ask(calls)
    counts: dict[str, dict[str, int]] = {}
    for queue, state, count in rows:
        counts.setdefault(queue, {})[state] = count
    return [
        QueueRecord(name, paused_at is not None, counts.get(name, {}), oldest)
        for name, paused_at, oldest in names
    ]


def dead_groups(sql: Statements, limit: int) -> Talk[Sequence[tuple[str, str, str, int, int]]]:
    """Count dead letters by task, reason and error."""
    _, (_, rows) = yield Ask([(sql["read_whole"], ()), (sql["dead_groups"], (int8(limit),))])
    return [(task, reason, kind, count, newest) for task, reason, kind, count, newest in rows]


def record_of(row: Sequence[Any]) -> JobRecord:
    """Read a job from a row of `record_row`."""
    id_, task, queue, state, *rest = row
    return JobRecord(id_, task, queue, JobState(state), *rest)
