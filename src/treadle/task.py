"""A task: a function that can be called plainly, or enqueued as a job.

A plain call has the function's own type, sync or async, for type checkers; two private
subclasses see to that. What a task is made of is in `treadle.definition`, the options of
one call in `client.plan`, how enqueues share a write in `client.coalesce`.
"""

from __future__ import annotations

import warnings
from asyncio import _get_running_loop  # Documented; get_running_loop would cost an exception.
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import update_wrapper
from itertools import islice
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Never,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

from msgspec.structs import replace as changed

from treadle.client.connections.within import astore_within, store_within
from treadle.client.keys.fates import job_met
from treadle.client.plan import CallOptions, Plan
from treadle.client.snapshot import Home
from treadle.core.errors import DuplicateJob, UnknownTask
from treadle.core.ids import new_id
from treadle.core.job import Fate, JobState, NewJob
from treadle.core.payload.codec import CallSpec
from treadle.definition import Definition
from treadle.job import Job
from treadle.signature import Signature
from treadle.store.contract import BATCH_MAX
from treadle.transit.late import LateJob

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")

_warned: Final[set[str]] = set()
"""Holds one word once this process has been told that a sync enqueue blocks its loop."""


class Task(Generic[P, R]):
    """A registered function; made by `@app.task`."""

    def __init__(
        self,
        home: Home,
        spec: CallSpec,
        fn: Callable[..., Any],
        plan: Plan,
        options: CallOptions | None = None,
    ) -> None:
        self.name: Final = plan.task
        self._home = home
        self._spec = spec
        self._fn = fn
        self._plan = plan
        self._options: CallOptions = {} if options is None else options
        self._tail = plan.tail()
        self._varies = plan.varies
        # Only what describes the function: its own attributes could hide the task's.
        update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 -- see below
        """Run the function itself, here and now; the subclasses give its type."""
        return self._fn(*args, **kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Store a job for this call; return it when it is stored.

        Raises:
            BadArguments: the arguments do not fit the task's signature.
            NotSerializable, PayloadTooLarge: the arguments cannot be stored.
            DuplicateJob: another job holds the key, and the task or the key says so.
            StoreUnavailable: it is not known whether the job was stored.
        """
        plan = self._plan
        if plan.connection is None and _get_running_loop() is not None:
            _warn_blocking(self.name)
        job = self._new_job(args, kwargs)
        if plan.connection is None:
            fate = self._home.link.writer.write(job)
        else:
            fate = store_within(self._home, plan.connection, (job,))[0]
        return self._job(job, fate)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Do the same as `enqueue` without blocking the event loop.

        When it is cancelled the job may be stored all the same.

        Raises:
            TypeError: the task was bound to a connection that is not awaited.
        """
        job = self._new_job(args, kwargs)
        connection = self._plan.connection
        if connection is None:
            fate = await (await self._home.alink()).writer.awrite(job)
        else:
            [fate] = await astore_within(self._home, connection, (job,), "aenqueue")
        return self._job(job, fate)

    def enqueue_many(self, calls: Iterable[tuple[Any, ...] | Signature[R]]) -> list[Job[R]]:
        """Store a job for each call, in batches of 1,000; return them in order.

        A call is a tuple of positional arguments or a signature of this task. Each batch is
        stored as a whole or not at all, and the batches in order. When one fails, the error
        carries a note that says how many jobs are stored.

        Raises:
            TypeError: a call is something else; names its index.
            BadArguments, PayloadError, StoreUnavailable: as for `enqueue`.
        """
        jobs: list[Job[R]] = []
        connection = self._plan.connection
        home = self._home
        batches = self._batches(calls)
        try:
            for batch in batches:
                if connection is None:
                    fates = home.link.store.enqueue_now(new_id(), batch)
                else:
                    fates = store_within(home, connection, batch)
                self._add(jobs, batch, fates)
        except Exception as error:
            error.add_note(_stored(len(jobs), error))
            raise
        return jobs

    async def aenqueue_many(self, calls: Iterable[tuple[Any, ...] | Signature[R]]) -> list[Job[R]]:
        """Do the same as `enqueue_many`, letting the event loop run between the batches.

        Raises:
            TypeError: a call is no call, or the task was bound to a connection that is not
                awaited.
        """
        jobs: list[Job[R]] = []
        connection = self._plan.connection
        home = self._home
        try:
            for batch in self._batches(calls):
                if connection is None:
                    fates = await (await home.alink()).store.enqueue(new_id(), batch)
                else:
                    fates = await astore_within(home, connection, batch, "aenqueue_many")
                self._add(jobs, batch, fates)
        except Exception as error:
            error.add_note(_stored(len(jobs), error))
            raise
        return jobs

    def using(self, **options: Unpack[CallOptions]) -> Self:
        """Give this task with other options for the calls to come; this one is unchanged.

        Raises:
            TypeError, ValueError: an option is unknown, of another type or out of its range.
        """
        merged: CallOptions = {**self._options, **options}
        return type(self)(
            self._home, self._spec, self._fn, self._plan.using(options, self._spec), merged
        )

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:  # noqa: ANN401 -- may be partial
        """Give a signature of this call; a job before it in a chain adds the first argument."""
        return Signature(self.name, args, kwargs, self._options, immutable=False, bound=self)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Give a signature of just this call, whatever a job before it returns."""
        return Signature(self.name, args, kwargs, self._options, immutable=True, bound=self)

    @property
    def has_connection(self) -> bool:
        """Whether its jobs are written on a connection of the caller's."""
        return self._plan.connection is not None

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def _new_job(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        payload = self._spec.encode(args, kwargs, self._home.settings.payload_max)
        job = NewJob(new_id(), self.name, payload, *self._tail)
        if not self._varies:
            return job
        plan, signature = self._plan, self._spec.signature
        key = plan.key(self._spec, args, kwargs) if plan.keyed else None
        gates = plan.gates(signature, args, kwargs)
        tenant = plan.tenant_name(signature, args, kwargs)
        return changed(job, key=key, gates=gates, tenant=tenant)

    def _job(self, new: NewJob, fate: Fate) -> Job[R]:
        """Make the handle of a job that was written, to the store or to the outbox, or met.

        Raises:
            DuplicateJob: another job holds the key, and the task or the key says so.
        """
        home = self._home
        if not isinstance(fate, JobState):
            return job_met(home, new, fate)
        if self._plan.connection is not None and home.outbox is not None:
            return LateJob(home, new.id, new.task, new.queue, fate)
        return Job(home, new.id, new.task, new.queue, fate)

    def _batches(self, calls: Iterable[tuple[Any, ...] | Signature[R]]) -> Iterator[list[NewJob]]:
        """Encode the calls, a batch at a time, so that a long iterable is never held whole."""
        encode, name, tail = self._spec.encode, self.name, self._tail
        plain = not self._varies
        limit = self._home.settings.payload_max
        each = iter(calls)
        start = 0
        while part := list(islice(each, BATCH_MAX)):
            yield [
                NewJob(new_id(), name, encode(call, {}, limit), *tail)
                if type(call) is tuple and plain
                else self._from_signature(call, index)
                for index, call in enumerate(part, start)
            ]
            start += len(part)

    def _from_signature(self, call: object, index: int) -> NewJob:
        """Make a job of a call that is no plain tuple."""
        if isinstance(call, tuple):
            return self._new_job(tuple(call), {})
        if not isinstance(call, Signature):
            raise TypeError(_no_call(index, call))
        if call.task != self.name:
            raise TypeError(
                f"calls[{index}] is a signature of {call.task}, not of {self.name}; "
                "enqueue each task's calls with its own enqueue_many"
            )
        bound: Task[..., Any] = call.bound
        return bound._new_job(call.args, dict(call.kwargs))

    def _add(self, jobs: list[Job[R]], batch: Sequence[NewJob], fates: Sequence[Fate]) -> None:
        """Add the jobs of a batch.

        Raises:
            DuplicateJob: some of them were refused; the first one, after the others were added.
        """
        refused: DuplicateJob | None = None
        for new, fate in zip(batch, fates, strict=True):
            try:
                jobs.append(self._job(new, fate))
            except DuplicateJob as error:
                refused = refused or error
        if refused is not None:
            raise refused


class _SyncTask(Task[P, R]):
    """A task of a `def` function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function itself, here and now."""
        value: R = self._fn(*args, **kwargs)
        return value


class _AsyncTask(Task[P, R]):
    """A task of an `async def` function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Make the function's own coroutine, to be awaited."""
        coroutine: Coroutine[Any, Any, R] = self._fn(*args, **kwargs)
        return coroutine


class Decorator(Protocol):
    """What `app.task(...)` with options returns: it makes a task of a function."""

    # The overlap is meant: an async function is a function too, and the first match wins.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> _AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> _SyncTask[P, R]: ...


def make_task(home: Home, definition: Definition) -> Task[..., Any]:
    """Make the handle of a defined task."""
    kind = _AsyncTask if definition.is_async else _SyncTask
    return kind(home, definition.spec, definition.fn, Plan.of(definition))


def named_task(home: Home, name: str) -> Task[..., Any]:
    """Make a handle for a task whose code is not here: it can be enqueued, not called."""

    def absent(*_: object, **__: object) -> Never:
        raise UnknownTask(name)

    return Task(home, CallSpec.anything(name), absent, Plan(name))


def _warn_blocking(name: str) -> None:
    """Warn once a process that a sync enqueue waits for the disk on an event loop."""
    if _warned:
        return
    _warned.add("blocking")
    warnings.warn(
        f"{name}.enqueue() was called on a thread with a running event loop, which waits for the "
        f"store meanwhile; write `await {name}.aenqueue(...)` (this is said once a process)",
        RuntimeWarning,
        stacklevel=3,
    )


def _no_call(index: int, call: object) -> str:
    kind = type(call).__name__
    advice = f"write ({call!r:.40},) for one argument" if isinstance(call, (str, int)) else ""
    advice = advice or "write a tuple of positional arguments or task.s(...)"
    return f"calls[{index}] is a {kind}, which is no call: {advice}"


def _stored(count: int, error: Exception) -> str:
    if isinstance(error, DuplicateJob):
        return f"{count:,} other jobs of the calls up to the end of this batch are stored"
    return f"{count:,} jobs of the calls before are stored; the batch that failed is not"
