"""The verbs by which whole jobs leave and come, each one script; see `store.parts.moving`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from treadle.core.errors import StoreError
from treadle.core.gates.arriving import Starts
from treadle.core.gates.gate import WINDOW, GateUse
from treadle.core.job import AttemptRecord, JobRecord, write_error
from treadle.store.parts.moving import Parcel, SameStore, Seal, check_parcels
from treadle.store.redis.engine.runner import Runner
from treadle.store.redis.rows import (
    Words,
    call_words,
    read_attempts,
    read_cost,
    read_lines,
    read_number,
    read_record,
)
from treadle.store.redis.scripts import script

_EXACT: Final = 2**53 - 1
_NO_LAST: Final = (None,) * 9


class RedisMoving:
    """Moves of one Redis store."""

    def __init__(self, runner: Runner, now: Callable[[int | None], str]) -> None:
        """Take the runner, and what gives the time to go by."""
        self._runner = runner
        self._now = now

    def refuses(self, record: JobRecord) -> str | None:
        """Refuse numbers that a script's would not hold exactly."""
        numbers = (record.claim, record.created_at, record.run_at, record.expires_at or 0)
        if max(map(abs, numbers)) > _EXACT:
            return "a number or instant of it is beyond 53 bits"
        return None

    async def seal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[Parcel | None]:
        """Seal what waits, and give it whole."""
        check_parcels(ids)
        at, rows = await self._run("seal", str(seal), *(id_.hex() for id_ in ids))
        pairs = zip(ids, rows, strict=True)
        return [None if row is None else _parcel(id_, row, int(at)) for id_, row in pairs]

    async def adopt(self, parcels: Sequence[Parcel], seal: Seal) -> Sequence[bool]:
        """Write jobs as they were given."""
        check_parcels(parcels)
        words: Words = []
        for parcel in parcels:
            words += _words(parcel, seal)
        try:
            return _done(await self._run("adopt", str(seal.other), *words))
        except StoreError as error:
            if "SAME " not in str(error):
                raise
            said = str(error).partition("SAME ")[2][:32]
            raise SameStore(bytes.fromhex(said)) from error

    async def unseal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Give sealed jobs their state and reason back."""
        check_parcels(ids)
        return _done(await self._run("unseal", str(seal), "1", *(id_.hex() for id_ in ids)))

    async def drop(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Delete sealed jobs."""
        check_parcels(ids)
        return _done(await self._run("unseal", str(seal), "0", *(id_.hex() for id_ in ids)))

    async def starts(self, name: str) -> Starts | None:
        """Give what has started in a sliding window."""
        row = await self._run("starts", "read", name)
        if row is None:
            return None
        at, quota, period, burst, flat = row
        numbers = [int(word) for word in flat]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        return Starts(GateUse(name, WINDOW, 1, quota, int(period), burst), pairs, int(at))

    async def receive(self, starts: Starts, move: str) -> bool:
        """Let starts of another store count."""
        use = starts.use
        numbers = (use.kind, use.quota, use.period, use.burst, starts.at)
        pairs = chain.from_iterable(starts.pairs)
        return bool(await self._run("starts", "take", use.name, move, *numbers, *pairs))

    async def _run(self, name: str, *words: str | bytes | int) -> Any:  # noqa: ANN401
        steps = self._runner.script(script(name), (self._now(None), *words), again=True)
        return await self._runner.run(steps)


def _done(answer: bytes) -> list[bool]:
    return [said == ord("1") for said in answer]


def _parcel(id_: bytes, row: Sequence[Any], now: int) -> Parcel:
    flat, past, lines = row
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Parcel(
        read_record(id_, flat, now),
        read_cost(fields.get(b"call")),
        read_number(fields.get(b"parked_at")),
        read_number(fields.get(b"ran")),
        tuple(read_attempts(past, _NO_LAST)),
        tuple(read_lines(lines)),
    )


def _words(parcel: Parcel, seal: Seal) -> Words:
    """Write a job for `adopt`: what it is listed by, how much follows, and that."""
    job = parcel.record
    fields = _fields(parcel, seal)
    past = [word for one in parcel.attempts for word in _attempt(one)]
    lines: Words = [word for told in parcel.logs for word in told]
    until = job.keep_until or job.as_of if parcel.is_dead else job.expires_at or ""
    counts = (len(fields), len(past), len(lines))
    return [job.id.hex(), job.queue, str(job.state), until, *counts, *fields, *past, *lines]


def _fields(parcel: Parcel, seal: Seal) -> Words:
    """Write the fields of a job's hash; what is as by default is left out, as in `enqueue`."""
    job = parcel.record
    words: Words = [
        "task", job.task, "queue", job.queue, "state", str(job.state), "call",
        call_words(job, parcel.cost), "created_at", job.created_at,
    ]  # fmt: skip
    if job.run_at != job.created_at:
        words += ("run_at", job.run_at)
    for name, number in (
        ("priority", job.priority),
        ("number", job.claim),
        ("attempt", job.attempt),
        ("forgiven", job.forgiven),
        ("crashes", job.crashes),
    ):
        if number:
            words += (name, number)
    optional: tuple[tuple[str, str | bytes | int | None], ...] = (
        ("expires_at", job.expires_at),
        ("parked_at", parcel.parked_at),
        ("reason", parcel.reason(seal)),
        ("error", job.error),
        ("progress", job.progress),
        ("worker", job.worker),
        ("started_at", job.started_at),
        ("finished_at", job.finished_at),
        ("keep_until", job.keep_until),
        ("outcome", job.outcome),
        ("ran", parcel.ran),
        ("gates", job.gates),
        ("tenant", job.tenant or None),
    )
    for name, value in optional:
        if value is not None:
            words += (name, value)
    return words


def _attempt(one: AttemptRecord) -> Words:
    error = b"" if one.error is None else write_error(one.error)
    finished_at = "" if one.finished_at is None else one.finished_at
    return [
        one.claim, one.attempt, one.worker or "", one.started_at, finished_at, one.outcome,
        error, "" if one.ran is None else one.ran,
    ]  # fmt: skip
