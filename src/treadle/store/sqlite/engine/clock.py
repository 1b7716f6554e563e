"""The store's clock: the wall clock, but never earlier than the newest time the file has seen.

A wall clock may be set back. The file remembers the newest time, with the boot and its
monotonic clock; while that boot lasts, time goes on from there at the monotonic clock's pace,
so a delay neither starts early nor stands still (docs/adr/0004).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.core.durations import SECOND

if TYPE_CHECKING:
    from treadle.core.clock import Clock


UNKNOWN_BOOT = "unknown"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        # Without one, another boot cannot be told from this one; leases alone decide then.
        return UNKNOWN_BOOT


BOOT_ID = _boot_id()


class Damaged(sqlite3.DatabaseError):
    """What the store has noted in its file, of its clock or its schema, cannot be read."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class StoreClock:
    """Gives the store's now, in microseconds since the epoch."""

    def __init__(self, clock: Clock, prefix: str) -> None:
        self.clock = clock
        self._select = f"select value from {prefix}meta where key = 'clock'"  # noqa: S608
        self._update = (
            f"insert into {prefix}meta (key, value) values ('clock', ?) "  # noqa: S608
            "on conflict (key) do update set value = excluded.value"
        )
        self._newest = 0
        self._at = clock.monotonic()

    def now(self) -> int:
        """Read the time without asking the file."""
        return max(self.clock.wall(), self._newest + self.clock.monotonic() - self._at)

    def seen(self, connection: sqlite3.Connection) -> int:
        """Read the time, together with what the file has seen, inside a transaction.

        Writes the file's newest time when it is more than a second behind.
        """
        stored, now = self._look(connection)
        self._newest, self._at = now, self.clock.monotonic()
        if stored is None or now - stored > SECOND:
            connection.execute(self._update, (f"{now} {self._at} {BOOT_ID}",))
        return now

    def read(self, connection: sqlite3.Connection) -> int:
        """Read the same time and write nothing."""
        return self._look(connection)[1]

    def _look(self, connection: sqlite3.Connection) -> tuple[int | None, int]:
        """Give the newest time that the file has noted, and now as `seen` gives it."""
        row = connection.execute(self._select).fetchone()
        if row is None:
            return None, self.now()
        try:
            newest, monotonic, boot = row[0].split()
            reached = int(newest)
            if boot == BOOT_ID:
                reached += max(0, self.clock.monotonic() - int(monotonic))
        except (ValueError, AttributeError) as error:
            raise Damaged(f"its clock is {row[0]!r}") from error
        return int(newest), max(self.now(), reached)
