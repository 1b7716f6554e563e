"""A job in the hands of a user: look at it, wait for it, cancel it, run it again.

A `Job` is a snapshot (see `client.snapshot`); each method that asks the store has an async
twin with the prefix a, and `await_` is the twin of `wait`. What becomes of a job is decided
in `core.decide`; here it is only read.
"""

from __future__ import annotations

from asyncio import _get_running_loop  # Documented; get_running_loop would cost an exception.
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Self, TypeVar

from msgspec import json

from treadle.client.explain import explain
from treadle.client.snapshot import Home, Snapshot
from treadle.client.views import AttemptInfo, LogLine
from treadle.context import running_carrier
from treadle.core.durations import SECOND, Duration, to_us
from treadle.core.errors import (
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    PayloadError,
    ResultExpired,
    ResultTimeout,
)
from treadle.core.gates.gate import TASK
from treadle.core.ids import id_bytes, id_text
from treadle.core.job import ErrorInfo, JobRecord, JobState
from treadle.store.contract import Filter

R = TypeVar("R")
T = TypeVar("T")

PAGE_MAX: Final = 1_000
"""Jobs of one page of `app.jobs`."""


class Job(Snapshot[R]):
    """One call of a task, as it was at one instant; `refresh` looks again.

    `R` is what the task returns.
    """

    __slots__ = ()

    is_duplicate = False
    """Whether this enqueue stored no job of its own, because another one held the key."""

    @classmethod
    def of_record(cls, home: Home, record: JobRecord) -> Job[Any]:
        """Make a snapshot of a stored record."""
        return Job(home, record.id, record.task, record.queue, record.state, record)

    def refresh(self) -> Self:
        """Read the job again, on this thread; return it.

        Raises:
            JobNotFound: it is not stored, or no longer.
        """
        self._take(self._home.link.store.get_now((self._id,))[0])
        return self

    async def arefresh(self) -> Self:
        """Do the same as `refresh` without blocking the event loop."""
        store = (await self._home.alink()).store
        self._take((await store.get((self._id,)))[0])
        return self

    def result(self, timeout: Duration = 60) -> R:
        """Wait for the job's end and give what its task returned.

        The value is decoded by the task's return annotation; it is plain JSON when the task's
        code is not here. `timeout` is seconds or a timedelta.

        Raises:
            JobFailed, JobCancelled, JobExpired: it ended without a result.
            ResultExpired: it succeeded, but its result is not kept.
            ResultTimeout: it has not ended in time; it goes on.
            JobNotFound: it is not stored, or no longer.
            RuntimeError: waiting here would block the event loop, or the last slot.
        """
        self.wait(timeout)
        return self._outcome(timeout)

    async def aresult(self, timeout: Duration = 60) -> R:
        """Do the same as `result` without blocking the event loop."""
        await self.await_(timeout)
        return self._outcome(timeout)

    def wait(self, timeout: Duration = 60) -> bool:
        """Wait for the job's end; False when `timeout` has passed before. Looks again.

        Raises:
            JobNotFound: it is not stored, or no longer.
            RuntimeError: waiting here would block the event loop, or the last slot.
        """
        seconds = to_us(timeout, "timeout") / SECOND
        refuse_blocking(self)
        if not self.refresh().is_terminal:
            _refuse_last_slot(self)
            self._home.link.ended(self._id, seconds)
            self.refresh()
        return self.is_terminal

    async def await_(self, timeout: Duration = 60) -> bool:
        """Do the same as `wait` without blocking the event loop."""
        seconds = to_us(timeout, "timeout") / SECOND
        if not (await self.arefresh()).is_terminal:
            _refuse_last_slot(self)
            await (await self._home.alink()).aended(self._id, seconds)
            await self.arefresh()
        return self.is_terminal

    def cancel(self) -> bool:
        """Cancel the job unless it has ended; True where this call did it. Looks again.

        What runs is told within a second or so; what it still returns is not kept.
        """
        return self._run(self.acancel())

    async def acancel(self) -> bool:
        """Do the same as `cancel` without blocking the event loop."""
        store = (await self._home.alink()).store
        done = (await store.cancel((self._id,)))[0]
        await self.arefresh()
        return done

    def retry(self) -> bool:
        """Make the job ready now, with all its attempts before it; True where this call did it.

        Succeeded and running jobs are left alone, and ended ones whose key another job holds by
        now. Looks again.
        """
        return self._run(self.aretry())

    async def aretry(self) -> bool:
        """Do the same as `retry` without blocking the event loop."""
        store = (await self._home.alink()).store
        done = (await store.retry((self._id,)))[0]
        await self.arefresh()
        return done

    def explain(self) -> str:
        """Tell in plain text what state the job is in, why, and what happens next."""
        return self._run(self.aexplain())

    async def aexplain(self) -> str:
        """Do the same as `explain` without blocking the event loop."""
        link = await self._home.alink()
        await self.arefresh()
        record = self.record()
        key = None if record.key is None else (await link.store.keys((record.key,)))[0]
        ready = f"{TASK}{record.task}" if record.state is JobState.READY else None
        gate = record.gate or ready
        found = [] if gate is None else await link.store.gates(only=gate, limit=1)
        attempts = await link.store.attempts(self._id)
        return explain(record, attempts, link.settings, key, found[0] if found else None)

    def logs(self) -> list[LogLine]:
        """Give the lines that its task logged, oldest first."""
        return self._run(self.alogs())

    async def alogs(self) -> list[LogLine]:
        """Do the same as `logs` without blocking the event loop."""
        store = (await self._home.alink()).store
        return [LogLine.of(row) for row in await store.logs(self._id)]

    def attempts(self) -> list[AttemptInfo]:
        """Give the job's attempts, oldest first, the current one included."""
        return self._run(self.aattempts())

    async def aattempts(self) -> list[AttemptInfo]:
        """Do the same as `attempts` without blocking the event loop."""
        store = (await self._home.alink()).store
        return [AttemptInfo.of(record) for record in await store.attempts(self._id)]

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._home.link.run(coroutine)

    def _outcome(self, timeout: Duration) -> R:
        """Read the result from this snapshot, or raise what there is instead of one."""
        record = self.record()
        match record.state:
            case JobState.SUCCEEDED if record.result is not None:
                return self._decoded(record.result)
            case JobState.SUCCEEDED:
                raise ResultExpired(self)
            case JobState.FAILED:
                raise JobFailed(self, record.error_info())
            case JobState.CANCELLED:
                # The store's own word says no more than the state does.
                told = record.reason not in (None, "cancelled")
                said = ErrorInfo("Cancel", record.reason or "") if told else None
                raise JobCancelled(self, said)
            case JobState.EXPIRED:
                raise JobExpired(self)
            case state:
                raise ResultTimeout(self.id, to_us(timeout, "timeout") / SECOND, state)

    def _decoded(self, raw: bytes) -> R:
        definition = self._home.definition(self._task)
        if definition is not None:
            value: R = definition.results.decode(raw)
            return value
        try:
            plain: R = json.decode(raw)
        except ValueError as error:
            raise PayloadError(f"the result of job {self.id} is not JSON: {error}") from error
        return plain


