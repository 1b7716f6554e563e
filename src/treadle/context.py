"""What a running task knows of its own job, and how it speaks to its worker.

A `Context` reads from a `Carrier`, which the worker implements; it decides nothing. The
running job's context is found through a context variable, so it works in coroutines and
in threads. How the worker fills it in is told in `worker.execute`; what becomes of a
cancelled or cut-off job is decided in `core.decide`.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

from msgspec import json

from treadle.client.views import PROGRESS_TEXT_MAX, Progress
from treadle.core.durations import as_datetime
from treadle.core.ids import id_text

if TYPE_CHECKING:
    from treadle.core.job import Claim
    from treadle.job import Job

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)

LOG_LINE_MAX: Final = 4_096
"""Bytes of UTF-8 kept of one log line."""
LEVELS: Final = ("debug", "info", "warning", "error")


class TransactionBlock(Protocol[C_co]):
    """What `ctx.transaction()` gives: a block for `with` in sync tasks, `async with` in others."""

    def __enter__(self) -> C_co: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> C_co: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None: ...


class Carrier(Protocol):
    """What the worker keeps of a running attempt; `Context` is its public face."""

    @property
    def claim(self) -> Claim:
        """The claim under which the job runs."""
        ...

    @property
    def deadline_us(self) -> int | None:
        """The instant of the hard time limit, microseconds since the epoch."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the job has been cancelled while it runs."""
        ...

    @property
    def cut_off(self) -> bool:
        """Whether the worker can no longer reach the store and may lose its lease."""
        ...

    @property
    def may_wait(self) -> bool:
        """Whether a slot is left for another job, so that waiting for one cannot deadlock."""
        ...

    def report(self, progress: bytes) -> None:
        """Take a progress report; the last one of a short while is written."""
        ...

    def say(self, level: str, text: str) -> None:
        """Take a log line."""
        ...

    def job(self) -> Job[Any]:
        """Make a snapshot of the job from the claim."""
        ...

    def transaction(self, connection: object) -> TransactionBlock[Any]:
        """Make the block in which the task writes its own tables."""
        ...


class Context:
    """The running job, as its task sees it.

    Take it as a parameter `ctx: Context = treadle.context()`; the worker fills it in. Outside
    a job every member raises `RuntimeError`.
    """

    __slots__ = ("_own",)

    def __init__(self, carrier: Carrier | None = None) -> None:
        self._own = carrier

    @property
    def _carrier(self) -> Carrier:
        """Find the attempt to speak for; the default marker speaks for the running job.

        So a task that calls another task's function plainly hands its own context on.
        """
        if self._own is not None:
            return self._own
        carrier = current()._own  # noqa: SLF001 -- another instance of this class
        assert carrier is not None, "the worker publishes only contexts with a carrier"
        return carrier

    @property
    def job(self) -> Job[Any]:
        """The job as it was claimed."""
        return self._carrier.job()

    @property
    def attempt(self) -> int:
        """Which attempt this is, counted from 1."""
        return self._carrier.claim.attempt

    @property
    def idempotency_key(self) -> str:
        """A text that is the same for every attempt of this job and for no other job.

        Hand it to a service that refuses to do the same thing twice.
        """
        return id_text(self._carrier.claim.id)

    @property
    def deadline(self) -> datetime | None:
        """When the hard time limit ends this attempt (aware, UTC); None without a limit."""
        at = self._carrier.deadline_us
        return None if at is None else as_datetime(at)

    @property
    def tick(self) -> datetime | None:
        """For which tick of its schedule the job was made; None for a job of another origin.

        It is the instant at which the schedule was due, however late the job runs;
        `ctx.job.schedule` is the name of that schedule.
        """
        return self.job.tick

    @property
    def cancelled(self) -> bool:
        """Whether this job has been cancelled; a sync task should look now and then."""
        return self._carrier.cancelled

    @property
    def cut_off(self) -> bool:
        """Whether the worker cannot reach the store, so that another may take this job over."""
        return self._carrier.cut_off

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the job is; the message is cut after 500 characters.

        Raises:
            ValueError: a number is negative or not finite.
        """
        # A lone surrogate cannot be stored; a report must not fail the job that makes it.
        text = str(message)[:PROGRESS_TEXT_MAX].encode("utf-8", "backslashreplace").decode()
        report = Progress.of(done, total, text[:PROGRESS_TEXT_MAX])
        self._carrier.report(json.encode(report))

    def log(self, message: str, level: str = "info") -> None:
        """Keep a line with the job; it is cut after 4 KiB.

        Raises:
            ValueError: `level` is not debug, info, warning or error.
        """
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
        # A cut in the middle of a character leaves bytes that mean nothing: they are dropped.
        raw = str(message).encode("utf-8", "backslashreplace")[:LOG_LINE_MAX]
        self._carrier.say(level, raw.decode("utf-8", "ignore"))

    @overload
    def transaction(self) -> TransactionBlock[Any]: ...
    @overload
    def transaction(self, connection: C) -> TransactionBlock[C]: ...
    def transaction(self, connection: object = None) -> TransactionBlock[Any]:
        """Write to tables of your own in the store's database, together with the job's success.

        `with ctx.transaction() as db:` in a sync task, `async with` in an async one; `db` is a
        connection to the store's database. Leaving the block commits nothing: when the task's
        function returns, its writes and the job's success are committed as one, or neither is;
        when it raises, they are rolled back. An error that leaves the block rolls back at once.
        A task enters it at most once an attempt.

        On SQLite it keeps every other writer of the file out until the function returns, for at
        most `transaction_timeout` (5 s), after which the attempt has failed. Enter it last.

        Args:
            connection: a session or connection of your own to the store's database (see
                `Task.using`), which stays open until the function has returned; treadle commits
                it and does not close it.

        Raises:
            TypeError: it is no such connection.
            StoreError: the store has no transactions.
        """
        return self._carrier.transaction(connection)

    def __repr__(self) -> str:
        if self._own is None:
            return "<Context of the running job>"
        return f"<Context of job {self.idempotency_key}, attempt {self.attempt}>"


CURRENT: Final[ContextVar[Context]] = ContextVar("treadle_context")
"""The running job's context; the worker sets it around each attempt."""

_MARKER: Final = Context()


def context() -> Context:
    """Give the default value for a parameter that the worker fills in with the context."""
    return _MARKER


def current() -> Context:
    """Give the running job's context.

    Raises:
        RuntimeError: no job is running here.
    """
    found = CURRENT.get(None)
    if found is None:
        raise RuntimeError(
            "no job is running here: the context exists only while a worker runs a task; "
            "when you call the task's function yourself, pass a Context of your own"
        )
    return found


def is_marker(value: object) -> bool:
    """Tell whether a parameter's default asks for the context."""
    return value is _MARKER


def running_carrier() -> Carrier | None:
    """Give the attempt that runs here; None outside a job."""
    found = CURRENT.get(None)
    return None if found is None else found._own  # noqa: SLF001 -- this module's own class
