"""The crew: the parts of one worker, put together, started and stopped in order.

Here is the only place that knows all parts: the line and its settler, the lease's thread,
the services, the executors, notes and hooks. The lease is stopped last, so that claims stay
this worker's until they are given back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from treadle.core import fault
from treadle.core.durations import to_us
from treadle.core.errors import StoreDamaged, StoreError, StoreUnavailable
from treadle.events import Event
from treadle.worker.attempt import Surroundings
from treadle.worker.executors.blocked import BlockedLoop
from treadle.worker.executors.group import Executors
from treadle.worker.firing.begin import begin_schedules, tend_schedules
from treadle.worker.firing.firing import Firing
from treadle.worker.journal import Journal
from treadle.worker.kit import Kit
from treadle.worker.lease import Lease
from treadle.worker.life.arrival import rest_after
from treadle.worker.life.health import Health
from treadle.worker.life.losses import warn_of_losses
from treadle.worker.life.rest import set_within
from treadle.worker.life.standstill import Standstill
from treadle.worker.line import Line
from treadle.worker.notes import Notes
from treadle.worker.outcomes.transaction import Transactions
from treadle.worker.services import Services
from treadle.worker.settler import Settler

if TYPE_CHECKING:
    from treadle.app import Treadle
    from treadle.core.lanes import Lanes
    from treadle.store.contract import Beaten, Store, WorkerInfo

_log = logging.getLogger("treadle.worker")

_PAUSE_STOPPING_S = 0.05
_EXCHANGES, _BEATS = "exchanges", "beats"
"""The ways to the store of which the health is known."""
_HOOK_S = 60.0
"""How long hooks may go on after the worker has stopped."""

TOO_MANY_STUCK = "too many attempts ignore their end; a fresh process is needed"

Stop = Callable[[str], None]


class Crew:
    """The parts of one worker."""

    def __init__(
        self,
        app: Treadle,
        lanes: Lanes,
        slots: int,
        wake: Callable[[], None],
        stop: Stop,
        health: Health | None = None,
    ) -> None:
        """Put the parts together on the running event loop; nothing is started yet."""
        self.health = Health() if health is None else health
        self.health.tell = self._emit
        self.app = app
        self.slots = slots
        self.lanes = lanes
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self.store: Store = app.store
        self.notes = Notes(self.store, lambda: self.id)
        self._surroundings = self._make_surroundings()
        # While no beat is missed a standstill costs no more than the time that it takes.
        self._standstill = Standstill(
            lambda: self.line.running.copy().values(),
            max(app.settings.block_warn, app.settings.beat),
        )
        self.line = Line(self._make_kit(), slots, wake, self.store.features)
        self.settler = self.line.settler = Settler(self.store, self.line.answered)
        settings = app.settings
        self.executors = self.line.executors = Executors(
            self._loop,
            slots=slots,
            finished=self.line.finished,
            stuck_max=settings.stuck_max,
            on_too_many_stuck=partial(stop, TOO_MANY_STUCK),
        )
        self._firing = Firing(
            self.store, settings.namespace, lambda task: app.definition(task) is not None
        )
        self.services = Services(
            self.store,
            lambda: self.id,
            lambda: tuple(app.registry),
            self.line.adopt,
            self._firing,
        )
        self.lease = Lease(self.store, self, settings.lease, settings.beat)
        self.lease.woke = self._standstill.woke
        self.lease.look = BlockedLoop(
            self._loop, self.executors.attempt_of, settings.block_warn
        ).check
        self.lease.on_failed = lambda why: self._loop.call_soon_threadsafe(
            self.health.fails, _BEATS, why
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._upkeep: list[asyncio.Task[None]] = []
        self.failed = self.refused = 0
        """How many exchanges have failed in a row, and how many the store has refused."""
        self._said: type[StoreError] | None = None
        """Of what kind the failure was that has been said."""

    @property
    def id(self) -> str:
        """The id of the present incarnation."""
        return self.line.worker

    def _make_surroundings(self) -> Surroundings:
        settings = self.app.settings
        return Surroundings(
            report=self.notes.report,
            say=self.notes.say,
            job_of=self.app.job_of,
            may_wait=lambda: len(self.line.running) < self.slots,
            result_max=settings.result_max,
            timeout_us=to_us(settings.timeout, "timeout"),
            transactions=Transactions(
                store=self.store,
                rules=settings.rules(),
                notes=self.notes,
                limit_us=to_us(settings.transaction_timeout, "transaction_timeout"),
                shorten=lambda attempt, at: self._loop.call_soon_threadsafe(
                    self.executors.shorten, attempt, at
                ),
            ),
            middleware=tuple(self.app.middlewares),
        )

    def _make_kit(self) -> Kit:
        on_dead = self._on_dead if self.app.dead_hooks else None
        return Kit(
            store=self.store,
            find=self.app.definition,
            rules=self.app.settings.rules(),
            lanes=self.lanes,
            surroundings=self._surroundings,
            journal=Journal(self.app.events, on_dead),
            standstill=self._standstill,
        )

    # Life

    async def start(self, info: WorkerInfo) -> None:
        """Register and start every part.

        Raises:
            StoreError: the store does not answer.
        """
        await self._register(info)
        try:
            await warn_of_losses(self.store)
            self.health.started()
            self.lease.start()
            fault.point("start.after_lease")
            await begin_schedules(self.app, self._firing, self.id)
        except BaseException:
            # Else the lease's thread would beat on for a worker that does nothing.
            self.health.stopped()
            self.executors.close()
            await asyncio.to_thread(self.lease.stop)
            await self._leave()
            raise
        self.services.start()
        self._upkeep = [
            asyncio.create_task(self.notes.run(), name="treadle-notes"),
            asyncio.create_task(self._look_around(), name="treadle-look"),
            asyncio.create_task(
                tend_schedules(self.app, lambda: self.id), name="treadle-declarations"
            ),
        ]
        _log.info(
            "worker %s is ready: slots %d, queues %s, tasks %d",
            self.id,
            self.slots,
            ",".join(self.lanes.names or ("all",)),
            len(self.app.registry),
        )
        self._emit("worker.started")

    def _emit(self, name: str, extra: dict[str, Any] | None = None) -> None:
        emit(self.app, self.id, name, extra)

    async def stop(self, *, broken: bool) -> None:
        """Stop every part and leave; what is still held goes back unspent.

        A worker whose line broke does not leave: one of its jobs may have broken it, and would
        break the next one and the next. Its jobs are rescued as after a crash.
        """
        self.health.stopped()
        await self.services.stop()
        for task in self._upkeep:
            task.cancel()
        await asyncio.gather(*self._upkeep, return_exceptions=True)
        self.executors.close()
        await asyncio.to_thread(self.lease.stop)
        if broken:
            _log.error("worker %s broke; its jobs are rescued as after a crash", self.id)
        else:
            await self._leave()
        # After it has left: a store may have claimed a job for it meanwhile, which is not to wait.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_HOOK_S)
        self._emit("worker.stopped")
        for hook in self.app.shutdown_hooks:
            async with asyncio.timeout(_HOOK_S):
                await _called(hook())

    async def _leave(self) -> None:
        try:
            returned = await self.store.leave(self.id)
        except StoreError as error:
            _log.warning("the worker could not leave; its jobs are rescued: %s", error)
        else:
            _log.info("worker %s has left, %d jobs went back", self.id, returned)

    async def _register(self, info: WorkerInfo) -> None:
        await self.store.register(info)
        self.line.worker = info.id

    async def begin_anew(self, info: WorkerInfo) -> None:
        """Register a new incarnation: the old one was rescued, its claims are lost."""
        _log.error(
            "worker %s is not known to the store any more: it was away for longer than its lease "
            "and was rescued, or its store came back empty; it goes on as %s",
            self.id,
            info.id,
        )
        self.line.revoke(self.held_claims())
        old = self.id
        await self._register(info)
        await self.store.leave(old)

    # The store

    async def store_away(self, error: StoreError, stopping: asyncio.Event) -> None:
        """Say once that the store is away, or damaged, and pause, longer each time."""
        self.failed += 1
        self.refused = 0 if isinstance(error, StoreUnavailable) else self.refused + 1
        self.health.fails(_EXCHANGES, str(error))
        if self._said is not type(error):
            self._said = type(error)
            is_lasting = isinstance(error, StoreDamaged)
            said = "is damaged" if is_lasting else "does not answer"
            _log.log(
                logging.ERROR if is_lasting else logging.WARNING,
                "the store %s; settlements are kept meanwhile: %s", said, error,
            )  # fmt: skip
        pause = rest_after(self.failed)
        if stopping.is_set():
            await asyncio.sleep(min(pause, _PAUSE_STOPPING_S))
            return
        await set_within(stopping, pause)

    def store_is_back(self) -> None:
        """Say once that the store answers again."""
        if self.failed:
            _log.warning("the store answers again after %d failed calls", self.failed)
            self.failed = self.refused = 0
            self._said = None
            self.health.works(_EXCHANGES)

    # The lease's thread speaks through these

    def held_claims(self) -> Sequence[tuple[bytes, int]]:
        """Give the claims held now; copying a dict is atomic."""
        return list(self.line.held.claims.copy())

    def on_beaten(self, worker: str, beaten: Beaten) -> None:
        """Take the store's answer to a beat."""
        self._loop.call_soon_threadsafe(self._after_beat, worker, beaten)

    def on_cut_off(self) -> None:
        """Learn that the store is out of reach."""
        self._loop.call_soon_threadsafe(self._cut_off)

    def _after_beat(self, worker: str, beaten: Beaten) -> None:
        self.health.works(_BEATS)
        if worker != self.id:
            return
        was_cut_off, self._surroundings.cut_off = self._surroundings.cut_off, False
        if beaten.revoked:
            self.line.revoke(beaten.revoked)
        if beaten.returned:
            _log.warning("%d claims whose answer was lost went back unspent", beaten.returned)
        self.line.dispatch()
        if beaten.gone or was_cut_off:
            # The next exchange is told so as well, and begins the new incarnation; or it claims,
            # as nothing could wake a worker that had no room while it was cut off.
            self._wake()

    def _cut_off(self) -> None:
        self._surroundings.cut_off = True
        self.line.cancel_running(
            "cut_off", lambda attempt: attempt.definition.on_cut_off == "cancel"
        )

    # Hooks

    def _on_dead(self, id_: bytes) -> None:
        """Call the hooks for dead letters beside the line."""
        if len(self._tasks) < 1_000:  # noqa: PLR2004 -- bounded; the dead letter itself is kept
            task = asyncio.create_task(self._tell_dead(id_))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell_dead(self, id_: bytes) -> None:
        try:
            (record,) = await self.store.get([id_])
        except StoreError as error:
            _log.warning("the hooks for a dead letter are not called: %s", error)
            return
        if record is None:
            return
        for hook in self.app.dead_hooks:
            try:
                await _called(hook(self.app.job_of(record)))
            except Exception:  # noqa: BLE001 -- a hook is the user's code; it stops nobody
                _log.exception("a hook for dead letters failed: %r", hook)

    async def _look_around(self) -> None:
        """Each second, look who reads the journal and whether more may start."""
        while True:
            await asyncio.sleep(1.0)
            self.line.kit.journal.look()


def emit(app: Treadle, worker: str | None, name: str, extra: dict[str, Any] | None = None) -> None:
    """Tell of a worker, to whoever listens; one that waits for its store has no id yet."""
    if app.events:
        app.events.emit(Event(name, time.time_ns() // 1000, worker=worker, extra=extra))


async def greet(app: Treadle) -> None:
    """Run the start-up hooks."""
    for hook in app.startup_hooks:
        await _called(hook())


async def _called(returned: object) -> None:
    """Await what a hook returned when it is a coroutine."""
    if inspect.isawaitable(returned):
        await returned
