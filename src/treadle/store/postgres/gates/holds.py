"""Holds: who passes a gate without a job, and the verbs for that, as the store's face has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.store.parts.holding import HoldTaken
from treadle.store.postgres.access import PostgresAccess
from treadle.store.postgres.engine.pack import int8, text, texts
from treadle.store.postgres.engine.runner import Talk, drive
from treadle.store.postgres.engine.wire import Ask
from treadle.store.postgres.gates.line import definitions, waking
from treadle.store.postgres.news.ears import WORK
from treadle.store.postgres.tenants.turns import turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.core.gates.gate import GateUse
    from treadle.store.postgres.engine.sql import Statements
    from treadle.store.postgres.engine.wire import Call


class PostgresHolds(PostgresAccess):
    """Holds of a store in PostgreSQL."""

    async def hold_take(
        self, use: GateUse, token: bytes, lease: int, *, now: int | None = None
    ) -> HoldTaken:
        """Pass a gate, or wait in its line."""
        ring = self._ears.ring(WORK)
        return await drive(self._runner.run(lambda: _take(self._sql, use, token, lease, ring), now))

    async def hold_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong a hold."""
        call = (self._sql["hold_renew"], (text(name), token, int8(lease)))
        return await drive(self._runner.run(lambda: _done([call]), now))

    async def hold_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End a hold."""
        given = (texts([name]),)
        calls = [
            (self._sql["lock_gates"], given),
            (self._sql["hold_free"], (text(name), token)),
            *waking(self._sql, *given),
            *turns(self._sql),
        ]
        ring = self._ears.ring(WORK)
        return await drive(self._runner.run(lambda: _done(calls, at=1, after=ring), now))


def _take(
    sql: Statements, use: GateUse, token: bytes, lease: int, ring: Sequence[Call]
) -> Talk[HoldTaken]:
    given = (texts([use.name]),)
    calls = [
        (sql["define_gates"], definitions([use])),
        (sql["lock_gates"], given),
        (sql["lapse_holds"], given),
        (sql["hold_take"], (text(use.name), token, int8(use.cost), int8(lease))),
        *waking(sql, *given),
        *turns(sql),
    ]
    now, (_, _, _, [[passes, opens, ahead]], [[woken, *_]], *_) = yield Ask(calls)
    if woken:
        yield Ask(ring)
    if passes:
        return HoldTaken(is_held=True)
    wait = None if opens is None or opens <= now else opens - now
    return HoldTaken(is_held=False, wait=wait, ahead=ahead)


def _done(calls: Sequence[Call], at: int = 0, after: Sequence[Call] = ()) -> Talk[bool]:
    _, rows = yield Ask(calls, after=after)
    return bool(rows[at])
