"""Rows: what goes into the scripts as words, and what comes back read as values.

Redis keeps text; a number that is not there is its default and an empty text is none. What the
store never looks into travels packed as one value, the call: arguments, policy, tags and so on.
Values that a hand has damaged are shown as well as they can be by reads, and refused
(`ValueError`) for a claim, which is then set aside.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, json, msgpack

from treadle.core.job import AttemptRecord, Claim, JobRecord, JobState, NewJob, read_error
from treadle.core.keys.key import Key
from treadle.core.outcome import Settlement
from treadle.store.handing import is_plain

Words = list[str | bytes | int]

_STATES = {str(state): state for state in JobState}
_SIGNED_64 = range(-(2**63), 2**63)
_ATTEMPT_VALUES = 8
_LOG_VALUES = 4
_ID_BYTES = 16
_NO_GATES = b"0"


class Call(Struct, frozen=True, array_like=True, gc=False):
    """The part of a job that the scripts never look into."""

    args: bytes
    attempts_max: int | None = None
    policy: bytes | None = None
    tags: bytes | None = None
    meta: bytes | None = None
    tenant: str | None = None
    cost: int = 1


_NO_CALL = Call(b"")
_pack = msgpack.Encoder().encode
_encode = json.Encoder().encode
_unpack = msgpack.Decoder(Call).decode


def job_words(jobs: Sequence[NewJob]) -> Words:
    """Write jobs for `enqueue`, those that are alike under one head.

    Raises:
        OverflowError: an instant or a duration is beyond 64 bits.
        ValueError: an id is none.
    """
    words: Words = []
    head: tuple[Any, ...] | None = None
    place = many = 0
    for job in jobs:
        if (like := head_of(job)) != head:
            head = like
            words += _head(job)
            place, many = len(words) - 1, 0
        many += 1
        words[place] = many
        words += own_words(job)
        if job.key is not None:
            words += _key_words(job.key)
    return words


def head_of(job: NewJob) -> tuple[Any, ...]:
    """Give what jobs share that stand under one head."""
    return (
        job.queue, job.priority, job.task, job.at, job.delay, job.expires_at, job.expires_in,
        job.key is not None, job.gates, job.tenant,
    )  # fmt: skip


def own_words(job: NewJob) -> tuple[str, bytes]:
    """Write what a job has of its own: its id and its call.

    Raises:
        ValueError: its id is none.
    """
    _check_id(job)
    return job.id.hex(), call_words(job, job.cost)


def one_words(job: NewJob) -> Words | None:
    """Write one job for `enqueue_one`; None where there is more to it than that stores.

    Raises:
        ValueError: its id is none.
    """
    _check_id(job)
    if not is_plain(job):
        return None
    return [job.queue, job.priority, job.task, job.id.hex(), call_words(job, job.cost)]


def _check_id(job: NewJob) -> None:
    if len(job.id) != _ID_BYTES:
        raise ValueError(f"a job's id has {_ID_BYTES} bytes, not {len(job.id)}: {job.id!r}")


def _key_words(key: Key) -> Words:
    """Write a key, which stands behind its job."""
    most = _text(key.max_wait)
    return [key.name, key.until, key.hold, most, key.conflict, (key.hash or b"").hex()]


def _head(job: NewJob) -> Words:
    for value in (job.at, job.delay, job.expires_at, job.expires_in):
        if value is not None and value not in _SIGNED_64:
            raise OverflowError(f"an instant or duration of {value} microseconds is out of range")
    return [
        job.queue, job.priority, job.task, _text(job.at), job.delay, _text(job.expires_at),
        _text(job.expires_in), "" if job.key is None else "1", job.gates or b"",
        job.tenant or "", 0,
    ]  # fmt: skip


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def settlement_words(settlements: Sequence[Settlement]) -> Words:
    """Write settlements for `exchange`; the letter says how many values follow.

    A small letter says that the claim holds places of gates.
    """
    words: Words = []
    for each in settlements:
        if each.state is JobState.SUCCEEDED:
            letters = "LK" if each.keyed else "NS"
            letter = letters[0] if each.result is None else letters[1]
            words += (_cased(letter, each), each.id.hex(), each.number, each.keep, each.ran)
            if each.result is not None:
                words.append(each.result)
            continue
        ends = each.state.is_terminal
        words += (
            _cased("E" if ends else "W", each), each.id.hex(), each.number,
            each.keep if ends else each.delay, each.state.value, each.attempt, each.outcome,
            each.reason or "", each.forgiven, each.crashes, each.ran, each.lost_by or "",
            each.error or b"", _encode(each.tells) if each.tells else b"",
        )  # fmt: skip
    return words


def _cased(letter: str, settlement: Settlement) -> str:
    return letter if settlement.gates is None else letter.lower()


def read_claim(row: list[Any] | bytes, now: int, gates: Sequence[bytes] = ()) -> Claim:
    """Read a claim from what a script gave; `now` is the time that it went by.

    `gates` are those of all claims of the answer.

    Raises:
        ValueError: a value is not of its kind.
    """
    if isinstance(row, bytes):
        return _plain_claim(row, now, gates)
    (
        id_, number, attempt, task, queue, call, created_at, priority, forgiven, crashes, run_at,
        expires_at, parked_at, started_at, key, own,
    ) = row  # fmt: skip
    said = _unpack(call)
    return Claim(
        unhexlify(id_), int(number), task.decode(), queue.decode(), int(priority or 0),
        int(attempt), said.args, said.attempts_max, int(forgiven or 0), int(crashes or 0),
        said.policy, int(created_at), int(run_at or created_at), _instant(expires_at),
        _instant(parked_at), int(started_at or 0), said.tags, said.meta, said.tenant,
        None if key is None else key.decode(), own,
    )  # fmt: skip


def _plain_claim(row: bytes, now: int, gates: Sequence[bytes]) -> Claim:
    """Read a claim of a job that has nothing out of the ordinary: its values in one text."""
    id_, number, attempt, times, task_size, queue_size, place, rest = row.split(b" ", 7)
    task, queue = int(task_size), int(task_size) + int(queue_size)
    created_at, _, run_at = times.partition(b":")
    said, created = _unpack(memoryview(rest)[queue:]), int(created_at)
    return Claim(
        unhexlify(id_), int(number), rest[:task].decode(), rest[task:queue].decode(), 0,
        int(attempt), said.args, said.attempts_max, 0, 0, said.policy, created,
        int(run_at) if run_at else created, None, None, now, said.tags, said.meta, said.tenant,
        None, None if place == _NO_GATES else gates[int(place) - 1],
    )  # fmt: skip


def name_of(row: list[Any] | bytes) -> tuple[bytes, int]:
    """Name a claim that cannot be read, by its id as stored and its number."""
    id_, number = row.split(b" ", 2)[:2] if isinstance(row, bytes) else row[:2]
    return bytes(id_), int(number)


def _instant(value: bytes | None) -> int | None:
    return int(value) if value else None


def read_record(id_: bytes, flat: Sequence[bytes], now: int) -> JobRecord:
    """Read a job from its fields and values; what is damaged is shown as nothing."""
    row = _Fields(flat)
    state = _STATES.get(row.text("state") or "")
    said = row.call()
    created = row.number("created_at") or 0
    run_at = row.number("run_at")
    return JobRecord(
        id_,
        row.text("task") or "",
        row.text("queue") or "",
        # A state that a hand has put there: shown as what it amounts to, a job nothing will run.
        JobState.FAILED if state is None else state,
        row.number("priority") or 0,
        row.number("attempt") or 0,
        row.number("number") or 0,
        said.args,
        created,
        created if run_at is None else run_at,
        now,
        attempts_max=said.attempts_max,
        forgiven=row.number("forgiven") or 0,
        crashes=row.number("crashes") or 0,
        policy=said.policy,
        started_at=row.number("started_at"),
        finished_at=row.number("finished_at"),
        expires_at=row.number("expires_at"),
        keep_until=row.number("keep_until"),
        worker=row.text("worker"),
        outcome=row.text("outcome") or ("succeeded" if state is JobState.SUCCEEDED else None),
        reason=_reason(row, state),
        error=row.raw("error") or None,
        result=row.raw("result"),
        tags=said.tags,
        meta=said.meta,
        tenant=said.tenant,
        progress=row.raw("progress"),
        key=row.text("key"),
        gates=row.raw("gates"),
        gate=row.text("waits_at"),
    )


def _reason(row: _Fields, state: JobState | None) -> str | None:
    """Give why a job waits or has ended; what stands there while it runs is upkeep's own."""
    if state is None:
        return "unreadable"
    return None if state is JobState.RUNNING else row.text("reason")


