"""Overdue: who has waited too long for the file's write lock goes next.

SQLite gives its lock to whoever asks at the right instant. A worker that drains asks again as
soon as it has committed, so another writer, who looks now and then, may miss the gap between
two transactions for seconds. Such a one puts a mark into a file beside the database, mapped
into memory by every process; who finds it there does not begin before that one has.

The mark is a courtesy and guards nothing: the lock is SQLite's. It says until when it holds,
so that one whose writer was killed or stopped is over by itself (docs/adr/0025).
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

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
        self._mark: bytearray | mmap.mmap = bytearray(_MARK.size)

    def open(self, path: Path) -> None:
        """Map the file that holds the mark, made where there is none.

        Raises:
            OSError: it cannot be written.
        """
        if isinstance(self._mark, mmap.mmap):
            return
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Allocated in full, so that a full disk cannot turn a write to it into a signal.
            os.posix_fallocate(fd, 0, _MARK.size)
            self._mark = mmap.mmap(fd, _MARK.size)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of the file; it is unmapped once no thread looks at it any more."""
        self._mark = bytearray(_MARK.size)

    @property
    def marked(self) -> bool:
        """Whether there is a mark at all, be it over or not; mostly there is none."""
        return _MARK.unpack_from(self._mark) != _NOTHING

    def before(self, since: int) -> bool:
        """Tell whether somebody goes before one who came then."""
        marked, until = _MARK.unpack_from(self._mark)
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
            _MARK.pack_into(self._mark, 0, since, now + int(pause * 1e9) + _SLACK_NS)
        return pause

    def done(self, since: int) -> None:
        """Take the mark away, if it is of the one who came then."""
        if _MARK.unpack_from(self._mark)[0] == since:
            _MARK.pack_into(self._mark, 0, *_NOTHING)
