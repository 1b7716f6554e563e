"""The oracle: the store contract as a dictionary of jobs, in plain Python.

It knows states, attempts, order, fences and retention, and nothing of files, locks or
statements. It is slow and obvious on purpose: when it and a store differ, one of them has
misread `treadle.store.contract`. Where the contract leaves a choice (how far a number
rises, when a late job is found late), `tests.model.lockstep` asks the store and goes on
with its answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from treadle.core.durations import DAY, HOUR
from treadle.core.job import TERMINAL, WAITING, JobState, NewJob
from treadle.core.lanes import Demand
from treadle.core.outcome import Settlement, Verdict

KEEP_ENDED = 30 * DAY


@dataclass
class Row:
    """One job as the oracle sees it."""

    job: NewJob
    state: JobState
    created_at: int
    run_at: int
    expires_at: int | None
    attempt: int = 0
    forgiven: int = 0
    crashes: int = 0
    number: int = 0
    """The lowest that the claim number may be; a store may raise it by more than one."""
    worker: str | None = None
    reason: str | None = None
    result: bytes | None = None
    keep_until: int | None = None

    def is_late(self, now: int) -> bool:
        """Tell whether the job's time to be started is over."""
        return self.expires_at is not None and self.expires_at <= now

    def end(self, state: JobState, now: int, keep: int = KEEP_ENDED) -> None:
        """Bring the job to its end."""
        self.state = state
        self.worker = None
        self.keep_until = max(now + keep, self.created_at + HOUR)


@dataclass
class Oracle:
    """All jobs of one namespace."""

    rows: dict[bytes, Row] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    enqueued: int = 0
    deleted: int = 0

    def enqueue(self, jobs: Sequence[NewJob], now: int) -> list[JobState]:
        """Add jobs; give their first states."""
        states = []
        for job in jobs:
            run_at = now + job.delay if job.at is None else job.at
            expires_at = None if job.expires_in is None else now + job.expires_in
            state = JobState.SCHEDULED if run_at > now else JobState.READY
            self.rows[job.id] = Row(job, state, now, run_at, expires_at)
            self.enqueued += 1
            states.append(state)
        return states

    def settle(self, settlements: Sequence[Settlement], now: int) -> list[Verdict]:
        """Apply each settlement whose claim still runs."""
        return [self._settle_one(settlement, now) for settlement in settlements]

    def _settle_one(self, settlement: Settlement, now: int) -> Verdict:
        row = self.rows.get(settlement.id)
        running = row is not None and row.state is JobState.RUNNING
        if row is None or not running or row.number != settlement.number:
            return Verdict.LOST
        row.attempt, row.reason, row.worker = settlement.attempt, settlement.reason, None
        row.forgiven, row.crashes = settlement.forgiven, settlement.crashes
        row.result = settlement.result
        if settlement.state in TERMINAL:
            row.end(settlement.state, now, settlement.keep)
        else:
            # A job that waits for no time at all needs nobody to make it ready.
            row.state = settlement.state if settlement.delay else JobState.READY
            row.run_at = now + settlement.delay
        return Verdict.APPLIED

    def claimable(self, demand: Demand, now: int) -> list[bytes]:
        """Give what a claim takes, in order, when no late job is in its way."""
        chosen: list[bytes] = []
        for share in demand.shares:
            fitting = [row for row in self.ready(share.queue) if row.job.id not in chosen]
            room = min(share.limit, demand.total - len(chosen))
            chosen += [row.job.id for row in fitting if not row.is_late(now)][:room]
        return chosen

    def ready(self, queue: str | None) -> list[Row]:
        """Give the ready jobs of a queue, or of all that are not paused, best first."""
        fitting = [
            row
            for row in self.rows.values()
            if row.state is JobState.READY
            and row.job.queue not in self.paused
            and queue in {None, row.job.queue}
        ]
        return sorted(fitting, key=lambda row: (-row.job.priority, row.job.id))

    def claim(self, job: bytes, number: int, worker: str) -> None:
        """Give a job to a worker under this number."""
        row = self.rows[job]
        row.state, row.worker, row.number = JobState.RUNNING, worker, number
        row.attempt += 1
        row.reason = None

    def running(self, worker: str) -> list[Row]:
        """Give what a worker holds."""
        return [row for row in self.rows.values() if row.worker == worker]

    def give_back(self, rows: Iterable[Row]) -> int:
        """Make claims ready again, unspent; say how many."""
        count = 0
        for row in rows:
            row.state, row.worker = JobState.READY, None
            row.attempt -= 1
            row.number += 1
            count += 1
        return count

    def stage(self, tasks: Sequence[str], now: int) -> None:
        """Expire what is late, then make ready what is due or whose task is known."""
        for row in self.rows.values():
            if row.state in WAITING and row.is_late(now):
                row.end(JobState.EXPIRED, now)
            parked = row.state is JobState.SCHEDULED and row.reason == "unknown_task"
            due = row.state in {JobState.SCHEDULED, JobState.RETRYING} and row.run_at <= now
            if due or (parked and row.job.task in tasks):
                row.state, row.reason = JobState.READY, None

    def cancel(self, job: bytes, now: int) -> bool:
        """Cancel a job that has not ended."""
        row = self.rows.get(job)
        if row is None or row.state in TERMINAL:
            return False
        row.number += row.state is JobState.RUNNING
        row.end(JobState.CANCELLED, now)
        row.reason = None
        return True

    def retry(self, job: bytes, now: int) -> bool:
        """Make an ended or waiting job ready with all its attempts before it."""
        row = self.rows.get(job)
        if row is None or row.state in {JobState.SUCCEEDED, JobState.RUNNING}:
            return False
        row.state, row.reason, row.keep_until = JobState.READY, None, None
        row.forgiven, row.crashes = row.attempt, 0
        row.run_at = now
        if row.is_late(now):
            row.expires_at = None
        return True

    def discard(self, job: bytes) -> bool:
        """Delete an ended job."""
        row = self.rows.get(job)
        if row is None or row.state not in TERMINAL:
            return False
        del self.rows[job]
        self.deleted += 1
        return True

    def purge(self, queue: str, now: int) -> int:
        """Cancel all that waits in a queue."""
        waiting = [r.job.id for r in self.rows.values() if r.job.queue == queue]
        waiting = [job for job in waiting if self.rows[job].state in WAITING]
        return sum(self.cancel(job, now) for job in waiting)

    def prune(self, now: int) -> int:
        """Delete every record whose time is over."""
        over = [
            job
            for job, row in self.rows.items()
            if row.keep_until is not None and row.keep_until <= now
        ]
        for job in over:
            del self.rows[job]
        self.deleted += len(over)
        return len(over)
