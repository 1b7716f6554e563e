"""Interrupted: what a signal handler or a finalizer asks of the very thread that it has struck.

Python runs both between any two steps of what a thread does: inside a section that a lock guards,
inside a transaction. What they ask for there would wait for what waits for them. So each lock that
a call comes to knows the thread that holds it, and refuses that one at once, before anything is
sent; what it interrupted goes on as if nothing had been.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from treadle.core.errors import StoreUnavailable


def check_free(mutex: threading.RLock) -> None:
    """Refuse who comes to a section that its own thread is in already.

    Asked of the lock itself, as `threading.Condition` does: a note of ours beside it would be
    written a step later, and it is steps that are interrupted.

    Raises:
        StoreUnavailable: it is a handler or a finalizer; nothing was sent.
    """
    if mutex._is_owned():  # type: ignore[attr-defined] # noqa: SLF001 -- no public name tells it
        raise interrupted()


def codes_of(*functions: Callable[..., Any]) -> frozenset[CodeType]:
    """Give by what `is_nested` knows functions."""
    return frozenset(function.__code__ for function in functions)


def is_nested(codes: frozenset[CodeType]) -> bool:
    """Tell whether this thread is in one of these functions within a call of one of them.

    It reads the thread's stack: dear, and beyond doubt. A note that a thread is in a call is cheap,
    but an error that strikes as it is taken away (Ctrl-C, a soft timeout) leaves it behind.
    """
    found = 0
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 -- its documented name
    while frame is not None and found <= 1:
        found += frame.f_code in codes
        frame = frame.f_back
    return found > 1


class Inside:
    """The threads that are in a call which nothing on the same thread may wait for.

    Args:
        functions: those that add a thread's note, and take it away at their end.
    """

    __slots__ = ("_codes", "_threads")

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self._codes = codes_of(*functions)
        self._threads: set[int] = set()

    def check(self) -> int:
        """Give this thread's number, for `add` and `discard`; called by one of the functions.

        Raises:
            StoreUnavailable: it is in such a call, which a handler or a finalizer has interrupted.
        """
        me = threading.get_ident()
        if me in self._threads and is_nested(self._codes):
            raise interrupted()
        return me

    def add(self, thread: int) -> None:
        """Note that a thread is in a call; inside the `try` whose end takes the note away."""
        self._threads.add(thread)

    def discard(self, thread: int) -> None:
        """Note that it is in none."""
        self._threads.discard(thread)

    def clear(self) -> None:
        """Forget all, in a fork's child: the parent's threads are not there."""
        self._threads.clear()


def interrupted() -> StoreUnavailable:
    """Make the error."""
    return StoreUnavailable(
        "this call comes from a signal handler or a finalizer (__del__) that has interrupted "
        "another call of treadle in the same thread, and would wait for that one for ever; nothing "
        "was sent. Let the handler put what is to be done into a queue.SimpleQueue or set a flag, "
        "and enqueue from the program itself or from another thread"
    )
