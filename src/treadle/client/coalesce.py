"""How do many small enqueues become few writes? By group commit.

A sync enqueue that finds no other in flight writes at once on its own thread. Those that
come meanwhile queue up; when the write ends, the first of them leads the next one: it
writes all that wait, up to 1,000, with one call of the store. Async enqueues are led by a
writer thread, so the event loop never waits for a disk. Each job keeps its own fate.
Batches that the caller made himself do not come here: see `treadle.task`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from treadle.client.background import start_thread
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import Fate, NewJob
from treadle.core.threads.interrupted import Inside, check_free
from treadle.store.contract import BATCH_MAX

WAITING_MAX: Final = 10_000
"""Enqueues that may wait for a write at once."""

_FULL_PAUSE_S: Final = 0.005
_CLOSE_S: Final = 2.0
_ROUNDS_MAX: Final = 3


class WritesJobs(Protocol):
    """The one verb of the store that is needed here."""

    def enqueue_now(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
    ) -> Sequence[Fate]:
        """Store a batch, all or nothing."""
        ...


class _Ticket:
    """One job that waits for a write; whoever leads fills in its fate."""

    __slots__ = ("fate", "job", "loop", "turn", "woken")

    def __init__(self, job: NewJob, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.job = job
        self.loop = loop
        self.fate: Fate | Exception | None = None
        self.turn = 0
        self.woken: SimpleQueue[None] | asyncio.Future[None] = (
            SimpleQueue() if loop is None else loop.create_future()
        )

    def taken(self) -> Fate:
        """Give the store's answer, or raise what became of it instead."""
        if isinstance(self.fate, Exception):
            raise self.fate
        assert self.fate is not None, "a ticket is read only once its fate is known"
        return self.fate


