"""Connections: a small pool, fork-safe, with the settings that the guarantees rest on.

A connection is lent to one conversation at a time and may serve any thread after that.
After a fork the child forgets the parent's connections without closing them: closing a
SQLite connection in a child would disturb the parent's locks (sqlite.org/howtocorrupt.html,
section 2.6).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType
from urllib.parse import quote

from treadle.core.errors import StoreUnavailable
from treadle.core.threads.interrupted import interrupted, is_nested

# 3.37 has STRICT tables, 3.35 RETURNING.
SQLITE_MIN = (3, 37, 0)
_IDLE_MAX = 4
_CACHE_KIB = 12_000
LOG_MAX = 16 * 2**20
"""To how many bytes the write-ahead log is cut once it begins anew; it seldom has a quarter of it.

Beside a reader that stays open it can only grow, and SQLite would keep all of its room for ever.
"""

# Connections that belong to a parent process; kept alive for ever so that no one closes them.
_inherited: list[object] = []
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly."""

    __slots__ = ("__weakref__",)


class Pool:
    """Connections to one file, or the single connection of a memory store."""

    def __init__(self, path: Path | None) -> None:
        """Take the file's path; None for a database in memory."""
        self.path = path
        self.mark = secrets.token_hex(8)
        """By which a memory store knows a connection of its own."""
        self._name = str(path)
        self._idle: deque[sqlite3.Connection] = deque()
        self._lent: weakref.WeakSet[sqlite3.Connection] = weakref.WeakSet()
        self._inside: dict[int, int] = {}
        """The threads that have the write lock, or a memory store's only connection, by its id.

        Not by itself: a note that an error has left behind must keep no lock.
        """
        self.carriers: frozenset[CodeType] = frozenset()
        """The functions that carry a conversation; who takes connections for them says which."""
        self._identity: tuple[int, int] | None = None
        self._made = threading.Lock()
        """Taken for good once a memory store's only connection is made."""
        # A store that nobody closed lets go of its connections with itself.
        weakref.finalize(self, _close_all, self._idle).atexit = False
        _pools.add(self)

    def take(self) -> sqlite3.Connection | None:
        """Lend a connection; None when a memory store's only one is out.

        Raises:
            StoreUnavailable, sqlite3.Error: it cannot be opened.
        """
        try:
            return self._idle.pop()
        except IndexError:
            return self._one_more()

    def _one_more(self) -> sqlite3.Connection | None:
        if self.path is not None:
            return self._connect(f"file://{quote(self._name)}?mode=rw", uri=True)
        if self._made.acquire(blocking=False):
            return self._connect(":memory:", uri=False)
        return None

    def separate(self) -> sqlite3.Connection | None:
        """Give a connection that nobody else will have; a memory store lends its only one.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        if self.path is None:
            return self.take()
        return self._one_more()

    def give(self, connection: sqlite3.Connection) -> None:
        """Take a connection back, or close it when there are enough."""
        if self.path is None or len(self._idle) < _IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def drop(self, connection: sqlite3.Connection) -> None:
        """Close a connection that met a fault; a memory store keeps its only one."""
        if self.path is not None:
            connection.close()
        elif connection not in self._idle:
            self._idle.append(connection)

    # What a thread holds, and would wait for in vain when a signal handler interrupts it there

    def check_inside(self) -> None:
        """Refuse who would wait for what its own thread holds.

        Raises:
            StoreUnavailable: it is a signal handler or a finalizer.
        """
        if threading.get_ident() in self._inside and is_nested(self.carriers):
            raise interrupted()

    def enter(self, connection: sqlite3.Connection) -> None:
        """Note that this thread takes the write lock by it."""
        self._inside[threading.get_ident()] = id(connection)

    def take_only(self, take: Callable[[], sqlite3.Connection | None]) -> sqlite3.Connection | None:
        """Take a memory store's only connection, and let it be known to be this thread's."""
        self.check_inside()
        me, connection = threading.get_ident(), None
        try:
            self._inside[me] = id(None)
            connection = take()
            self._inside[me] = id(connection)
        finally:
            if connection is None:
                self._inside.pop(me, None)
        return connection

    def leave(self, connection: sqlite3.Connection) -> None:
        """Note that this thread holds nothing by it any more."""
        me = threading.get_ident()
        if self._inside.get(me) == id(connection):
            # A handler that strikes here may have been lent the same one, and have left already.
            self._inside.pop(me, None)

    def close(self) -> None:
        """Close the idle connections; a later `take` opens new ones."""
        _close_all(self._idle)
        self._made = threading.Lock()
        self._identity = None

    def check_file(self) -> None:
        """Make sure that the path still names the file that was opened.

        Raises:
            StoreUnavailable: it was deleted or replaced while it was open.
        """
        if self.path is None:
            return
        try:
            # Each enqueue comes here: pathlib's own stat costs twice as much.
            stat = os.stat(self._name)  # noqa: PTH116
        except OSError as error:
            self.close()
            msg = f"{self.path} was deleted while it was open ({error.strerror}); restore it"
            raise StoreUnavailable(msg) from error
        identity = (stat.st_dev, stat.st_ino)
        if self._identity not in (None, identity):
            self.close()
            msg = f"{self.path} was replaced by another file while it was open; restart"
            raise StoreUnavailable(msg)
        self._identity = identity

    def _connect(self, name: str, *, uri: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(
            name,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=_Connection,
            uri=uri,
        )
        try:
            # secure_delete overwrites freed space with zeros: 10 % of a drain, and no
            # protection that treadle promises.
            for pragma in (
                "secure_delete = off",
                "temp_store = memory",
                f"cache_size = -{_CACHE_KIB}",
                "synchronous = full",
                f"journal_size_limit = {LOG_MAX}",
            ):
                connection.execute(f"pragma {pragma}")
        except BaseException:
            connection.close()
            raise
        self._lent.add(connection)
        return connection

    def _after_fork(self) -> None:
        _inherited.extend(self._lent)
        self._inside.clear()
        self._idle.clear()
        self._lent = weakref.WeakSet()
        self._made = threading.Lock()
        self._identity = None


def _close_all(idle: deque[sqlite3.Connection]) -> None:
    # Not asked first whether one is left: another thread may take the last one in between.
    with suppress(IndexError):
        while True:
            idle.pop().close()


def _after_fork() -> None:
    for pool in list(_pools):
        pool._after_fork()  # noqa: SLF001 -- the pool's own module


os.register_at_fork(after_in_child=_after_fork)
