"""Connections: a small pool, fork-safe, for every thread and event loop of the process.

A connection belongs to nobody between two conversations: what waits for it, a thread or a
loop, only looks at its socket. After a fork the child forgets the parent's connections: what
it wrote to one of their sockets would be read as the parent's own words.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque

from treadle.core.threads.interrupted import check_free
from treadle.store.postgres.engine.wire import Wire

OPEN_MAX = 16
"""Connections of one store in one process."""
_IDLE_MAX = 6

# Connections that belong to a parent process; kept alive for ever so that no one closes them.
_inherited: list[object] = []
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool:
    """The connections of one store."""

    def __init__(self) -> None:
        self._begin()
        _pools.add(self)
        weakref.finalize(self, _close_all, self._idle).atexit = False

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._idle: deque[Wire] = deque()
        self._lent: set[Wire] = set()
        self._opening = 0
        self._era = 0
        """Counts the closes: what was lent before one is closed when it comes back."""
        self.opens = 0
        """Counts the connections that were ever opened."""
        self._eras: dict[Wire, int] = {}

    def take(self, *, line: bool = False) -> Wire | None:
        """Lend an idle connection that looks alive; None when there is none.

        The line takes from one end and gives back to it, everybody else from the other: so the
        line's statements are planned, and its pages known, in one of the server's processes.

        Raises:
            StoreUnavailable: a signal handler has interrupted its own thread here.
        """
        check_free(self._lock)
        while True:
            with self._lock:
                if not self._idle:
                    return None
                wire = self._idle.pop() if line else self._idle.popleft()
                self._lent.add(wire)
            if wire.is_sound():
                return wire
            self.drop(wire)

    def reserve(self, *, urgent: bool) -> bool:
        """Ask whether one more may be opened; `opened` or `failed` must follow a yes."""
        with self._lock:
            room = len(self._lent) + len(self._idle) + self._opening < OPEN_MAX
            self._opening += room or urgent
        return room or urgent

    def opened(self, wire: Wire) -> None:
        """Count a new connection as lent."""
        with self._lock:
            self._opening -= 1
            self.opens += 1
            self._lent.add(wire)
            self._eras[wire] = self._era

    def failed(self) -> None:
        """Give a reserved place back."""
        with self._lock:
            self._opening -= 1

    def give(self, wire: Wire, *, line: bool = False) -> None:
        """Take a connection back, or close it: it is one too many, worn, or broke off midway."""
        with self._lock:
            known = self._eras.get(wire) == self._era
            if wire.idle and known and not wire.is_worn and len(self._idle) < _IDLE_MAX:
                self._lent.discard(wire)
                (self._idle.append if line else self._idle.appendleft)(wire)
                return
        self.drop(wire)

    def drop(self, wire: Wire) -> None:
        """Close a connection."""
        with self._lock:
            self._lent.discard(wire)
            self._eras.pop(wire, None)
        wire.close()

    def close(self) -> None:
        """Close the idle connections; lent ones are closed when they come back."""
        with self._lock:
            self._era += 1
            idle = list(self._idle)
            self._idle.clear()
        for wire in idle:
            self.drop(wire)

    def after_fork(self) -> None:
        """Begin anew in a child."""
        _inherited.extend((*self._idle, *self._lent))
        # The finalizer closes this very deque, which must hold none of the parent's.
        idle = self._idle
        idle.clear()
        self._begin()
        self._idle = idle


def _close_all(idle: deque[Wire]) -> None:
    while idle:
        idle.pop().close()


def _after_fork() -> None:
    for pool in list(_pools):
        pool.after_fork()


os.register_at_fork(after_in_child=_after_fork)