class Writer:
    """Writes single jobs to one store; any number of threads and loops may call it.

    At most one thread leads at a time. A turn is a number that only rises: a leader that was
    given up for lost finds that the turn has passed on and changes nothing.
    """

    def __init__(
        self, store: WritesJobs, *, patience: float, check: Callable[[], None] = lambda: None
    ) -> None:
        """Take the store and the seconds after which a write that was joined counts as lost.

        `check` refuses a caller that would wait for a write which waits for the caller.
        """
        self._store = store
        self._check = check
        self._patience = patience
        self._mutex = threading.RLock()
        self._inside = Inside(Writer.write, Writer._serve)
        """The threads that write, or wait until somebody has written for them."""
        self._busy = False
        self._turn = 0
        self._queue: deque[_Ticket] = deque()
        self._box: SimpleQueue[int] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def write(self, job: NewJob) -> Fate:
        """Store one job, on this thread or together with others; return its fate.

        Raises:
            StoreUnavailable: it is not known whether the job was stored; or the caller is a signal
                handler that has interrupted another write, and nothing was sent.
        """
        me = self._inside.check()
        check_free(self._mutex)
        try:
            self._inside.add(me)
            return self._write(job)
        finally:
            self._inside.discard(me)

    def _write(self, job: NewJob) -> Fate:
        turn, ticket = 0, None
        try:
            with self._mutex:
                if self._busy:
                    ticket = self._joined(_Ticket(job))
                else:
                    self._busy = True
                    self._turn = turn = self._turn + 1
            if ticket is None:
                # The job's own id serves as the request's: no other write ever uses it.
                return self._store.enqueue_now(job.id, (job,))[0]
        finally:
            if turn:
                self._pass_on(turn)
        return self._wait(ticket)

    async def awrite(self, job: NewJob) -> Fate:
        """Store one job from a coroutine without blocking its loop; return its fate.

        When the caller is cancelled the job may be stored all the same.

        Raises:
            StoreUnavailable: it is not known whether the job was stored.
        """
        self._start_thread()
        await self._room()
        ticket = _Ticket(job, asyncio.get_running_loop())
        assert isinstance(ticket.woken, asyncio.Future)
        with self._mutex:
            self._joined(ticket)
            if not self._busy:
                self._busy = True
                self._turn += 1
                self._box.put(self._turn)
        try:
            async with asyncio.timeout(self._patience):
                await ticket.woken
        except TimeoutError:
            self._give_up(ticket)
            raise
        return ticket.taken()

    def close(self) -> None:
        """Write what waits, then end the writer thread, bounded; it may start again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._box.put(0)
            thread.join(_CLOSE_S)

    def _joined(self, ticket: _Ticket) -> _Ticket:
        """Queue a ticket; the caller holds the mutex."""
        self._check()
        if len(self._queue) >= WAITING_MAX:
            raise StoreUnavailable(
                f"{WAITING_MAX:,} enqueues wait for the store already and this one was not "
                "taken; enqueue fewer at once, or use enqueue_many"
            )
        self._queue.append(ticket)
        return ticket

    async def _room(self) -> None:
        """Hold a coroutine back while the queue is full, as long as patience lasts."""
        for _ in range(int(self._patience / _FULL_PAUSE_S)):
            if len(self._queue) < WAITING_MAX:
                return
            await asyncio.sleep(_FULL_PAUSE_S)

    def _wait(self, ticket: _Ticket) -> Fate:
        """Wait until the job's fate is known, leading a write when it is this thread's turn."""
        assert isinstance(ticket.woken, SimpleQueue)
        for _ in range(_ROUNDS_MAX):
            try:
                ticket.woken.get(timeout=self._patience)
            except Empty:
                self._take_over(ticket)
            if ticket.fate is None:
                self._lead(ticket.turn)
            if ticket.fate is not None:
                return ticket.taken()
        raise _unknown(self._patience * _ROUNDS_MAX)

    def _lead(self, turn: int) -> None:
        """Write everything that waits, tell each its fate, hand the lead on."""
        with self._mutex:
            if turn != self._turn:
                return
            count = min(len(self._queue), BATCH_MAX)
            batch = [self._queue.popleft() for _ in range(count)]
        try:
            self._send(batch)
        finally:
            self._pass_on(turn)
            self._deliver(batch)

    def _send(self, batch: Sequence[_Ticket]) -> None:
        """Write a batch; halve it when the store refuses it, so that one job fails alone.

        A refused batch wrote nothing, so its halves store no job twice.
        """
        if not batch:
            return
        try:
            fates = self._store.enqueue_now(new_id(), [ticket.job for ticket in batch])
        except StoreUnavailable as error:
            for ticket in batch:
                # Each thread raises an error of its own: a shared one would mix up tracebacks.
                ticket.fate = StoreUnavailable(*error.args)
        except Exception as error:  # noqa: BLE001 -- raised again by the caller whose job it is
            if len(batch) == 1:
                batch[0].fate = error
                return
            half = len(batch) // 2
            self._send(batch[:half])
            self._send(batch[half:])
        else:
            for ticket, fate in zip(batch, fates, strict=True):
                ticket.fate = fate

    def _pass_on(self, turn: int) -> None:
        """End a turn; the first that waits has the next one."""
        with self._mutex:
            if turn != self._turn:
                return
            if not self._queue:
                self._busy = False
                return
            heir = self._queue[0]
            self._turn = heir.turn = turn + 1
        if isinstance(heir.woken, SimpleQueue):
            heir.woken.put(None)
        else:
            self._box.put(heir.turn)

    def _deliver(self, batch: Sequence[_Ticket]) -> None:
        """Wake the holders of a batch; one call a loop wakes all its coroutines."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Ticket]] = {}
        for ticket in batch:
            if ticket.fate is None:
                ticket.fate = StoreUnavailable(
                    "the thread that wrote this job together with others was interrupted; it "
                    "is not known whether the job was stored: look for it before sending it again"
                )
            if isinstance(ticket.woken, SimpleQueue):
                ticket.woken.put(None)
            elif ticket.loop is not None:
                by_loop.setdefault(ticket.loop, []).append(ticket)
        for loop, tickets in by_loop.items():
            # A loop may be closed at any time; then nobody waits for these any more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, tickets)

    def _take_over(self, ticket: _Ticket) -> None:
        """Take the lead from a thread that is lost, as after an error injected into it.

        Raises:
            StoreUnavailable: the lost thread took this job with it.
        """
        with self._mutex:
            if ticket.fate is not None:
                return
            if ticket not in self._queue:
                raise _unknown(self._patience)
            self._turn = ticket.turn = self._turn + 1
            # Whoever leads writes from the front, and its own job has waited long enough.
            self._queue.remove(ticket)
            self._queue.appendleft(ticket)

    def _give_up(self, ticket: _Ticket) -> None:
        """End an async wait that took too long.

        Raises:
            StoreUnavailable: always; says whether the job may have been stored.
        """
        with self._mutex:
            if ticket not in self._queue:
                raise _unknown(self._patience)
            self._queue.remove(ticket)
        raise StoreUnavailable(
            f"the store did not take this job within {self._patience:g} s; it was not stored"
        )

    def _start_thread(self) -> None:
        with self._mutex:
            if self._thread is None:
                self._thread = start_thread(self._serve, "treadle-writer")

    def _serve(self) -> None:
        """Lead for coroutines until closed; an idle writer sleeps and costs nothing."""
        me = threading.get_ident()
        try:
            self._inside.add(me)
            while turn := self._box.get():
                self._lead(turn)
        finally:
            # The system may give the next thread this one's number.
            self._inside.discard(me)


def _resolve(tickets: Sequence[_Ticket]) -> None:
    for ticket in tickets:
        if isinstance(ticket.woken, asyncio.Future) and not ticket.woken.done():
            ticket.woken.set_result(None)


def _unknown(waited: float) -> StoreUnavailable:
    return StoreUnavailable(
        f"a write that this job was part of has not ended within {waited:g} s; it is not known "
        "whether the job was stored: look for it before sending it again"
    )