class _Fields:
    """A job's fields by name."""

    def __init__(self, flat: Sequence[bytes]) -> None:
        self._values = dict(zip(flat[::2], flat[1::2], strict=True))

    def raw(self, name: str) -> bytes | None:
        return self._values.get(name.encode())

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        return value.decode(errors="replace") if value else None

    def number(self, name: str) -> int | None:
        return read_number(self.raw(name))

    def call(self) -> Call:
        value = self.raw("call")
        if value is None:
            return _NO_CALL
        try:
            return _unpack(value)
        except ValueError:
            return Call(value)


def read_number(value: bytes | None) -> int | None:
    """Read a number; None for nothing, and for what a hand has made no number."""
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        return None


def call_words(job: NewJob | JobRecord, cost: int) -> bytes:
    """Pack the part of a job that the scripts never look into."""
    return _pack(Call(job.args, job.attempts_max, job.policy, job.tags, job.meta, job.tenant, cost))


def read_cost(value: bytes | None) -> int:
    """Read a job's cost out of its packed call; what is damaged costs as by default."""
    try:
        return 1 if value is None else _unpack(value).cost
    except ValueError:
        return 1


def read_lines(flat: Sequence[bytes]) -> list[tuple[int, int, str, str]]:
    """Read log lines as (attempt, instant, level, text)."""
    return [
        (
            read_number(attempt) or 0,
            read_number(instant) or 0,
            level.decode(errors="replace"),
            text.decode(errors="replace"),
        )
        for attempt, instant, level, text in (
            flat[at : at + _LOG_VALUES] for at in range(0, len(flat), _LOG_VALUES)
        )
    ]


