"""The error tree: every error that treadle raises on purpose.

    TreadleError
    ├─ SettingsError            a setting is wrong; names every problem at once
    ├─ TaskError                about a task's definition or call
    │  ├─ UnknownTask           no task of that name is registered here
    │  ├─ DuplicateTask         two functions claim one task name
    │  ├─ BadTaskSignature      a task's annotations cannot carry jobs
    │  └─ BadArguments          arguments do not fit the task's signature (also a TypeError)
    ├─ PayloadError             stored bytes that cannot be read or written
    │  ├─ NotSerializable       a value that JSON cannot carry (also a TypeError)
    │  └─ PayloadTooLarge       a payload over its limit (also a ValueError)
    ├─ ScheduleError            about a schedule or its trigger
    │  ├─ BadTrigger            a trigger that cannot be read or is never due (also a ValueError)
    │  ├─ DuplicateSchedule     two schedules claim one name
    │  └─ ScheduleNotFound      no schedule has that name (also a LookupError)
    ├─ StoreError               about the store
    │  ├─ StoreUnavailable      the store cannot answer now; the same call may go through later
    │  │  └─ StoreDamaged       what is stored is damaged; waiting does not mend it
    │  └─ SchemaMismatch        the store's schema is of another version; do not send again
    ├─ LockError                about a lock of `app.lock`
    │  ├─ LockTimeout           somebody else held it all the time (also a TimeoutError)
    │  └─ LockLost              it is not, or no longer, held by who uses it
    └─ JobError                 for those who hold a job or wait for its result
       ├─ JobNotFound           no job has that id (also a LookupError)
       ├─ JobFailed             the job is a dead letter; carries `.job` and `.error`
       ├─ JobCancelled          the job was cancelled
       ├─ JobExpired            the job was not started in time
       ├─ ResultExpired         the job succeeded, but its result is no longer kept
       ├─ ResultTimeout         the job has not ended in time (also a TimeoutError)
       └─ DuplicateJob          another job holds the same id or key

Signals that a task raises to steer its job are not errors: see `core.signals`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from treadle.core.job import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Sequence


class EndedJob(Protocol):
    """What an error says of the job that ended; `treadle.Job` has it."""

    @property
    def id(self) -> str:
        """The job's id."""
        ...

    @property
    def task(self) -> str:
        """The task's name."""
        ...


class TreadleError(Exception):
    """The root of every error that treadle raises on purpose."""


class SettingsError(TreadleError):
    """One or more settings are wrong.

    `problems` holds one sentence a problem, so that one start shows all of them.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class TaskError(TreadleError):
    """Something is wrong with a task's definition or with a call of it."""


class UnknownTask(TaskError):  # noqa: N818 -- pinned public name
    """No task of this name is registered in this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"no task is registered under the name {name!r}; "
            "import the module that defines it, or correct the name"
        )


class DuplicateTask(TaskError):  # noqa: N818 -- pinned public name
    """Two functions were registered under one task name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        super().__init__(
            f"the task name {name!r} is taken by {first}; {second} cannot have it too: "
            "give one of them another name=..."
        )


class BadTaskSignature(TaskError):  # noqa: N818 -- reads as the fact it reports
    """A function cannot be a task as it is annotated or defined."""

    def __init__(self, task: str, reason: str) -> None:
        self.task = task
        self.reason = reason
        super().__init__(f"{task} cannot be a task: {reason}")


class BadArguments(TaskError, TypeError):  # noqa: N818 -- pinned public name
    """The arguments of a call do not fit the task's signature."""

    def __init__(self, task: str, reason: str) -> None:
        self.task = task
        self.reason = reason
        super().__init__(f"bad arguments for {task}: {reason}")


class PayloadError(TreadleError):
    """Stored bytes cannot be read back, or a value cannot be written as bytes."""


class NotSerializable(PayloadError, TypeError):  # noqa: N818 -- pinned public name
    """A value cannot be carried by JSON; `where` is the path to it."""

    def __init__(self, where: str, value_type: str, reason: str) -> None:
        self.where = where
        self.value_type = value_type
        self.reason = reason
        super().__init__(f"{where} ({value_type}) cannot be stored: {reason}")


class PayloadTooLarge(PayloadError, ValueError):  # noqa: N818 -- pinned public name
    """A payload is larger than its limit (both in bytes)."""

    def __init__(self, where: str, size: int, limit: int) -> None:
        self.where = where
        self.size = size
        self.limit = limit
        super().__init__(
            f"{where} take {size:,} bytes, more than the limit of {limit:,}; "
            "keep the data in a file, a database or an object store and pass its id"
        )


class ScheduleError(TreadleError):
    """Something is wrong with a schedule or its trigger."""


class BadTrigger(ScheduleError, ValueError):  # noqa: N818 -- reads as the fact it reports
    """A trigger cannot be read, or is never due; the message shows where."""


class DuplicateSchedule(ScheduleError):  # noqa: N818 -- as DuplicateTask
    """Two schedules claim one name."""

    def __init__(self, name: str, advice: str) -> None:
        self.name = name
        super().__init__(f"there is a schedule {name!r} already; {advice}")


