"""The verbs for holds, as the store's face has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.store.sqlite.engine.bell import WORK, FileBell, MemoryBell
from treadle.store.sqlite.engine.runner import Runner, drive
from treadle.store.sqlite.gates import holds
from treadle.store.sqlite.gates.book import Book

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateUse
    from treadle.store.parts.holding import HoldTaken


class SqliteHolds:
    """Holds of a store in SQLite."""

    _runner: Runner
    _sql: dict[str, str]
    _bell: FileBell | MemoryBell

    async def hold_take(
        self, use: GateUse, token: bytes, lease: int, *, now: int | None = None
    ) -> HoldTaken:
        """Pass a gate, or wait in its line."""
        taken = await drive(
            self._runner.write(
                lambda db, at: holds.take(Book(db, self._sql, at), use, token, lease), now
            )
        )
        if not taken.is_held:
            # A job may have been woken in its turn.
            self._bell.ring(WORK)
        return taken

    async def hold_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong a hold."""
        return await drive(
            self._runner.write(
                lambda db, at: holds.renew(Book(db, self._sql, at), name, token, lease), now
            )
        )

    async def hold_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End a hold."""
        done = await drive(
            self._runner.write(lambda db, at: holds.free(Book(db, self._sql, at), name, token), now)
        )
        self._bell.ring(WORK)
        return done
