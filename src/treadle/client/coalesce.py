"""How do many small enqueues become few writes? By group commit.

A sync enqueue that finds no other in flight writes at once on its own thread. Those that
come meanwhile queue up; when the write ends, the first of them leads the next one: it
writes all that wait, up to 1,000, with one call of the store. Async enqueues are led by a
writer thread, so the event loop never waits for a disk. Each job keeps its own fate.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final, Protocol

from treadle.client.background import start_thread
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState, NewJob
from treadle.store.contract import BATCH_MAX

WAITING_MAX: Final = 10_000
"""Enqueues that may wait for a write at once."""

_FULL_PAUSE_S: Final = 0.005
_CLOSE_S: Final = 2.0


class WritesJobs(Protocol):
    """The one verb of the store that is needed here."""

    def enqueue_now(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
    ) -> Sequence[JobState]:
        """Store a batch, all or nothing."""
        ...


class _Ticket:
    """One job that waits for a write; whoever leads fills in its fate."""

    __slots__ = ("fate", "job", "turn")

    def __init__(self, job: NewJob) -> None:
        self.job = job
        self.fate: JobState | Exception | None = None
        self.turn = 0
        """Above zero: this ticket's holder leads the write of that turn."""

    def call(self, box: SimpleQueue[int]) -> None:
        """Wake the holder: its fate is known or it leads."""
        raise NotImplementedError


class _ThreadTicket(_Ticket):
    """A job whose thread waits for it."""

    __slots__ = ("woken",)

    def __init__(self, job: NewJob) -> None:
        super().__init__(job)
        self.woken = threading.Lock()
        self.woken.acquire()

    def call(self, box: SimpleQueue[int]) -> None:  # noqa: ARG002 -- the thread leads itself
        self.woken.release()


class _LoopTicket(_Ticket):
    """A job whose coroutine waits for it; the writer thread leads in its stead."""

    __slots__ = ("future", "loop")

    def __init__(self, job: NewJob, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(job)
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()

    def call(self, box: SimpleQueue[int]) -> None:
        box.put(self.turn)
