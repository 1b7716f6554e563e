"""The threads that sync tasks run on: made on demand, never more than there are slots.

They are daemon threads of our own, because those of `concurrent.futures` are joined when the
interpreter exits and a stuck one would hold it up for ever. Results gather in a deque and
the loop is woken once for as many as there are by then: one wake-up a job would cost more than
a short job does. What is run, and what a result means, the callers of `put` say.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import Final

from treadle.worker.attempt import Attempt
from treadle.worker.executors.seat import WITHDRAWN, Seat, Work

_NAME: Final = "treadle-task"
_FORKED: Final = 70
"""Exit code of a child process that a task forked and did not end (EX_SOFTWARE of sysexits.h)."""


class Pool:
    """Runs pieces of work on up to `slots` threads; all methods are for the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slots: int) -> None:
        self._loop = loop
        self._slots = slots
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        # Whoever takes a piece of work out of here owns it: a thread that begins it, or the
        # loop that withdraws it. Taking one key out of a dict is atomic.
        self._waiting: dict[Attempt, Work] = {}
        self._seats: set[Seat] = set()
        self._busy = 0
        self._given_up: set[Attempt] = set()
        self._results: deque[tuple[Work, object]] = deque()
        self._awake = False
        self._pid = os.getpid()

    @property
    def threads(self) -> int:
        """How many threads serve, not counting those that end after their present work."""
        return len(self._seats)

    def put(self, work: Work) -> None:
        """Hand over work; one of the threads takes it up at once.

        Callers never have more than `slots` at a time, so nothing queues for long.

        Raises:
            RuntimeError: there is no thread and the process cannot start one.
        """
        self._busy += 1
        if self._busy > len(self._seats) < self._slots:
            try:
                self._grow()
            except RuntimeError as error:
                if not self._seats:
                    self._busy -= 1
                    raise RuntimeError(
                        f"no thread can be started for the sync task {work.attempt.claim.task!r} "
                        f"({error}); raise the limit on threads of this process, or run the "
                        "worker where threads are allowed"
                    ) from error
        self._waiting[work.attempt] = work
        self._inbox.put(work)

    def withdraw(self, attempt: Attempt) -> bool:
        """Take back work that no thread has begun; False when one has."""
        if self._waiting.pop(attempt, None) is None:
            return False
        self._busy -= 1
        return True

    def retire(self, attempt: Attempt) -> None:
        """Give up the thread that runs this attempt: another takes its place when needed.

        The thread ends after its present work, at once or after years.
        """
        seat = attempt.seat
        if seat is None or not seat.runs(attempt) or attempt in self._given_up:
            return
        seat.retired = True
        self._seats.discard(seat)
        self._given_up.add(attempt)
        self._busy -= 1

    def close(self) -> None:
        """Let idle threads end now and busy ones after their work; does not wait."""
        self._inbox.put(None)
        self._seats.clear()

    def _grow(self) -> None:
        seat = Seat()
        threading.Thread(target=self._serve, args=(seat,), name=_NAME, daemon=True).start()
        self._seats.add(seat)

    def _serve(self, seat: Seat) -> None:
        """Take work until told to end; runs on the thread of `seat`."""
        while not seat.retired:
            work = self._inbox.get()
            if work is None:
                self._inbox.put(None)  # For the next thread.
                return
            result = seat.run(work, self._waiting)
            if os.getpid() != self._pid:
                # A task forked and its child came back here: it must not go on as a worker.
                os._exit(_FORKED)
            if result is WITHDRAWN:
                continue
            self._results.append((work, result))
            # Two threads may both see False here: then the loop wakes once too often.
            if not self._awake:
                self._awake = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:
                    return  # The loop is closed: nobody is left to hear of this job.

    def _collect(self) -> None:
        """Pass the results that are there to those who wait for them."""
        # Cleared before the count, so that a result that comes later wakes the loop again.
        self._awake = False
        for _ in range(len(self._results)):
            work, result = self._results.popleft()
            if work.attempt in self._given_up:
                self._given_up.discard(work.attempt)
            else:
                self._busy -= 1
            work.done(work.attempt, result)
