"""Overdue: who has waited too long for the file's write lock goes next.

SQLite gives its lock to whoever asks at the right instant. A worker that drains asks again as
soon as it has committed, so another writer, who looks now and then, may miss the gap between
two transactions for seconds. Such a one puts a mark into a file beside the database; whoever
finds it there does not begin before that one has.

The mark is a courtesy and guards nothing: the lock is SQLite's. It says until when it holds,
so that one whose writer was killed or stopped is over by itself (docs/adr/0025). The file is
read and written and not mapped: a map of one that somebody cuts short, as a copy onto it does,
ends the process with SIGBUS.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from treadle.store.sqlite.engine.beside import SmallFile, open_beside

_log = logging.getLogger("treadle.store")

# Since when its writer waits, and until when it holds; CLOCK_MONOTONIC, in nanoseconds.
_MARK = struct.Struct("qq")
_NOTHING = (0, 0)
LATE_NS = 100_000_000
"""From when a wait is too long. Workers of a fleet wait for each other for less, mostly."""
_SLACK_NS = 60_000_000
"""For a thread that comes back late from its pause: it waits for a processor, and in each step of
its look for the interpreter lock."""
LONGEST_NS = 100_000_000
"""The longest that a mark may hold."""
_NEXT_PAUSE_S = 0.000_5
_BEHIND_PAUSE_S = 0.003
"""Less than an exchange takes: the mark is put anew before who drains comes again."""
_PATIENT_NS = 1_000_000_000
"""Who waits longer than this, as for a backup, looks as rarely as others do."""


class Overdue:
    """The mark of one file; until it is opened, of this process alone."""

    def __init__(self, now: Callable[[], int] = time.monotonic_ns) -> None:
        """Take the clock: nanoseconds, the same for all processes of the machine."""
        self.now = now
        self._mark: _Own | _File = _Own()

    def open(self, database: Path) -> None:
        """Share the mark with all who open this database, by the file beside it.

        Where that cannot be, the store does without: it says so, and the mark stays this
        process's own.
        """
        if isinstance(self._mark, _File):
            return
        path = Path(f"{database}-next")
        try:
            self._mark = _File(open_beside(path, database, _MARK.size))
        except OSError as error:
            _log.warning(
                "%s cannot be used (%s), so a write of this process may wait long for the SQLite "
                "file while others write; give it the rights of %s, or move away what lies there",
                path,
                error,
                database,
            )

    def close(self) -> None:
        """Let go of the file; it is closed once no thread looks at it any more."""
        self._mark = _Own()

    @property
    def marked(self) -> bool:
        """Whether there is a mark at all, be it over or not; mostly there is none."""
        return self._mark.read() != _NOTHING

    def before(self, since: int) -> bool:
        """Tell whether somebody goes before one who came then."""
        marked, until = self._mark.read()
        if since <= marked:
            return False
        now = self.now()
        # Times that no writer can have put there are ignored: they must not stop anybody.
        return bool(marked <= now < until <= now + LONGEST_NS)

    def pause(self, since: int, pause: float) -> float:
        """Say for how many seconds one who came then pauses; mark who is overdue.

        Of several the mark is of the one who waits longest. That one looks often, because
        nobody else of treadle takes the lock meanwhile.
        """
        now = self.now()
        waited = now - since
        if waited < LATE_NS:
            return pause
        behind = self.before(since)
        if waited < _PATIENT_NS:
            pause = min(pause, _BEHIND_PAUSE_S if behind else _NEXT_PAUSE_S)
        if not behind:
            self._mark.write(since, now + int(pause * 1e9) + _SLACK_NS)
        return pause

    def done(self, since: int) -> None:
        """Take the mark away, if it is of the one who came then."""
        if self._mark.read()[0] == since:
            self._mark.write(*_NOTHING)


class _Own:
    """A mark in this process alone."""

    def __init__(self) -> None:
        self._mark = _NOTHING

    def read(self) -> tuple[int, int]:
        """Give the mark."""
        return self._mark

    def write(self, since: int, until: int) -> None:
        """Put it."""
        self._mark = since, until


class _File(SmallFile):
    """A mark in a file, whatever others do to that file."""

    def read(self) -> tuple[int, int]:
        """Give the mark; none where the file is too short for one or cannot be read."""
        try:
            raw = os.pread(self.fd, _MARK.size, 0)
        except OSError:
            return _NOTHING
        if len(raw) < _MARK.size:
            return _NOTHING
        since, until = _MARK.unpack(raw)
        return since, until

    def write(self, since: int, until: int) -> None:
        """Put it; on a full disk there is none, which costs its writer time and no job."""
        try:
            os.pwrite(self.fd, _MARK.pack(since, until), 0)
        except OSError:
            return
