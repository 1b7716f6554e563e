"""The verbs for keys and locks, as the store's face has them."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.store.parts.keyed import KeyRecord, LockTaken
from treadle.store.postgres.access import PostgresAccess
from treadle.store.postgres.engine.pack import int8, text, texts
from treadle.store.postgres.engine.runner import Talk, drive
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call


class PostgresKeys(PostgresAccess):
    """Keys and locks of a store in PostgreSQL."""

    async def keys(self, names: Sequence[str]) -> Sequence[KeyRecord | None]:
        """Read who holds these keys."""
        return await drive(self._runner.run(lambda: _keys(self._sql, names)))

    async def lock_take(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> LockTaken:
        """Take a lock that nobody has."""
        return await drive(self._runner.run(lambda: _take(self._sql, name, token, lease), now))

    async def lock_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong a hold."""
        call = (self._sql["lock_renew"], (text(name), token, int8(lease)))
        return await drive(self._runner.run(lambda: _done(call), now))

    async def lock_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End a hold."""
        call = (self._sql["lock_free"], (text(name), token))
        return await drive(self._runner.run(lambda: _done(call), now))


def _keys(sql: Statements, names: Sequence[str]) -> Talk[list[KeyRecord | None]]:
    _, [rows] = yield Ask([(sql["keys"], (texts(names),))])
    found = {row[0]: KeyRecord(*row) for row in rows}
    return [found.get(name) for name in names]


def _take(sql: Statements, name: str, token: bytes, lease: int) -> Talk[LockTaken]:
    calls = [
        (sql["lock_take"], (text(name), token, int8(lease))),
        (sql["lock_left"], (text(name),)),
    ]
    _, (taken, left) = yield Ask(calls)
    return LockTaken(taken[0][0]) if taken else LockTaken(None, wait=left[0][0])


def _done(call: Call) -> Talk[bool]:
    _, [rows] = yield Ask([call])
    return bool(rows)
