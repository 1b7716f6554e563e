"""The small values that public calls return: progress, log lines, attempts, queues, workers.

Stores speak in whole microseconds and bytes; people read seconds and aware datetimes. Each
value here is made from one of the store's records and holds nothing else. Jobs have a
class of their own in `treadle.job`.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct, json

from treadle.core.durations import SECOND, as_datetime
from treadle.core.job import AttemptRecord, ErrorInfo

if TYPE_CHECKING:
    from treadle.store.contract import QueueRecord, WorkerRecord

PROGRESS_TEXT_MAX: Final = 500
"""Characters kept of a progress message."""


class Progress(Struct, frozen=True, omit_defaults=True):
    """How far a running job says it is."""

    done: float
    total: float | None = None
    message: str = ""

    @classmethod
    def of(cls, done: float, total: float | None, message: str) -> Self:
        """Make a report of sound numbers.

        Raises:
            TypeError: `done` or `total` is not a number.
            ValueError: one of them is negative or not finite.
        """
        _check_number("done", done)
        if total is not None:
            _check_number("total", total)
        return cls(done, total, message)


_progress_decoder = json.Decoder(Progress)


def read_progress(raw: bytes | None) -> Progress | None:
    """Decode a stored report; damaged bytes are shown as a message rather than hidden."""
    if raw is None:
        return None
    try:
        return _progress_decoder.decode(raw)
    except ValueError:
        return Progress(0, None, f"unreadable: {raw[:100]!r}")


class LogLine(Struct, frozen=True):
    """One line that a task logged."""

    attempt: int
    at: datetime
    level: str
    text: str

    @classmethod
    def of(cls, row: tuple[int, int, str, str]) -> Self:
        """Make a line from the store's (attempt, instant, level, text)."""
        attempt, at, level, text = row
        return cls(attempt, as_datetime(at), level, text)


class AttemptInfo(Struct, frozen=True):
    """One execution of a job."""

    number: int
    worker: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    error: ErrorInfo | None
    ran: float | None
    """Seconds that the task's code took."""

    @classmethod
    def of(cls, record: AttemptRecord) -> Self:
        """Make an attempt from the store's record."""
        return cls(
            record.attempt,
            record.worker,
            as_datetime(record.started_at),
            optional_datetime(record.finished_at),
            record.outcome,
            record.error,
            None if record.ran is None else record.ran / SECOND,
        )


class QueueInfo(Struct, frozen=True):
    """A queue, with the number of its jobs in each state."""

    name: str
    paused: bool
    counts: dict[str, int]
    oldest_ready: datetime | None
    """Since when the job that waits longest could have run."""

    @classmethod
    def of(cls, record: QueueRecord) -> Self:
        """Make a queue from the store's record."""
        oldest = optional_datetime(record.oldest_ready)
        return cls(record.name, record.paused, record.counts, oldest)


class DeadGroup(Struct, frozen=True):
    """Dead letters of one task that died of the same thing."""

    task: str
    reason: str
    error: str
    """The error's type."""
    count: int
    newest: datetime

    @classmethod
    def of(cls, row: tuple[str, str, str, int, int]) -> Self:
        """Make a group from the store's row."""
        task, reason, error, count, newest = row
        return cls(task, reason, error, count, as_datetime(newest))


class WorkerState(Struct, frozen=True):
    """A worker that is registered."""

    id: str
    host: str
    pid: int
    queues: tuple[str, ...] | None
    """None: it takes from every queue."""
    slots: int
    running: int
    started_at: datetime
    beat_age: float | None
    """Seconds since it last beat; None when that cannot be known."""

    @classmethod
    def of(cls, record: WorkerRecord) -> Self:
        """Make a worker from the store's record."""
        info = record.info
        return cls(
            info.id,
            info.host,
            info.pid,
            info.queues,
            info.slots,
            record.running,
            as_datetime(record.started_at),
            None if record.beat_age is None else record.beat_age / SECOND,
        )


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, not {value}")


def optional_datetime(micros: int | None) -> datetime | None:
    """Turn an instant that may be missing into a datetime."""
    return None if micros is None else as_datetime(micros)
