"""Keys and locks: their verbs, as the store's face has them, and the fates of a batch with keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from treadle.core.job import Fate, How, JobState, Met
from treadle.store.parts.keyed import KeyRecord, LockTaken
from treadle.store.redis.access import RedisAccess
from treadle.store.redis.engine.wire import Word
from treadle.store.redis.rows import read_number
from treadle.store.redis.scripts import script

_STATES: Final = {
    ord("r"): JobState.READY,
    ord("s"): JobState.SCHEDULED,
    ord("b"): JobState.BLOCKED,
    ord("c"): JobState.CANCELLED,
}


def read_fates(answer: bytes) -> list[Fate]:
    """Read what `enqueue` answers: a letter a job, then a line for each that met another."""
    letters, *lines = answer.split(b"\n")
    if not lines:
        return [_STATES[letter] for letter in letters]
    met = map(_read_met, lines)
    return [_STATES.get(letter) or next(met) for letter in letters]


def _read_met(line: bytes) -> Met:
    how, job, state = line.decode().split(" ")
    return Met(bytes.fromhex(job), cast("How", how), JobState(state))


class RedisKeys(RedisAccess):
    """Keys and locks of a store in Redis."""

    async def _ask(self, name: str, now: int | None, *words: Word) -> Any:  # noqa: ANN401
        steps = self._runner.script(script(name), (self._now(now), *words), again=True)
        return await self._runner.run(steps)

    async def keys(self, names: Sequence[str]) -> Sequence[KeyRecord | None]:
        """Read who holds these keys."""
        rows = await self._ask("keys", None, *names) if names else ()
        return [
            None if row is None else _key(name, row) for name, row in zip(names, rows, strict=True)
        ]

    async def lock_take(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> LockTaken:
        """Take a lock that nobody has."""
        fence, wait = await self._ask("lock", now, "take", name, token.hex(), lease)
        return LockTaken(fence or None, wait)

    async def lock_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong a hold."""
        done, _ = await self._ask("lock", now, "renew", name, token.hex(), lease)
        return bool(done)

    async def lock_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End a hold."""
        done, _ = await self._ask("lock", now, "free", name, token.hex(), 0)
        return bool(done)


def _key(name: str, row: Sequence[bytes | None]) -> KeyRecord:
    job, until, until_at, behind = row
    return KeyRecord(
        name,
        bytes.fromhex((job or b"").decode()),
        (until or b"").decode(),
        read_number(until_at),
        bytes.fromhex(behind.decode()) if behind else None,
    )
