"""Outcomes and settlements: what a task did, and what to write after it.

`worker.execute` makes an outcome, `core.decide` turns it into a settlement, a store's
`exchange` writes it and answers with a verdict. Three steps, three places.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from treadle.core.gates.tells import Tell
from treadle.core.job import ErrorInfo, JobState


class Succeeded(Struct, frozen=True, gc=False):
    """The task returned; `result` is its encoded value, None when it is not kept."""

    result: bytes | None
    ran: int = 0


class Failed(Struct, frozen=True, gc=False):
    """The task raised, timed out or asked to be tried again."""

    error: ErrorInfo
    retryable: bool = True
    """What the code's `on=` and `never=` say of this error."""
    delay: int | None = None
    """A delay that the task or a callable backoff named; None: by the policy."""
    label: str = "failed"
    ran: int = 0
    tells: tuple[Tell, ...] = ()
    """What the attempt says of gates."""


class Snoozed(Struct, frozen=True, gc=False):
    """The task asked for rest; no attempt is spent."""

    delay: int
    ran: int = 0
    tells: tuple[Tell, ...] = ()


class Cancelled(Struct, frozen=True, gc=False):
    """The task ended its own job."""

    reason: str
    ran: int = 0


class Rejected(Struct, frozen=True, gc=False):
    """The job must not run again: straight to the dead letters."""

    error: ErrorInfo
    reason: str
    ran: int = 0
    tells: tuple[Tell, ...] = ()


class Released(Struct, frozen=True, gc=False):
    """The job was claimed but not started, or is handed back on a stop: unspent."""

    delay: int = 0
    began: bool = False
    """Its code had begun, so that a task that is at most once must not run it again."""


class WorkerLost(Struct, frozen=True, gc=False):
    """The worker that ran the job is gone."""

    worker: str


class TaskUnknown(Struct, frozen=True, gc=False):
    """This worker has no code for the job's task."""


Outcome = Succeeded | Failed | Snoozed | Cancelled | Rejected | Released | WorkerLost | TaskUnknown


class Settlement(Struct, frozen=True, gc=False):
    """What to write for one claim, if that claim is still the one running."""

    id: bytes
    number: int
    state: JobState
    attempt: int
    outcome: str
    """The label of the attempt record; empty when no attempt took place."""
    result: bytes | None = None
    error: bytes | None = None
    reason: str | None = None
    delay: int = 0
    """For a state that waits: time from the store's now."""
    keep: int = 0
    """For a terminal state: how long the record is kept, from the store's now."""
    forgiven: int = 0
    crashes: int = 0
    ran: int = 0
    lost_by: str | None = None
    """The worker that died in this attempt, when the one that settles is its rescuer."""
    keyed: bool = False
    """The job was enqueued with a key, which an end frees."""
    gates: bytes | None = None
    """What the claim holds and lets go with this."""
    tells: tuple[Tell, ...] = ()
    """What the attempt says of gates, its own and others."""


class Verdict(Enum):
    """The store's answer to a settlement."""

    APPLIED = "applied"
    LOST = "lost"
    """The claim was no longer the one running; nothing was written."""
