"""Gates, as people look at them and change them; the scripts do the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.core.gates.gate import GateRecord
from treadle.store.parts.holding import ASKING_MAX, ASKS_FOR, HoldTaken
from treadle.store.redis.access import RedisAccess
from treadle.store.redis.engine.wire import Word
from treadle.store.redis.scripts import script

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateUse


class RedisGates(RedisAccess):
    """The verbs for gates, beside those for jobs and queues."""

    async def gates(
        self, *, only: str | None = None, after: str = "", limit: int = 100, now: int | None = None
    ) -> Sequence[GateRecord]:
        """Read gates by name."""
        words = (self._now(now), only or "", after, limit)
        rows = await self._runner.run(self._runner.script(script("gates"), words, again=True))
        return [_record(row) for row in rows]

    async def shut_gate(
        self,
        name: str,
        *,
        delay: int | None = None,
        note: str | None = None,
        now: int | None = None,
    ) -> None:
        """Shut a gate."""
        words = ("shut", name, "" if delay is None else delay, note or "")
        await self._act("gate", words, now)

    async def open_gate(self, name: str, *, now: int | None = None) -> bool:
        """Open a gate."""
        return bool(await self._act("gate", ("open", name), now))

    async def set_gate(
        self, use: GateUse, *, change_kind: bool = False, now: int | None = None
    ) -> bool:
        """Set a gate's numbers."""
        numbers = (use.quota, use.period, use.burst)
        words = ("set", use.name, use.kind, *numbers, int(change_kind))
        return bool(await self._act("gate", words, now))

    async def reset_gate(self, name: str, *, now: int | None = None) -> bool:
        """Let jobs say a gate's numbers again."""
        return bool(await self._act("gate", ("reset", name), now))

    async def _hold(self, now: int | None, *words: Word) -> tuple[bool, int, int]:
        steps = self._runner.script(script("hold"), (self._now(now), *words), again=True)
        done, wait, ahead = await self._runner.run(steps)
        return bool(done), wait, ahead

    async def hold_take(
        self, use: GateUse, token: bytes, lease: int, *, now: int | None = None
    ) -> HoldTaken:
        """Pass a gate, or wait in its line."""
        numbers = (use.kind, use.quota, use.period, use.burst, use.cost)
        words = (use.name, token.hex(), *numbers, lease, ASKS_FOR, ASKING_MAX)
        done, wait, ahead = await self._hold(now, "take", *words)
        return HoldTaken(done, None if wait < 0 else wait, ahead)

    async def hold_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong a hold."""
        return (await self._hold(now, "renew", name, token.hex(), lease))[0]

    async def hold_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End a hold."""
        return (await self._hold(now, "free", name, token.hex()))[0]


def _record(row: Sequence[Any]) -> GateRecord:
    (
        name, kind, quota, period, burst, used, room, waiting, shut_until, note, is_set, opens_at,
        tripped, holds, asking,
    ) = row  # fmt: skip
    return GateRecord(
        name.decode(errors="replace"), kind.decode(errors="replace"), quota, period, burst, used,
        room, waiting, int(shut_until) if shut_until else None,
        note.decode(errors="replace") or None if shut_until else None, bool(is_set),
        int(opens_at) if opens_at else None, tripped,
        holds if isinstance(holds, int) else 0, asking,
    )  # fmt: skip
