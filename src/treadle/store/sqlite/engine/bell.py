"""The bell: how a commit in one process wakes a waiter in another within a millisecond.

After a commit the writer rings: one byte written over a file beside the database, when a mark
in that file says that somebody listens. Waiters watch it with inotify(7). Watching the WAL
itself would ring before the commit can be seen. `pragma data_version`, asked every 50 ms,
finds the commits of those who died before ringing and of foreign connections; where there is
no inotify it is asked every 5 ms instead. A wait is a hint only.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import sqlite3
import struct
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from treadle.store.sqlite.engine.beside import SmallFile, open_beside

if TYPE_CHECKING:
    from treadle.store.sqlite.engine.pool import Pool

_IN_MODIFY = 0x2
_POLL_S = 0.05
_POLL_BLIND_S = 0.005
_EVENT_BYTES = 4096
# Until when somebody listens, by CLOCK_MONOTONIC in nanoseconds; the byte after it is the bell.
_EARS = struct.Struct("q")
_EARS_NS = 4 * int(_POLL_S * 1e9)
_BELL_BYTES = _EARS.size + 1
_RUNG, _LATE = True, False
WORK, ENDS = "bell", "ends"


class Waiter(Protocol):
    """One task's view of the bells it listens to."""

    async def wait(self, timeout: float) -> bool:
        """Wait for a ring since the last return; False when `timeout` seconds ran out."""
        ...

    def close(self) -> None:
        """Let go of what the waiter holds."""
        ...


class FileBell:
    """The bells of a database file: one for work, one for ends."""

    def __init__(self, path: Path, pool: Pool) -> None:
        self._database = path
        self._paths = {kind: Path(f"{path}-{kind}") for kind in (WORK, ENDS)}
        self._pool = pool
        self._bells: dict[str, tuple[SmallFile, mmap.mmap]] = {}

    def open(self) -> None:
        """Make the bell files.

        Raises:
            OSError: they cannot be written.
        """
        for kind, path in self._paths.items():
            if kind not in self._bells:
                file = SmallFile(open_beside(path, self._database, _BELL_BYTES))
                # Allocated in full, so that a full disk cannot turn a write to it into a signal.
                os.posix_fallocate(file.fd, 0, _BELL_BYTES)
                self._bells[kind] = file, mmap.mmap(file.fd, _BELL_BYTES)

    def ring(self, kind: str) -> None:
        """Wake who waits for this kind, when anybody does.

        Writing the file costs an enqueue 5 %, because the next fsync has its time of change
        to write as well. A failed ring costs the waiters 50 ms, never a job.
        """
        bell = self._bells.get(kind)
        if bell is None:
            return
        try:
            # Not through the map: if somebody has cut the file short, that is a signal.
            ears = os.pread(bell[0].fd, _EARS.size, 0)
            if len(ears) == _EARS.size and _EARS.unpack(ears)[0] >= time.monotonic_ns():
                os.pwrite(bell[0].fd, b"\1", _EARS.size)
        except OSError:
            # A full disk: the waiters' look at data_version finds the commit instead.
            return

    def listen(self, kinds: tuple[str, ...]) -> None:
        """Say that somebody listens to these bells for a while from now on.

        Written through the map, since inotify tells of all that is written to the file. One that
        was cut short is made whole first, or that would be a signal; on a full disk it cannot be,
        and the look at data_version finds the commits.
        """
        until = time.monotonic_ns() + _EARS_NS
        for kind in kinds:
            bell = self._bells.get(kind)
            if bell is not None and _is_whole(bell[0]):
                _EARS.pack_into(bell[1], 0, until)

    def waiter(self, kinds: tuple[str, ...]) -> Waiter:
        """Begin to listen."""
        paths = [self._paths[kind] for kind in kinds]
        return _FileWaiter(paths, self._pool, partial(self.listen, kinds))

    def close(self) -> None:
        """Let go of the bell files, each closed once no thread uses it any more."""
        self._bells.clear()


def _is_whole(file: SmallFile) -> bool:
    """Make a file whole that was cut short; tell whether it is."""
    try:
        if os.fstat(file.fd).st_size < _BELL_BYTES:
            os.posix_fallocate(file.fd, 0, _BELL_BYTES)
    except OSError:
        return False
    return True


