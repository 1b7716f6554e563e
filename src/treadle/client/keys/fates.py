"""What does an enqueue give when another job holds the key?

The store says whom a new job met; here that becomes a job to hold on to, or an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from treadle.core.errors import DuplicateJob
from treadle.core.ids import id_text
from treadle.core.job import JobRecord, JobState, Met, NewJob
from treadle.core.keys.key import Conflict
from treadle.job import Job

if TYPE_CHECKING:
    from treadle.client.snapshot import Home

R = TypeVar("R")


class MetJob(Job[R]):
    """The job that held the key: what this call would have enqueued is its."""

    __slots__ = ()
    is_duplicate = True


class SkippedJob(Job[R]):
    """A job that was not stored, because its task says to skip it. It never changes."""

    __slots__ = ()
    is_duplicate = True

    def refresh(self) -> Self:
        """Give the same again: there is nothing to read."""
        return self

    async def arefresh(self) -> Self:
        """Do the same."""
        return self


def job_met(home: Home, new: NewJob, met: Met) -> Job[Any]:
    """Give the job that a call has come to whose key was held.

    Raises:
        DuplicateJob: the task says so, or the key belongs to a call of something else.
    """
    if met.how == "refused":
        raise DuplicateJob(id_text(met.job), _refusal(new, met))
    if new.key is not None and new.key.conflict is Conflict.SKIP:
        said = f"skipped: job {id_text(met.job)} holds the key {plain_name(new)!r}"
        at = int.from_bytes(new.id[:6], "big") * 1000
        record = JobRecord(
            new.id, new.task, new.queue, JobState.CANCELLED, new.priority, 0, 0, new.args, at, at,
            at, reason=said, finished_at=at, tags=new.tags, meta=new.meta,
        )  # fmt: skip
        return SkippedJob(home, new.id, new.task, new.queue, JobState.CANCELLED, record)
    return MetJob(home, met.job, new.task, new.queue, met.state)


def plain_name(new: NewJob) -> str:
    """Give the key of a job as its user knows it, without the scope before it."""
    name = "" if new.key is None else new.key.name
    return name.removeprefix(f"unique:{new.task}:").removeprefix("idempotency:")


def _refusal(new: NewJob, met: Met) -> str:
    if new.key is not None and new.key.hash is not None:
        return (
            f"it was enqueued with the idempotency key {plain_name(new)!r} and another task "
            "or other arguments; a key stands for one call, so give this call a key of its own"
        )
    return (
        f"it is {met.state} and holds the key {plain_name(new)!r} of {new.task}; wait for its end, "
        "cancel it, or choose another on_conflict"
    )
