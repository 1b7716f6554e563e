"""The values that travel along the line: NewJob → Claim → (Outcome) → Settlement → record.

One file holds the nouns of a job; what a task did and what is written after it live in
`core.outcome`. These are msgspec structs because one of each is made for every job:
they build in a fraction of a microsecond and compare by value.
All instants and durations are microseconds (see `core.durations`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from msgspec import Struct, json

from treadle.core.keys.key import Key


class JobState(StrEnum):
    """Where a job is. The last four are terminal: they change only when a person acts."""

    BLOCKED = "blocked"
    """Waits for other jobs, or is parked at a gate that is shut; either makes it ready."""
    SCHEDULED = "scheduled"
    """Waits for its time; `stage` makes it ready."""
    READY = "ready"
    """May be claimed by any worker of its queue."""
    RUNNING = "running"
    """Held by a worker under a claim number."""
    RETRYING = "retrying"
    """Has failed, waits for its next attempt; `stage` makes it ready."""
    SUCCEEDED = "succeeded"
    """Ended well; its result is kept for a while."""
    FAILED = "failed"
    """A dead letter: it will not run again by itself."""
    CANCELLED = "cancelled"
    """Ended by a person or by its own task."""
    EXPIRED = "expired"
    """Was not started before its expiry."""

    @property
    def is_terminal(self) -> bool:
        """Tell whether a job in this state has ended."""
        return self in TERMINAL


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
WAITING = frozenset({JobState.BLOCKED, JobState.SCHEDULED, JobState.READY, JobState.RETRYING})

PRIORITY_MIN, PRIORITY_MAX = -100, 100


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """What an attempt died of, in bounded text."""

    type: str
    message: str = ""
    traceback: str = ""


class NewJob(Struct, frozen=True, gc=False):
    """A job as the application hands it to the store."""

    id: bytes
    task: str
    args: bytes
    queue: str = "default"
    priority: int = 0
    at: int | None = None
    """Absolute instant before which it does not run; wins over `delay`."""
    delay: int = 0
    """Time to wait from the store's now."""
    expires_at: int | None = None
    expires_in: int | None = None
    attempts_max: int | None = None
    """None: unknown to the caller; the worker's code says."""
    policy: bytes | None = None
    """`core.retry.JobPolicy` as JSON; None when all is default."""
    tags: bytes | None = None
    meta: bytes | None = None
    tenant: str | None = None
    cost: int = 1
    gates: bytes | None = None
    """What it has to pass, a list of `core.gates.gate.GateUse` as JSON, in the order of names."""
    key: Key | None = None
    """The name that it wants to hold alone."""


How = Literal["kept", "replaced", "refused"]
"""What a new job did that met another one: nothing, gave it its values, or was refused."""


class Met(Struct, frozen=True):
    """The store's answer for a new job whose key another job held: it was not stored."""

    job: bytes
    """The job that holds the key, or waits to."""
    how: How
    state: JobState
    """The state in which that job was met, or was left."""


Fate = JobState | Met
"""What became of a new job: the state in which it was stored, or whom it met."""


class Claim(Struct, frozen=True, gc=False):
    """A job held by a worker: what `execute` and `decide` need, and the fence."""

    id: bytes
    number: int
    task: str
    queue: str
    priority: int
    attempt: int
    args: bytes
    attempts_max: int | None = None
    forgiven: int = 0
    """Attempts that do not count against `attempts_max`: crashes, and those before a replay."""
    crashes: int = 0
    policy: bytes | None = None
    created_at: int = 0
    run_at: int = 0
    expires_at: int | None = None
    parked_at: int | None = None
    """Since when no worker that knows the task has met this job."""
    started_at: int = 0
    tags: bytes | None = None
    meta: bytes | None = None
    tenant: str | None = None
    key: str | None = None
    """The key that it was enqueued with; whether it still holds it, the store knows."""
    gates: bytes | None = None


class Orphan(Struct, frozen=True):
    """A claim taken over from a worker that is gone."""

    claim: Claim
    started: bool | None
    """Whether the task's code may have begun: only then is the attempt spent. None: the store has
    no mark of it, and keeps only those that had to be sure."""
    lost_by: str
    """The worker that held it."""


class AttemptRecord(Struct, frozen=True):
    """One execution of a job, as the store remembers it."""

    attempt: int
    claim: int
    worker: str | None
    started_at: int
    finished_at: int | None
    outcome: str
    error: ErrorInfo | None = None
    ran: int | None = None
    """Microseconds that the task's code took, by the worker's monotonic clock."""


class JobRecord(Struct, frozen=True):
    """All that the store knows of one job, read at `as_of`."""

    id: bytes
    task: str
    queue: str
    state: JobState
    priority: int
    attempt: int
    claim: int
    args: bytes
    created_at: int
    run_at: int
    as_of: int
    attempts_max: int | None = None
    forgiven: int = 0
    crashes: int = 0
    policy: bytes | None = None
    started_at: int | None = None
    finished_at: int | None = None
    expires_at: int | None = None
    keep_until: int | None = None
    worker: str | None = None
    outcome: str | None = None
    reason: str | None = None
    """Why it waits or ended, in one word: `unknown_task`, `exhausted`, `poison`, …; None of one
    that runs."""
    error: bytes | None = None
    result: bytes | None = None
    tags: bytes | None = None
    meta: bytes | None = None
    tenant: str | None = None
    progress: bytes | None = None
    key: str | None = None
    """The key that it was enqueued with; whether it holds it, `Store.keys` says."""
    gates: bytes | None = None
    gate: str | None = None
    """The gate that it is parked at, or was when it ended."""

    def error_info(self) -> ErrorInfo | None:
        """Decode the error; bytes that are none are shown rather than hidden."""
        return read_error(self.error)


_error_decoder = json.Decoder(ErrorInfo)
_encoder = json.Encoder()


def write_error(error: ErrorInfo) -> bytes:
    """Encode an error for the store."""
    return _encoder.encode(error)


def read_error(raw: bytes | None) -> ErrorInfo | None:
    """Decode a stored error; a damaged one becomes an error that shows its bytes."""
    if raw is None:
        return None
    try:
        return _error_decoder.decode(raw)
    except ValueError:
        return ErrorInfo("UnreadableError", repr(raw[:200]))
