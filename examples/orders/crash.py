"""Killing a worker in the middle of its work, and proving what became of its jobs.

The proof is read from the store. The worker is first frozen (SIGSTOP), so that what the store
says of it cannot change between the look and the SIGKILL; then its running jobs are listed,
then it dies. What it was doing is found again in the second attempts of those very jobs.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from examples.orders.children import Children
from examples.orders.screen import Counts, Screen, ended
from treadle import Job, Treadle

RUNNING_MIN: Final = 10
"""How many of its jobs must run when a worker is killed."""
AT_WORK: Final = timedelta(seconds=0.15)


@dataclass(frozen=True, slots=True)
class Killed:
    """A worker that was killed, and the jobs that it ran at that moment."""

    name: str
    worker: str
    """Its id in the store."""
    pid: int
    jobs: Sequence[Job[Any]]

    def show(self, screen: Screen) -> None:
        """Say what has been done."""
        screen.say(
            f"{self.name} (process {self.pid}) was killed with SIGKILL; "
            f"by the store, {len(self.jobs)} jobs were running in it at that moment."
        )


class Killer:
    """Waits for the moment and kills."""

    def __init__(self, app: Treadle, children: Children, *, after: int) -> None:
        """Take how many mails must have been dealt with before."""
        self._app = app
        self._children = children
        self._after = after
        self.killed: Killed | None = None

    def try_now(self, counts: Counts) -> bool:
        """Kill a worker if it runs enough jobs; tell whether it was done."""
        if ended(counts, "mail") < self._after:
            return False
        running = Counter(job.worker for job in self._running() if _is_at_work(job))
        worker, count = running.most_common(1)[0] if running else (None, 0)
        if worker is not None and count >= RUNNING_MIN:
            self.killed = self._kill(worker)
        return self.killed is not None

    def _kill(self, worker: str) -> Killed | None:
        """Freeze the worker, list what it runs, kill it; let it go on when that is too little."""
        names = {child.pid: name for name, child in self._children.workers.items()}
        pid = next(state.pid for state in self._app.workers() if state.id == worker)
        os.kill(pid, signal.SIGSTOP)
        jobs = [job for job in self._running() if job.worker == worker]
        if sum(map(_is_at_work, jobs)) < RUNNING_MIN:
            os.kill(pid, signal.SIGCONT)
            return None
        self._children.kill_worker(names[pid])
        return Killed(names[pid], worker, pid, jobs)

    def _running(self) -> list[Job[Any]]:
        return list(self._app.jobs(state="running", limit=1_000))


def _is_at_work(job: Job[Any]) -> bool:
    """Tell whether a job is not only claimed but has begun.

    While jobs take milliseconds a worker claims more of them than it has slots for, for a moment.
    """
    return job.started_at is not None and job.as_of - job.started_at >= AT_WORK


@dataclass(frozen=True, slots=True)
class Comeback:
    """What became of one job of the killed worker."""

    job: str
    attempt: int
    """The attempt that the worker was at, mostly the first."""
    first_worker: str | None
    first: str
    second_worker: str | None
    second: str
    """How the attempt after that one ended; empty when there was none."""

    @classmethod
    def of(cls, job: Job[Any], worker: str) -> Comeback:
        """Read a job's attempts from the store."""
        attempts = {attempt.number: attempt for attempt in job.attempts()}
        first, second = attempts.get(job.attempt), attempts.get(job.attempt + 1)
        if first is None or (first.worker, first.outcome) != (worker, "lost"):
            # Claimed but not yet begun: it went back as if it had never been claimed.
            return cls(job.id, job.attempt, worker, "not begun", None, str(job.refresh().state))
        if second is None:
            return cls(job.id, job.attempt, worker, "lost", None, "")
        return cls(job.id, job.attempt, worker, "lost", second.worker, second.outcome)


def comebacks(killed: Killed) -> list[Comeback]:
    """Read what became of the killed worker's jobs."""
    return [Comeback.of(job, killed.worker) for job in killed.jobs]


def show_comebacks(found: Sequence[Comeback], names: Mapping[str, str], screen: Screen) -> None:
    """Print the jobs with their first and second attempts."""
    rows = [
        (
            back.job,
            f"attempt {back.attempt}, {names.get(back.first_worker or '', '-')}",
            back.first,
            f"attempt {back.attempt + 1}, {names.get(back.second_worker or '', '-')}",
            back.second or "missing",
        )
        for back in found
    ]
    screen.table(("job", "killed in", "", "came back in", ""), rows)


def problems(found: Sequence[Comeback]) -> list[str]:
    """Say what is missing from the proof; nothing when it is complete."""
    said = [f"job {back.job} has no second attempt" for back in found if not back.second]
    begun = sum(back.first == "lost" for back in found)
    if begun < RUNNING_MIN:
        said.append(f"only {begun} of the killed worker's jobs had begun, not {RUNNING_MIN}")
    return said