class JobPage(list[Job[Any]]):
    """Some jobs, newest first; `cursor` asks for the page after, None when there is none."""

    __slots__ = ("cursor",)

    def __init__(self, jobs: Sequence[Job[Any]], cursor: str | None) -> None:
        super().__init__(jobs)
        self.cursor = cursor


async def read_page(home: Home, which: Filter, limit: int, cursor: str | None) -> JobPage:
    """Read a page of jobs.

    Raises:
        ValueError: `limit` is not from 1 to 1,000, or `cursor` is none.
    """
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"limit must be from 1 to {PAGE_MAX:,}, not {limit}; page on with cursor=")
    before = None if cursor is None else id_bytes(cursor)
    store = (await home.alink()).store
    records = await store.find(which, limit=limit, before=before)
    further = id_text(records[-1].id) if len(records) == limit else None
    return JobPage([Job.of_record(home, record) for record in records], further)


def read_job(home: Home, job_id: str) -> Job[Any]:
    """Read one job, on this thread.

    Raises:
        JobNotFound: no job has this id.
        ValueError: the text is not an id.
    """
    return _found(home, job_id, home.link.store.get_now((id_bytes(job_id),))[0])


async def aread_job(home: Home, job_id: str) -> Job[Any]:
    """Do the same without blocking the event loop."""
    store = (await home.alink()).store
    return _found(home, job_id, (await store.get((id_bytes(job_id),)))[0])


def _found(home: Home, job_id: str, record: JobRecord | None) -> Job[Any]:
    if record is None:
        raise JobNotFound(job_id)
    return Job.of_record(home, record)


def refuse_blocking(job: Job[Any]) -> None:
    """Refuse a sync wait in an async task: it would stop every job of the worker's loop.

    Raises:
        RuntimeError: a worker's event loop runs here.
    """
    if running_carrier() is not None and _get_running_loop() is not None:
        raise RuntimeError(
            f"waiting for job {job.id} here would block the worker's event loop and every job "
            "on it; in an async task write `await job.aresult()`"
        )


def _refuse_last_slot(job: Job[Any]) -> None:
    """Refuse to wait in the worker's last slot: the job that is waited for may need it."""
    carrier = running_carrier()
    if carrier is not None and not carrier.may_wait:
        raise RuntimeError(
            f"this task would wait for job {job.id} in the worker's last free slot, perhaps for "
            "ever; let a chain or a flow pass the result on, or give the worker more slots"
        )