class ScheduleNotFound(ScheduleError, LookupError):  # noqa: N818 -- as JobNotFound
    """No schedule has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"no schedule is called {name!r}; `treadle schedules ls` lists them, and those "
            "declared in code are stored when a worker starts"
        )


class StoreError(TreadleError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 -- pinned public name
    """The store cannot answer now; the same call may be sent again.

    `passing` tells a state that may end by itself (a server that is away, starts or recovers) from
    one that somebody has to mend (a wrong password): a worker that starts waits for the first.
    """

    def __init__(self, *said: object, passing: bool = False) -> None:
        self.passing = passing
        super().__init__(*said)


class StoreDamaged(StoreUnavailable):
    """What the store holds is damaged: calls that meet the damage fail until somebody mends it.

    Nothing was written by the call that met it. Calls that do not may go through.
    """


class SchemaMismatch(StoreError):  # noqa: N818 -- pinned public name
    """The store's schema is of a version that this library cannot use."""


class LockError(TreadleError):
    """A lock could not be used."""


class LockTimeout(LockError, TimeoutError):  # noqa: N818 -- as `ResultTimeout`
    """Somebody else held the lock for as long as it was waited for."""

    def __init__(self, name: str, timeout: float, left: float) -> None:
        self.name = name
        self.timeout = timeout
        super().__init__(
            f"the lock {name!r} was not to be had within {timeout:g} s: somebody holds it, for "
            f"{left:.1f} s more unless it is prolonged; wait longer with timeout="
        )


class LockLost(LockError):  # noqa: N818 -- reads as the fact it reports
    """A lock is not held, or no longer, by who wants to use or release it."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"the lock {name!r} is not held here: {reason}")


class LimitError(TreadleError):
    """A limit could not be passed or held outside a job."""


class UnknownLimit(LimitError, LookupError):  # noqa: N818 -- as `UnknownTask`
    """Nothing here says what the limit of this name is."""

    def __init__(self, name: str, known: str) -> None:
        self.name = name
        super().__init__(
            f"no task that is registered here has a limit named {name!r}; there are "
            f"{known or 'none'}: import the module that declares it, or say what it is: "
            f"app.limit({name!r}, Concurrency(...)) or app.limit({name!r}, RateLimit(...))"
        )


class LimitTimeout(LimitError, TimeoutError):  # noqa: N818 -- as `LockTimeout`
    """A limit had no room for as long as it was waited for."""

    def __init__(self, gate: str, timeout: float, wait: float | None) -> None:
        self.gate = gate
        self.timeout = timeout
        self.wait = wait
        """Seconds until a clock may let the next one through; None when none can tell."""
        when = "" if wait is None else f", and will have none for {wait:.1f} s"
        super().__init__(
            f"the limit {gate!r} had no room within {timeout:g} s{when}; wait longer with "
            "timeout=, and see `treadle gates ls` for who has it"
        )


class LimitLost(LimitError):  # noqa: N818 -- reads as the fact it reports
    """A place of a limit is not held, or no longer, by who wants to use or release it."""

    def __init__(self, gate: str, reason: str) -> None:
        self.gate = gate
        super().__init__(f"no place of the limit {gate!r} is held here: {reason}")


class JobError(TreadleError):
    """Raised to those who hold a job or wait for its result."""


class JobNotFound(JobError, LookupError):  # noqa: N818 -- pinned public name
    """No job has this id: it was never stored, or its record is no longer kept."""

    def __init__(self, job_id: str, why: str = "") -> None:
        self.job_id = job_id
        why = why or "it was never stored here, or its record was pruned"
        super().__init__(f"no job has the id {job_id}: {why}")


class _EndedOtherwise(JobError):  # noqa: N818 -- names a family, is never raised itself
    """A job that was waited for has ended, but not with a result."""

    verb = "ended"

    def __init__(self, job: EndedJob, error: ErrorInfo | None = None) -> None:
        self.job = job
        said = f": {error.type}: {error.message}" if error else ""
        super().__init__(f"job {job.id} ({job.task}) {self.verb}{said}")


class JobFailed(_EndedOtherwise):
    """The job is a dead letter; `.job` is its snapshot, `.error` what it died of."""

    verb = "failed"

    def __init__(self, job: EndedJob, error: ErrorInfo | None = None) -> None:
        self.error = error or ErrorInfo("UnknownError", "no error was recorded")
        super().__init__(job, self.error)


class JobCancelled(_EndedOtherwise):
    """The job was cancelled before it gave a result."""

    verb = "was cancelled"


class JobExpired(_EndedOtherwise):
    """The job was not started before its expiry."""

    verb = "expired before it was started"


class ResultExpired(_EndedOtherwise):
    """The job succeeded, but its result was not kept or is no longer kept."""

    verb = "succeeded, but its result is not kept"


class ResultTimeout(JobError, TimeoutError):  # noqa: N818 -- pinned public name
    """The job has not ended within the time given; it goes on."""

    def __init__(self, job_id: str, timeout: float, state: str) -> None:
        self.job_id = job_id
        self.timeout = timeout
        super().__init__(
            f"job {job_id} has not ended within {timeout:g} s (it is {state}); "
            "it goes on: wait again, or look at it with `treadle jobs show`"
        )


class DuplicateJob(JobError):  # noqa: N818 -- pinned public name
    """Another job holds the key; `job_id` is its id."""

    def __init__(self, job_id: str, reason: str) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} is already stored: {reason}")
