"""The worker: one process's share of the work, from start to stop.

`Worker` puts the parts together (line, settler, lease, services, executors), drives the line
with `exchange`, and stops it: gracefully on the first request, at once on the second. What
happens to a job is told in `line`; signals of the operating system are in `signals`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Self

from treadle.core.durations import to_us
from treadle.core.errors import StoreDamaged, StoreError
from treadle.core.lanes import Lanes, read_reserve
from treadle.store.contract import WorkerInfo
from treadle.worker.crew import TOO_MANY_STUCK, Crew, emit, greet
from treadle.worker.life.arrival import Arrival, NotStarted, unless
from treadle.worker.life.health import Health
from treadle.worker.life.rest import set_within
from treadle.worker.life.signals import stop_on_signals

if TYPE_CHECKING:
    from types import TracebackType

    from treadle.app import Treadle
    from treadle.client.link import Link
    from treadle.store.contract import Exchanged
    from treadle.worker.notes import Notes

_log = logging.getLogger("treadle.worker")

_FLUSH_S = 0.01
"""The longest a settlement waits for company while enough claims are buffered."""
_STALE_S = 0.05
"""How long a buffered claim may wait for a slot before it is handed back."""
_LAST_WORDS_S = 1.0
_LOOK_S = 1.0
_REFUSALS_MAX = 5
"""How many exchanges in a row a store may refuse before a burst ends."""

Queues = str | Sequence[str] | Mapping[str, int] | None
Reserve = str | Mapping[str, int] | None


class Worker:
    """Runs an application's jobs.

    Args:
        app: the application; its tasks are those this worker knows.
        queues: which queues to take from: None for all (best job first), `"a,b"` or a list
            for strict order, `"a=3,b=1"` or a mapping for weights.
        concurrency: how many jobs run at once; default: the settings' `concurrency`.
        reserve: slots that are kept for a queue, `{"mail": 2}` or `"mail=2"`: no other queue's job
            ever has one of them. A queue that `queues` does not name gets these slots alone. A
            worker that reserves takes no more jobs than it has slots.
        burst: end when nothing is ready any more; where the store is damaged, or refuses five
            exchanges in a row, with its error.
        grace: seconds that running jobs get to end when the worker stops.

    `run()` blocks until a signal or the end of a burst; `async with Worker(app):` runs it
    beside other code and stops it gracefully at the end of the block.

    Raises:
        ValueError: a queue name or number is out of range, or more slots are reserved than there
            are.
    """

    def __init__(
        self,
        app: Treadle,
        queues: Queues = None,
        concurrency: int | None = None,
        *,
        reserve: Reserve = None,
        burst: bool = False,
        grace: float | None = None,
    ) -> None:
        settings = app.settings
        self.app = app
        self.lanes = as_lanes(queues, reserve)
        self.slots = settings.concurrency if concurrency is None else concurrency
        if not 1 <= self.slots <= 2_000:  # noqa: PLR2004 -- the settings' own range
            msg = f"concurrency must be between 1 and 2,000, not {self.slots}"
            raise ValueError(msg)
        self.lanes.check_slots(self.slots)
        self.burst = burst
        self.grace_s = settings.grace if grace is None else to_us(grace, "grace") / 1e6
        self.health = Health()
        """Whether it runs and its store answers, and if not, why and since when."""
        self.cut = 0
        """How many jobs were handed back because the grace was over."""
        self.reason = ""
        """Why the worker stopped, once it does."""
        self.lock_waits: deque[int] = deque(maxlen=10_000)
        """Microseconds that the last exchanges waited for the store's write lock."""
        self._crew: Crew
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._awake = asyncio.Event()
        self._hungry = asyncio.Event()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._main: asyncio.Task[None] | None = None
        self._hopeless: StoreError | None = None
        """What has ended a burst before it was done."""
        self._link: Link

    @property
    def id(self) -> str:
        """The id of the present incarnation; empty before the start."""
        return self._crew.id if self._main is not None else ""

    @property
    def starts(self) -> int:
        """How many attempts have been started."""
        return self._crew.line.starts if self._main is not None else 0

    @property
    def lost(self) -> int:
        """How many settlements came too late and were refused."""
        return self._crew.settler.lost if self._main is not None else 0

    # Life

    def run(self) -> int:
        """Work until a signal or the end of a burst; return the exit code.

        0 after a clean stop, 1 when jobs had to be handed back in mid-run, 3 when too many
        attempts ignored their end and a supervisor should start a fresh process.
        """
        return asyncio.run(self.arun())

    async def arun(self) -> int:
        """Do the same on the running event loop, which must be the main thread's for signals."""
        with stop_on_signals(self.stop, self.stop_at_once):
            try:
                async with self:
                    await self.wait()
            except NotStarted as error:
                _log.info("%s", error)
        if self.reason == TOO_MANY_STUCK:
            return 3
        return 1 if self.cut else 0

    async def wait(self) -> None:
        """Wait, inside `async with`, until the worker has stopped: asked to, or burst done."""
        assert self._main is not None, "a worker is waited for inside its `async with` block"
        await asyncio.shield(self._main)

    async def __aenter__(self) -> Self:
        """Register and start; wait for a store that is away, unless it is for a burst.

        Raises:
            StoreUnavailable: it was asked to stop before it had started.
            StoreError: the store cannot be used until somebody mends what it says.
        """
        self.health.tell = partial(emit, self.app, None)
        arrival = Arrival(self.health, self._stopping, patient=not self.burst)
        await arrival.until_done(lambda: unless(self._stopping, self.app.alink(here=True)))
        info = self._info()
        await unless(self._at_once, greet(self.app))
        await arrival.until_done(lambda: unless(self._at_once, self._start(info)))
        self._link = self.app.link
        self._link.workers += 1
        self._main = asyncio.create_task(self._work(), name="treadle-line")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop gracefully and wait for the end.

        Raises:
            StoreError: a burst has met what no wait mends, such as `StoreDamaged`.
        """
        assert self._main is not None
        if not self._main.done():
            self.stop("the program asked")
        broken = True
        try:
            await self._main
            broken = False
        finally:
            await self._crew.stop(broken=broken)
            self._link.workers -= 1
            _sum_up(self.lock_waits)
        if self._hopeless is not None:
            raise self._hopeless

    async def _start(self, info: WorkerInfo) -> None:
        """Put the parts together, anew at each try, and start them."""
        self._crew = Crew(self.app, self.lanes, self.slots, self._wake, self.stop, self.health)
        await self._crew.start(info)

    def _info(self) -> WorkerInfo:
        """Make the record of a new incarnation; the command line says more of it."""
        return worker_info(self.slots, self.lanes, self.app.settings.lease)

    def stop(self, reason: str = "asked to") -> None:
        """Stop claiming; running jobs may end within the grace. For the loop's thread."""
        if not self._stopping.is_set():
            self.reason = reason
            _log.info("stopping: %s", reason)
        self._stopping.set()
        if self._main is not None:
            # An exchange may be on its way; what it brings goes back instead of starting.
            self._crew.line.closed = True
        self._awake.set()

    def stop_at_once(self) -> None:
        """Stop without waiting for running jobs; they are handed back."""
        self._at_once.set()
        self.stop("asked to stop at once")

    # The loop

    async def _work(self) -> None:
        """Exchange and rest, in turn, until it is time to stop."""
        listener = asyncio.create_task(
            _listen(self._crew, self._hungry, self._awake), name="treadle-listen"
        )
        try:
            while not self._stopping.is_set():
                answer = await self._exchange()
                if answer is not None and not await self._rest(answer):
                    self.reason = "nothing is left to do"
                    break
            await self._wind_down()
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _exchange(self) -> Exchanged | None:
        """Carry out one exchange; None when the store did not answer, after a pause."""
        line, settler = self._crew.line, self._crew.settler
        demand = line.demand()
        self._awake.clear()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        try:
            if not self._crew.notes.empty:
                settler.fix(demand)
                await _write(self._crew.notes, self._stopping)
            answer = await settler.exchange(line.worker, demand)
            if answer.gone and not self._stopping.is_set():
                await self._crew.begin_anew(self._info())
        except StoreError as error:
            await self._crew.store_away(error, self._stopping)
            if self.burst and _is_hopeless(error, self._crew.refused):
                self._hopeless = error
                self.stop(f"the store needs mending: {error}")
            return None
        self._crew.store_is_back()
        if answer.verdicts or answer.claims:
            self.lock_waits.append(answer.waited)
        line.accept(answer)
        if answer.next_due is not None:
            self._crew.services.due_in(answer.next_due)
        return answer

    async def _rest(self, answer: Exchanged) -> bool:
        """Wait until the next exchange is worth its cost; False when a burst is done."""
        line = self._crew.line
        if not line.held.is_low:
            await self._until_worthwhile()
            return True
        if self._crew.settler.pending and not line.held.buffer:
            # An exchange that meets no lock does not let go of the loop, and jobs of unknown
            # tasks settle as they are claimed: a backlog of them must not shut the others out.
            await asyncio.sleep(0)
            return True
        if line.room():
            # One demand is for reserved slots or for the others, and what was settled with it may
            # have freed those that it did not ask for.
            freed = answer.verdicts and self.lanes.reserve
            if answer.more or answer.claims or self.lanes.half_asked or freed:
                # Ready work and room for it: let the started jobs take a step, then go on.
                await asyncio.sleep(0)
                return True
            if self.burst and not line.running and self._crew.settler.idle:
                return False
            self._hungry.set()
        await self._until_worthwhile()
        self._hungry.clear()
        return True

    async def _until_worthwhile(self) -> None:
        """Sleep until woken; a buffer that does not move is handed back meanwhile."""
        line = self._crew.line
        while line.held.buffer and not self._awake.is_set():
            starts = line.starts
            awake = await set_within(self._awake, _STALE_S)
            if not awake and line.starts == starts and line.hand_back():
                return
        await self._awake.wait()

    def _wake(self) -> None:
        """Wake the loop: at once when little is buffered, else after a short gathering."""
        if self._crew.line.held.is_low or self._stopping.is_set():
            self._awake.set()
        elif self._flush_timer is None:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(_FLUSH_S, self._awake.set)

    # The end

    async def _wind_down(self) -> None:
        """Hand back what has not started, let run what runs, settle everything."""
        line = self._crew.line
        line.closed = True
        line.hand_back()
        deadline = time.monotonic() + self.grace_s
        while line.running and not self._at_once.is_set() and time.monotonic() < deadline:
            await self._settle_some(deadline)
        if line.running:
            self.cut = len(line.running)
            line.cancel_running("stop")
            last = time.monotonic() + min(_LAST_WORDS_S, max(self.grace_s, 0.1))
            while line.running and time.monotonic() < last:
                await self._settle_some(last)
            line.abandon_running()
        patience = time.monotonic() + self.app.settings.store_timeout
        # Where waiting mends nothing each settlement is tried once more, behind its neighbours.
        tries = self._crew.settler.kept + 1 if self._hopeless else math.inf
        while not self._crew.settler.idle and time.monotonic() < patience and tries > 0:
            await self._exchange()
            tries -= 1
        if kept := self._crew.settler.kept:
            _log.error("what became of %d jobs could not be stored; they will run again", kept)

    async def _settle_some(self, deadline: float) -> None:
        """Settle what has ended, or wait for the next end, a second request or the deadline.

        Once a second it looks for what a store has claimed for this worker unasked: that goes back.
        """
        if self._crew.settler.idle:
            await set_within(self._awake, min(_LOOK_S, deadline - time.monotonic()))
        await self._exchange()
        self._crew.line.hand_back()