def read_attempts(past: Sequence[bytes], last: Sequence[bytes | None]) -> list[AttemptRecord]:
    """Read the attempts before the last one, and the last one from the job's own fields."""
    groups = [past[at : at + _ATTEMPT_VALUES] for at in range(0, len(past), _ATTEMPT_VALUES)]
    found = [_attempt(*group) for group in groups if len(group) == _ATTEMPT_VALUES]
    state, number, attempt, worker, started_at, finished_at, outcome, error, ran = last
    running = state == b"running"
    settled = state in (b"succeeded", b"failed", b"cancelled") and ran is not None
    if started_at and (running or settled):
        found.append(
            _attempt(
                number or b"", attempt or b"", worker or b"", started_at,
                finished_at or b"", b"running" if running else outcome or state or b"",
                b"" if running else error or b"", ran or b"",
            )
        )  # fmt: skip
    return found


def _attempt(*values: bytes) -> AttemptRecord:
    number, attempt, worker, started_at, finished_at, outcome, error, ran = values
    return AttemptRecord(
        read_number(attempt) or 0,
        read_number(number) or 0,
        worker.decode(errors="replace") or None,
        read_number(started_at) or 0,
        read_number(finished_at),
        outcome.decode(errors="replace"),
        read_error(error or None),
        read_number(ran),
    )
