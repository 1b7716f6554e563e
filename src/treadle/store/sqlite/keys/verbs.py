"""The verbs for keys and locks, as the store's face has them."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.store.parts.keyed import KeyRecord, LockTaken
from treadle.store.sqlite.engine.runner import Runner, drive
from treadle.store.sqlite.keys import locks, taking


class SqliteKeys:
    """Keys and locks of a store in SQLite."""

    _runner: Runner
    _sql: dict[str, str]

    async def keys(self, names: Sequence[str]) -> Sequence[KeyRecord | None]:
        """Read who holds these keys."""
        return await drive(self._runner.read(lambda db, at: taking.keys(db, self._sql, names, at)))

    async def lock_take(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> LockTaken:
        """Take a lock that nobody has."""
        words = (name, token, lease)
        return await drive(
            self._runner.write(lambda db, at: locks.take(db, self._sql, *words, at), now)
        )

    async def lock_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong a hold."""
        words = (name, token, lease)
        return await drive(
            self._runner.write(lambda db, at: locks.renew(db, self._sql, *words, at), now)
        )

    async def lock_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End a hold."""
        return await drive(
            self._runner.write(lambda db, at: locks.free(db, self._sql, name, token, at), now)
        )
