"""What does the worker keep of one execution while it runs?

An `Attempt` is made for every claim that is started, so it is a flat record that is built in
a fraction of a microsecond; everything that can be worked out later is worked out when it is
asked for. It is also the `Carrier` behind the task's `Context`. It decides nothing: see
`execute` for how it is run and `executors.limits` for its time limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from treadle.core.job import Claim, JobRecord, JobState
from treadle.core.retry import JobPolicy
from treadle.definition import Definition

if TYPE_CHECKING:
    from treadle.context import TransactionBlock
    from treadle.job import Job
    from treadle.worker.executors.seat import Seat
    from treadle.worker.outcomes.transaction import Transaction, Transactions

CancelReason = Literal["hard_timeout", "revoked", "cut_off", "stop"]
"""Why the worker ends an attempt: its time is over, its claim is no longer this worker's, the
store is out of reach, or the worker stops."""
CallNext = Callable[[], Awaitable[Any]]
Middleware = Callable[["Job[Any]", CallNext], Awaitable[Any]]


class Surroundings(Struct, eq=False, kw_only=True):
    """What every attempt of one worker shares; the worker makes one and keeps it up to date."""

    report: Callable[[Attempt, bytes], None]
    """Takes a progress report, on whatever thread the task runs."""
    say: Callable[[Attempt, str, str], None]
    """Takes a log line (level, text), on whatever thread the task runs."""
    job_of: Callable[[JobRecord], Job[Any]]
    may_wait: Callable[[], bool]
    """Tells whether a slot is free, so that a job may wait for another."""
    result_max: int
    """Largest result in bytes."""
    timeout_us: int
    """Hard limit of a job whose task names none."""
    transactions: Transactions | None = None
    """Makes the transactions of tasks; every worker has it."""
    middleware: tuple[Middleware, ...] = ()
    """Wraps every execution, the first one outermost."""
    cut_off: bool = False
    """Whether the store has been out of reach for two thirds of the lease."""


class Attempt(Struct, eq=False):
    """One execution of a claim, from the moment it is handed to an executor.

    Everything but the claim, its definition, policy, surroundings and place is kept by the
    executors and `execute`: only they write it, on the loop's thread, except `started` and
    `seat`, which the thread that runs a sync task writes.
    """

    claim: Claim
    definition: Definition
    policy: JobPolicy
    """The job's stored policy, or the task's when the job has none of its own."""
    surroundings: Surroundings
    place: int = 0
    """The caller's own mark; no executor reads it."""
    started: int = 0
    """Monotonic nanoseconds when the code began; 0 before that."""
    soft_at: int | None = None
    """Monotonic nanoseconds of the soft limit; None when there is none or it has passed."""
    hard_at: int = 0
    """Monotonic nanoseconds of the hard limit; 0 before the clock runs."""
    reason: CancelReason | None = None
    """Why the worker ends this attempt; None while it does not."""
    soft_due: bool = False
    """The soft limit has passed and the task is still to be told."""
    soft_sent: bool = False
    """The task has been told of its soft limit."""
    settled: bool = False
    """Its outcome is known although its code may still run; what that gives is ignored."""
    handle: asyncio.Task[None] | None = None
    """The asyncio task, for what runs on the loop."""
    code: Coroutine[Any, Any, object] | None = None
    """The task's own coroutine, from which its stack is read."""
    seat: Seat | None = None
    """The thread, for what runs in one; None until it began."""
    own: Transaction | None = None
    """Its own transaction, once its code has entered one; written where the code runs."""

    @property
    def deadline_us(self) -> int | None:
        """The instant of the hard limit, microseconds since the epoch."""
        if not self.hard_at:
            return None
        return (time.time_ns() + self.hard_at - time.monotonic_ns()) // 1000

    @property
    def cancelled(self) -> bool:
        """Whether the worker has asked this attempt to end."""
        return self.reason is not None

    @property
    def cut_off(self) -> bool:
        """Whether the worker can no longer reach the store."""
        return self.surroundings.cut_off

    @property
    def may_wait(self) -> bool:
        """Whether a slot is left for a job that this one waits for."""
        return self.surroundings.may_wait()

    def report(self, progress: bytes) -> None:
        """Hand a progress report to the worker."""
        self.surroundings.report(self, progress)

    def say(self, level: str, text: str) -> None:
        """Hand a log line to the worker."""
        self.surroundings.say(self, level, text)

    def transaction(self, connection: object) -> TransactionBlock[Any]:
        """Make the block in which the task writes its own tables."""
        transactions = self.surroundings.transactions
        assert transactions is not None, "a worker has transactions"
        return transactions.of(self, connection)

    def job(self) -> Job[Any]:
        """Make a snapshot of the job as it was claimed."""
        claim = self.claim
        record = JobRecord(
            id=claim.id,
            task=claim.task,
            queue=claim.queue,
            state=JobState.RUNNING,
            priority=claim.priority,
            attempt=claim.attempt,
            claim=claim.number,
            args=claim.args,
            created_at=claim.created_at,
            run_at=claim.run_at,
            as_of=claim.started_at,
            attempts_max=claim.attempts_max,
            forgiven=claim.forgiven,
            crashes=claim.crashes,
            policy=claim.policy,
            started_at=claim.started_at,
            expires_at=claim.expires_at,
            tags=claim.tags,
            meta=claim.meta,
            tenant=claim.tenant,
        )
        return self.surroundings.job_of(record)

    def ran(self) -> int:
        """Count the microseconds since the code began; 0 when it has not."""
        return (time.monotonic_ns() - self.started) // 1000 if self.started else 0
