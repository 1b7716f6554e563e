"""The application: where tasks are registered and jobs, queues and workers are asked for.

`Treadle` joins the parts: tasks (`client.registry`), callbacks (`client.hooks`), the open
store (`client.link`), queues and dead letters. It runs no job: see `treadle.worker`.
Every call that asks the store has an async twin with the prefix a.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from treadle.client.dead import DeadLetters
from treadle.client.gates.control import Gates
from treadle.client.gates.outside import Outside
from treadle.client.gates.tasks import Tasks
from treadle.client.hooks import Hooks
from treadle.client.keys.lock import Lock
from treadle.client.link import Link, Links
from treadle.client.queues import Queues
from treadle.client.registry import Registry, module_name
from treadle.client.schedules.declare import Declarations
from treadle.client.schedules.schedules import Schedules
from treadle.client.tenants.control import Tenants
from treadle.client.views import WorkerState
from treadle.core.durations import Duration
from treadle.core.job import JobRecord, JobState
from treadle.core.settings import Settings, load_settings
from treadle.job import Job, JobPage, aread_job, read_job, read_page
from treadle.options import refuse_unknown
from treadle.store.contract import Filter
from treadle.store.open import open_store
from treadle.store.outbox.table import Outbox
from treadle.under_test import UnderTest

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.store.contract import Store


class JobFilter(TypedDict, total=False):
    """Which jobs are meant; what is left out is any."""

    state: JobState | str | None
    queue: str | None
    task: str | None
    tag: str | None
    reason: str | None


class Treadle(Registry, Declarations, Hooks, Outside, Tenants, UnderTest):
    """An application: its tasks, its settings and its store.

    Args:
        url: the store, `memory://` or `sqlite:///path`; None reads `TREADLE_STORE`, else
            `sqlite:///treadle.db`.
        namespace: applications of different namespaces share a store unseen by each other.
        settings: further settings by field name, or a whole `Settings`.

    Raises:
        SettingsError: a setting is wrong; names every problem.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str = "default",
        settings: Settings | Mapping[str, Any] | None = None,
    ) -> None:
        Registry.__init__(self)
        Declarations.__init__(self)
        Hooks.__init__(self)
        said = asdict(settings) if isinstance(settings, Settings) else dict(settings or {})
        if url is not None:
            said["store"] = url
        if namespace != "default":
            said["namespace"] = namespace
        self.settings = load_settings(said)
        outbox = self.settings.outbox
        self.outbox = Outbox(outbox, self.settings.namespace) if outbox else None
        self._links = Links(self.settings, self._make_store)
        if self.settings.store != "memory://":
            # A wrong URL is an error where it is written, not at the first enqueue. A file's
            # store opens nothing until it is used; one in memory would hold a connection.
            self._make_store()
        self.queues = Queues(self._links)
        self.gates = Gates(self._links, self.registry)
        self.tasks = Tasks(self._links, self)
        self.dead = DeadLetters(self)
        self.schedules = Schedules(self)
        frame = inspect.currentframe()
        caller = None if frame is None else frame.f_back
        self.default_module = module_name(
            "__main__" if caller is None else str(caller.f_globals.get("__name__", "__main__"))
        )
        """The module that made this application."""

    def _make_store(self) -> Store:
        return open_store(self.settings.store, self.settings.namespace, self.settings)

    @property
    def stays_here(self) -> bool:
        """Whether jobs never leave this process, so that any function can be a task."""
        known = self._links.known
        if known is not None:
            return not known.store.features.shared
        return self.settings.store.startswith("memory:")

    @property
    def link(self) -> Link:
        """The open store with its writer and waiters; opened on first use.

        Raises:
            StoreError: the store cannot be opened.
        """
        return self._links.get()

    async def alink(self, *, here: bool = False) -> Link:
        """Do the same as `link` without blocking the event loop.

        `here`: a store that is not open is opened on the running loop, so that it can be given up.
        """
        return await (self._links.aopen() if here else self._links.aget())

    @property
    def store(self) -> Store:
        """The open store; opened on first use.

        Raises:
            StoreError: the store cannot be opened.
        """
        return self.link.store

    def job(self, job_id: str) -> Job[Any]:
        """Read a job.

        Raises:
            JobNotFound: no job has this id.
            ValueError: the text is not an id.
        """
        return read_job(self, job_id)

    async def ajob(self, job_id: str) -> Job[Any]:
        """Do the same as `job` without blocking the event loop."""
        return await aread_job(self, job_id)

    def jobs(
        self, *, limit: int = 100, cursor: str | None = None, **which: Unpack[JobFilter]
    ) -> JobPage:
        """Read jobs, newest first; the page's `cursor` asks for the next one.

        Raises:
            TypeError: a filter is unknown.
            ValueError: the state is none, `limit` is not from 1 to 1,000, or `cursor` is none.
        """
        return self.link.run(read_page(self, _filter(which), limit, cursor))

    async def ajobs(
        self, *, limit: int = 100, cursor: str | None = None, **which: Unpack[JobFilter]
    ) -> JobPage:
        """Do the same as `jobs` without blocking the event loop."""
        return await read_page(self, _filter(which), limit, cursor)

    def lock(self, name: str, timeout: Duration = 60, *, lease: Duration = 15) -> Lock:
        """Give a lock that one holder has at a time, over all processes and machines.

        Use it as `with app.lock("report"):` or `async with`, inside jobs and outside. It waits at
        most `timeout`, and falls `lease` (at least 1 s) after its holder has died; both are seconds
        or a timedelta. Its `fence` rises with each hold.

        Raises:
            TypeError, ValueError: the name is no text of 1 to 200 characters, or a duration is
                out of its range. Taking it raises `LockTimeout`.
        """
        return Lock(self, name, timeout, lease)

    def workers(self) -> list[WorkerState]:
        """Give the workers that are registered."""
        return self.link.run(self.aworkers())

    async def aworkers(self) -> list[WorkerState]:
        """Do the same as `workers` without blocking the event loop."""
        return [WorkerState.of(record) for record in await (await self.alink()).store.workers()]

    def job_of(self, record: JobRecord) -> Job[Any]:
        """Make a job of a stored record, as the worker and the tools read it."""
        return Job.of_record(self, record)

    def close(self) -> None:
        """Write what waits and close the store; the next call opens it again."""
        self._links.close()

    async def aclose(self) -> None:
        """Do the same as `close` without blocking the event loop."""
        await self._links.aclose()

    @contextmanager
    def _swap_store(self, store: Store, clock: Clock) -> Iterator[Link]:
        """Work on another, open store for a while; for `treadle.testing`."""
        with self._links.swapped(store, clock) as link:
            yield link

    def __repr__(self) -> str:
        return f"<Treadle {self.default_module} namespace {self.settings.namespace!r}>"


def _filter(which: JobFilter) -> Filter:
    refuse_unknown(which, JobFilter.__annotations__, "jobs cannot be chosen by", "choose by")
    state = which.get("state")
    return Filter(
        state=None if state is None else _state(state),
        queue=which.get("queue"),
        task=which.get("task"),
        tag=which.get("tag"),
        reason=which.get("reason"),
    )


def _state(value: JobState | str) -> JobState:
    try:
        return JobState(value)
    except ValueError:
        msg = f"{value!r} is not a state of a job; there are {', '.join(JobState)}"
        raise ValueError(msg) from None