async def _write(notes: Notes, stopping: asyncio.Event) -> None:
    """Write what jobs have said; at the stop damage there keeps back no end of a job."""
    try:
        await notes.flush()
    except StoreDamaged:
        if not stopping.is_set():
            raise


def _is_hopeless(error: StoreError, refused: int) -> bool:
    """Tell whether waiting mends nothing: whoever called a burst waits for its end."""
    return refused >= _REFUSALS_MAX or isinstance(error, StoreDamaged)


def _sum_up(lock_waits: Iterable[int]) -> None:
    """Tell how long the last exchanges waited for the store's lock."""
    waits = sorted(lock_waits) or [0]
    _log.info(
        "waits for the lock of the store: p50 %.2f, p99 %.2f, max %.2f ms (%d exchanges)",
        waits[len(waits) // 2] / 1e3,
        waits[len(waits) * 99 // 100] / 1e3,
        waits[-1] / 1e3,
        len(waits),
    )


def as_lanes(queues: Queues, reserve: Reserve = None) -> Lanes:
    """Read what `queues=` and `reserve=` take.

    Raises:
        ValueError: a name or number is out of range.
    """
    reserve = read_reserve(reserve) if isinstance(reserve, str) else reserve
    if queues is None or isinstance(queues, str):
        return Lanes.parse(queues, reserve)
    if isinstance(queues, Mapping):
        return Lanes(dict(queues), strict=False, reserve=reserve)
    return Lanes(dict.fromkeys(queues, 1), reserve=reserve)


async def _listen(crew: Crew, hungry: asyncio.Event, awake: asyncio.Event) -> None:
    """Wait for hints of work, but only while there is room for it."""
    poll = crew.app.settings.poll
    while True:
        await hungry.wait()
        try:
            await crew.store.wait(work=True, ends=False, timeout=poll)
        except Exception as error:  # noqa: BLE001 -- a hint less must never end the worker
            _log.warning("waiting for work failed: %r", error)
            await asyncio.sleep(poll)
        awake.set()
        hungry.clear()


def worker_info(slots: int, lanes: Lanes, lease_s: float) -> WorkerInfo:
    """Make the record of a new incarnation."""
    host, pid = socket.gethostname(), os.getpid()
    return WorkerInfo(
        id=f"{host}:{pid}:{secrets.token_hex(3)}",
        host=host,
        pid=pid,
        queues=lanes.names,
        slots=slots,
        lease=to_us(lease_s, "lease"),
    )
