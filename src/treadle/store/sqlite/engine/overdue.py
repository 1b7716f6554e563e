"""Overdue: who has waited too long for the file's write lock goes next.

SQLite gives its lock to whoever asks at the right instant. A worker that drains asks again as
soon as it has committed, so another writer, who looks now and then, may miss the gap between
two transactions for seconds. Such a one puts a mark into a file beside the database, mapped
into memory by every process; who finds it there does not begin before that one has.

The mark is a courtesy and guards nothing: the lock is SQLite's. It says until when it holds,
so that one whose writer was killed or stopped is over by itself, within `_LONGEST_NS`.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

# Since when its writer waits, and until when it holds; CLOCK_MONOTONIC, in nanoseconds.
_MARK = struct.Struct("qq")
_NOTHING = (0, 0)
_LATE_NS = 50_000_000
"""From when a wait is too long: some exchanges of a drain."""
_SLACK_NS = 20_000_000
"""For a thread that comes back late from its pause, beside others that compute."""
_LONGEST_NS = 100_000_000
_NEXT_PAUSE_S = 0.000_5
_NEXT_NS = 1_000_000_000
"""Who waits longer than this, as for a backup, looks as rarely as others do."""


class Overdue:
    """The mark of one file; until it is opened, of this process alone."""

    def __init__(self) -> None:
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
        """Let go of the file; the last thread that looks at it unmaps it."""
        self._mark = bytearray(_MARK.size)

    def before(self, since: int | None) -> bool:
        """Tell whether somebody goes before one who waits since then, or (None) has just come."""
        marked, until = _MARK.unpack_from(self._mark)
        if not until or since is not None and since <= marked:
            return False
        now = time.monotonic_ns()
        # A time that no writer can have put there is ignored: it must not stop anybody.
        return bool(now < until <= now + _LONGEST_NS and marked <= now)

    def pause(self, since: int, pause: float) -> float:
        """Say how many seconds to pause for one who waits since then; mark one who is overdue.

        Of several the one who waits longest has the mark, and looks often: the lock is free
        for nobody else meanwhile.
        """
        now = time.monotonic_ns()
        waited = now - since
        if waited < _LATE_NS or self.before(since):
            return pause
        if waited < _NEXT_NS:
            pause = _NEXT_PAUSE_S
        _MARK.pack_into(self._mark, 0, since, now + int(pause * 1e9) + _SLACK_NS)
        return pause

    def done(self, since: int) -> None:
        """Take the mark away, if it is of the one who waited since then."""
        if _MARK.unpack_from(self._mark)[0] == since:
            _MARK.pack_into(self._mark, 0, *_NOTHING)
