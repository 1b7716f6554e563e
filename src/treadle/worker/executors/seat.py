"""A seat: one thread for sync tasks, and the way to raise an error in the task it runs.

CPython can raise an error in another thread, but only "soon": the thread meets it at one of
its next bytecodes. A seat makes sure that this is still the same task. The error is set under
a lock while the seat says which attempt it runs, and when that attempt leaves, the seat
clears under the same lock what has not struck yet. So a late error never hits the next job.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from msgspec import Struct

from treadle.worker.attempt import Attempt
from treadle.worker.outcomes.describe import stack_text

_raise_in_thread: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in_thread.argtypes = [ctypes.c_ulong, ctypes.py_object]
_raise_in_thread.restype = ctypes.c_int
_NO_ERROR: Final[Any] = ctypes.py_object()

WITHDRAWN: Final = object()
"""The result of work that was taken back before a thread began it."""


class Work(Struct, eq=False):
    """What a thread is asked to do for an attempt, and who is told."""

    attempt: Attempt
    call: Callable[[Attempt, Callable[[], None]], object]
    """Runs on the thread; it calls its second argument as soon as the task has returned."""
    caught: Callable[[Attempt, BaseException], object]
    """Makes a result of an error that struck `call` too late for its own handler."""
    done: Callable[[Attempt, object], None]
    """Takes the result, on the loop's thread."""
    context: Context


class Seat:
    """One thread's place; all but `retired` belongs to the thread or is guarded by the lock."""

    __slots__ = ("_ident", "_lock", "_pending", "_running", "retired")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ident = 0
        self._running: Attempt | None = None
        self._pending = False
        self.retired = False
        """Set on the loop's thread: this thread ends after the work it has."""

    def run(self, work: Work, waiting: dict[Attempt, Work]) -> object:
        """Run one piece of work on this thread and return its result; never raises.

        The thread owns the work once it has taken it out of `waiting`; when it was withdrawn
        before that, the result is `WITHDRAWN`.
        At most two errors are raised in one attempt, the soft limit and the end. One may
        strike in the task and one in the handler around it; the handler here meets the last.
        """
        attempt = work.attempt
        result: object = WITHDRAWN
        try:
            try:
                # Before it is taken: whoever then fails to withdraw it can reach the thread.
                self._ident = threading.get_ident()
                self._running = attempt
                attempt.seat = self
                if waiting.pop(attempt, None) is not None:
                    result = work.context.run(work.call, attempt, self.leave)
            finally:
                self.leave()
        except BaseException as error:  # noqa: BLE001 -- what strikes late must not end the thread
            self.leave()
            waiting.pop(attempt, None)
            if result is WITHDRAWN:
                result = work.caught(attempt, error)
        return result

    def leave(self) -> None:
        """End the time in which an error may be raised here; nothing strikes after it returns."""
        with self._lock:
            self._running = None
            if self._pending:
                self._pending = False
                _raise_in_thread(self._ident, _NO_ERROR)

    def strike(self, attempt: Attempt, error: type[BaseException]) -> bool:
        """Raise an error in this thread if it still runs this attempt; tell whether it does.

        A thread inside a C call meets the error when that returns.
        """
        with self._lock:
            if self._running is not attempt:
                return False
            self._pending = True
            _raise_in_thread(self._ident, error)
            return True

    def runs(self, attempt: Attempt) -> bool:
        """Tell whether this thread still runs the code of this attempt."""
        with self._lock:
            return self._running is attempt

    def stack_of(self, attempt: Attempt) -> str:
        """Write where this thread stands; empty when it no longer runs this attempt."""
        if not self.runs(attempt):
            return ""
        frames = sys._current_frames()  # noqa: SLF001 -- the documented way to see other threads
        return stack_text(frames.get(self._ident))
