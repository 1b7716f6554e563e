"""Workers: registering, beating, leaving, and the notes that running jobs send."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import json

from treadle.core.durations import SECOND
from treadle.store.contract import LOGS_MAX, Note, WorkerInfo, WorkerRecord
from treadle.store.marking import Marked
from treadle.store.postgres.engine.pack import blobs, int8, int8s, lenient, text, texts, uuids
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.tenants.turns import turns, turns_at_gates

Held = set[tuple[bytes, int]]

_decode_info = json.Decoder(WorkerInfo).decode
_encode_info = json.Encoder().encode
_LEASE_UNKNOWN = 15 * SECOND


def read_info(id_: str, raw: bytes | None) -> WorkerInfo:
    """Read a worker's record; without a readable one it stands for a worker of the usual lease."""
    try:
        return _decode_info(raw or b"")
    except ValueError:
        return WorkerInfo(id_, "unknown", 0, None, 0, _LEASE_UNKNOWN)


def register(sql: Statements, worker: WorkerInfo) -> Talk[None]:
    """Write the worker's row."""
    yield Ask([(sql["register"], (text(worker.id), _encode_info(worker)))])


def beat(sql: Statements, worker: str) -> Talk[tuple[int, bool, Held, Held]]:
    """Prolong the lease; give the store's now, whether the worker is known, and what it holds.

    What it holds comes in two parts: its own claims, and those it took over from the dead.
    """
    me = (text(worker),)
    now, (known, held) = yield Ask([(sql["beat"], me), (sql["held"], me)])
    own = {(id_, number) for id_, number, lost_by in held if lost_by is None}
    taken_over = {(id_, number) for id_, number, lost_by in held if lost_by is not None}
    return now, bool(known), own, taken_over


def _pairs(claims: Sequence[tuple[bytes, int]]) -> tuple[bytes, bytes]:
    ordered = sorted(claims)
    return uuids([id_ for id_, _ in ordered]), int8s([number for _, number in ordered])


def give_back(
    sql: Statements, worker: str, claims: Sequence[tuple[bytes, int]], ring: Sequence[Call]
) -> Talk[int]:
    """Make these claims of the worker ready again, their attempt unspent."""
    pairs = _pairs(claims)
    values = (text(worker), *pairs)
    calls: list[Call] = [
        (sql["lock_jobs"], pairs[:1]),
        (sql["lock_gates_of"], pairs[:1]),
        (sql["free_claims"], values),
        (sql["give_back"], values),
        (sql["park_ready"], pairs[:1]),
        *turns(sql),
        *turns_at_gates(sql),
    ]
    _, (_, _, _, rows, *_) = yield Ask(calls, after=ring)
    return len(rows)


def leave(sql: Statements, worker: str, marked: Held, ring: Sequence[Call]) -> Talk[int]:
    """Give back whatever the worker holds and forget it.

    A claim whose code had begun and whose settlement never arrived stays for a rescuer to decide
    about: given back as unspent, a job that may run only once would run again.
    """
    me = (text(worker),)
    calls = [
        (sql["lock_row"], me),
        (sql["had_started"], (*me, *_pairs(list(marked)))),
        (sql["lock_held"], me),
        (sql["lock_gates_held"], me),
        (sql["free_held"], me),
        (sql["give_all_back"], me),
        (sql["park_back"], ()),
        (sql["forget"], me),
        *turns(sql),
        *turns_at_gates(sql),
    ]
    _, (*_, [[returned, _]], _, _, _, _) = yield Ask(calls, after=ring)
    return int(returned)


def mark(sql: Statements, marks: Sequence[Marked]) -> Talk[None]:
    """Mark claims as begun, beyond a crash of their worker."""
    yield Ask([(sql["mark_begun"], _pairs(sorted(marks)))])


def note(sql: Statements, notes: Sequence[Note]) -> Talk[None]:
    """Write progress and log lines of claims that still run."""
    progress = {(n.id, n.number): n.progress for n in notes if n.progress is not None}
    lines = [(n.id, n.number, *line) for n in notes for line in n.logs]
    calls: list[Call] = []
    if progress:
        pairs = sorted(progress)
        values = (*_pairs(pairs), blobs([progress[pair] for pair in pairs]))
        calls.append((sql["set_progress"], values))
    if lines:
        ids, numbers, at, levels, said = zip(*lines, strict=True)
        written = (texts([lenient(one) for one in levels]), texts([lenient(one) for one in said]))
        calls.append((sql["add_logs"], (uuids(ids), int8s(numbers), int8s(at), *written)))
        calls.append((sql["trim_logs"], (uuids(sorted(set(ids))), int8(LOGS_MAX))))
    if calls:
        yield Ask(calls)


def workers(sql: Statements) -> Talk[Sequence[WorkerRecord]]:
    """Read the registered workers with the age of their last beat."""
    now, [rows] = yield Ask([(sql["workers"], ())])
    return [
        WorkerRecord(
            read_info(id_, info),
            started_at,
            None if beat_at is None else max(0, now - beat_at),
            running,
        )
        for id_, info, started_at, beat_at, running in rows
    ]