class _FileWaiter:
    """inotify on the bell files, and data_version behind it."""

    def __init__(self, paths: list[Path], pool: Pool, listen: Callable[[], None]) -> None:
        self._pool = pool
        self._listen = listen
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._inotify = _inotify(paths)

    async def wait(self, timeout: float) -> bool:
        """Wait for a ring or a foreign commit; the first wait returns at once.

        What rang before the waiter began is unknown, so it says that something may have.
        Its mark as a listener comes before its look at the file: a commit that missed the one
        is seen by the other.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._listen()
        while not self._changed():
            left = deadline - loop.time()
            if left <= 0:
                return False
            if await self._rung(loop, min(left, self._poll)):
                self._drain()
                self._changed()
                return True
            self._listen()
        return True

    async def _rung(self, loop: asyncio.AbstractEventLoop, timeout: float) -> bool:
        woken = loop.create_future()
        timer = loop.call_later(timeout, _resolve, woken, _LATE)
        if self._inotify is not None:
            loop.add_reader(self._inotify, _resolve, woken, _RUNG)
        try:
            return bool(await woken)
        finally:
            timer.cancel()
            if self._inotify is not None:
                loop.remove_reader(self._inotify)

    @property
    def _poll(self) -> float:
        return _POLL_S if self._inotify is not None else _POLL_BLIND_S

    def _drain(self) -> None:
        assert self._inotify is not None
        try:
            while len(os.read(self._inotify, _EVENT_BYTES)) == _EVENT_BYTES:
                pass
        except BlockingIOError:
            return

    def _changed(self) -> bool:
        """Tell whether another connection has committed since the last look."""
        try:
            if self._connection is None:
                self._connection = self._pool.take()
            if self._connection is None:
                return False
            version = int(self._connection.execute("pragma data_version").fetchone()[0])
        except sqlite3.Error:
            # The waiter's next call of the store meets the same fault and reports it.
            self.close_connection()
            return True
        changed = version != self._version
        self._version = version
        return changed

    def close_connection(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._pool.drop(self._connection)
            self._connection = None

    def close(self) -> None:
        """Close the inotify descriptor and the connection; safe to call twice."""
        self.close_connection()
        if self._inotify is not None:
            os.close(self._inotify)
            self._inotify = None

    # A waiter belongs to a task and goes with it, whether or not the store is closed.
    __del__ = close


class MemoryBell:
    """The bells of a memory store: events of the loops of one process."""

    def __init__(self) -> None:
        self._waiters: weakref.WeakSet[_MemoryWaiter] = weakref.WeakSet()

    def open(self) -> None:
        """Do nothing: there is nothing to open."""

    def ring(self, kind: str) -> None:
        """Wake who waits for this kind, on whichever loop."""
        for waiter in list(self._waiters):
            waiter.rung(kind)

    def waiter(self, kinds: tuple[str, ...]) -> Waiter:
        """Begin to listen."""
        waiter = _MemoryWaiter(kinds, asyncio.get_running_loop())
        self._waiters.add(waiter)
        return waiter

    def close(self) -> None:
        """Forget the waiters."""
        self._waiters.clear()


class _MemoryWaiter:
    def __init__(self, kinds: tuple[str, ...], loop: asyncio.AbstractEventLoop) -> None:
        self._kinds = kinds
        self._loop = loop
        # The first wait returns at once: what rang before the waiter began is unknown.
        self._has_rung = True
        self._woken: asyncio.Future[bool] | None = None

    def rung(self, kind: str) -> None:
        if kind in self._kinds and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._has_rung = True
        if self._woken is not None:
            _resolve(self._woken, _RUNG)

    async def wait(self, timeout: float) -> bool:
        if not self._has_rung:
            self._woken = self._loop.create_future()
            timer = self._loop.call_later(timeout, _resolve, self._woken, _LATE)
            try:
                await self._woken
            finally:
                timer.cancel()
                self._woken = None
        rung, self._has_rung = self._has_rung, False
        return rung

    def close(self) -> None:
        """Do nothing: the waiter holds nothing."""


def _resolve(future: asyncio.Future[bool], rung: bool) -> None:  # noqa: FBT001 -- a callback
    if not future.done():
        future.set_result(rung)


def _inotify(paths: list[Path]) -> int | None:
    """Watch these files for writes; None where the system has no inotify."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        return None
    for path in paths:
        if libc.inotify_add_watch(fd, os.fsencode(path), _IN_MODIFY) < 0:
            os.close(fd)
            return None
    return fd
