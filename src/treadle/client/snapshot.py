"""What is shown of a job: its record as attributes, read at one instant.

A light snapshot, as an enqueue returns it, knows the id, task, queue and state and loads
the rest once when it is asked for. What can be done with a job is in `treadle.job`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, overload

from msgspec import json

from treadle.client.views import optional_datetime, read_progress
from treadle.core.durations import as_datetime, utc_text
from treadle.core.errors import BadArguments, JobNotFound, PayloadError
from treadle.core.ids import id_text
from treadle.core.job import JobRecord, JobState
from treadle.core.payload.codec import CallSpec

if TYPE_CHECKING:
    from typing import Self

    from treadle.client.link import Link
    from treadle.core.settings import Settings
    from treadle.definition import Definition
    from treadle.store.outbox.table import Outbox

T = TypeVar("T")
R = TypeVar("R")

_PLAIN: Final = CallSpec.anything("a job")


class Home(Protocol):
    """The application, as its tasks and jobs need it."""

    settings: Settings
    outbox: Outbox | None
    """Where jobs are written that go with a transaction of a database other than the store's."""

    @property
    @abstractmethod
    def link(self) -> Link:
        """The open store, opened on first use."""
        ...

    @abstractmethod
    async def alink(self) -> Link:
        """The same without blocking the event loop."""
        ...

    @abstractmethod
    def definition(self, name: str) -> Definition | None:
        """Find a task by its name or a former one; None when its code is not here."""
        ...


class Shown(Generic[T]):
    """An attribute that is read from the job's record, which is loaded when it is missing."""

    def __init__(self, read: Callable[[JobRecord], T]) -> None:
        self._read = read

    @overload
    def __get__(self, job: None, owner: type) -> Self: ...
    @overload
    def __get__(self, job: Snapshot[Any], owner: type) -> T: ...
    def __get__(self, job: Snapshot[Any] | None, owner: type) -> T | Self:
        """Read the value; on the class itself give the descriptor."""
        return self if job is None else self._read(job.record())


class Snapshot(Generic[R]):
    """A job as it was at one instant; every instant is an aware datetime in UTC."""

    __slots__ = ("_home", "_id", "_queue", "_record", "_state", "_task")

    def __init__(
        self,
        home: Home,
        id_: bytes,
        task: str,
        queue: str,
        state: JobState,
        record: JobRecord | None = None,
    ) -> None:
        self._home = home
        self._id = id_
        self._task = task
        self._queue = queue
        self._state = state
        self._record = record

    @property
    def id(self) -> str:
        """The job's id, a UUID as text."""
        return id_text(self._id)

    @property
    def task(self) -> str:
        """The task's name."""
        return self._task

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self._queue

    @property
    def state(self) -> JobState:
        """The state as of this snapshot."""
        return self._state

    @property
    def is_terminal(self) -> bool:
        """Whether the job had ended as of this snapshot."""
        return self._state.is_terminal

    @property
    def attempts_max(self) -> int:
        """How many attempts it has in all; by the settings when its caller did not know."""
        stored = self.record().attempts_max
        return self._home.settings.attempts if stored is None else stored

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments; plain JSON values when the task's code is not here."""
        return self._call()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments; plain JSON values when the task's code is not here."""
        return self._call()[1]

    priority = Shown(lambda record: record.priority)
    """From -100 to 100; higher goes first."""
    attempt = Shown(lambda record: record.attempt)
    """Attempts begun so far."""
    created_at = Shown(lambda record: as_datetime(record.created_at))
    run_at = Shown(lambda record: as_datetime(record.run_at))
    """Before which it does not start."""
    started_at = Shown(lambda record: optional_datetime(record.started_at))
    """When its last attempt began."""
    finished_at = Shown(lambda record: optional_datetime(record.finished_at))
    expires_at = Shown(lambda record: optional_datetime(record.expires_at))
    error = Shown(lambda record: record.error_info())
    """What its last failed attempt died of."""
    reason = Shown(lambda record: record.reason)
    """Why it waits or ended, in a word or as its task said it."""
    gate = Shown(lambda record: record.gate if record.state is JobState.BLOCKED else None)
    """The gate that it is parked at, if it is."""
    key = Shown(lambda record: record.key)
    """The key it was enqueued with, as the store knows it; `explain` says who holds it."""
    tenant = Shown(lambda record: record.tenant)
    """To whom it belongs, in fairness; None: to nobody."""
    worker = Shown(lambda record: record.worker)
    tags = Shown(lambda record: _read_tags(record.tags))
    meta = Shown(lambda record: _read_meta(record.meta))
    schedule = Shown(lambda record: _read_origin(record.meta)[0])
    """The name of the schedule that made it; None for a job of another origin."""
    tick = Shown(lambda record: _read_origin(record.meta)[1])
    """For which tick of that schedule it was made."""
    progress = Shown(lambda record: read_progress(record.progress))
    as_of = Shown(lambda record: as_datetime(record.as_of))
    """The instant of this snapshot, by the store's clock."""

    def record(self) -> JobRecord:
        """Give the stored record, reading it on this thread when this snapshot is light.

        Raises:
            JobNotFound: the job is not stored, or no longer.
        """
        if self._record is None:
            return self._take(self._home.link.store.get_now((self._id,))[0])
        return self._record

    def _take(self, record: JobRecord | None) -> JobRecord:
        """Become a snapshot of this record."""
        if record is None:
            raise JobNotFound(self.id)
        self._record = record
        self._state = record.state
        self._queue = record.queue
        return record

    def _call(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        record = self.record()
        definition = self._home.definition(self._task)
        if definition is not None:
            try:
                return definition.spec.decode(record.args)
            except (BadArguments, PayloadError):
                # The code has changed since; what is stored is still worth showing.
                return _PLAIN.decode(record.args)
        return _PLAIN.decode(record.args)

    def __repr__(self) -> str:
        if self._record is None:
            # The first 48 bits of the id are the milliseconds of its making (RFC 9562).
            at = int.from_bytes(self._id[:6], "big") * 1000
        else:
            at = self._record.as_of
        return f"<Job {self.id} {self._task} {self._state} as of {utc_text(at)}>"


def _read_tags(raw: bytes | None) -> tuple[str, ...]:
    """Read stored tags; bytes that are none (a row changed by hand) are shown as one."""
    try:
        return () if raw is None else json.decode(raw, type=tuple[str, ...])
    except ValueError:
        return (f"unreadable: {raw!r}",)


def _read_origin(raw: bytes | None) -> tuple[str | None, datetime | None]:
    """Read which schedule and tick a job is of; meta that only looks so is left alone."""
    meta = _read_meta(raw)
    name, tick = meta.get("schedule"), meta.get("tick")
    if not (isinstance(name, str) and isinstance(tick, str)):
        return None, None
    try:
        return name, datetime.fromisoformat(tick)
    except ValueError:
        return None, None


def _read_meta(raw: bytes | None) -> dict[str, Any]:
    """Read stored meta; bytes that are none are shown under one key."""
    try:
        return {} if raw is None else json.decode(raw, type=dict[str, Any])
    except ValueError:
        return {"unreadable": repr(raw)}
