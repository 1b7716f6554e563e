"""The part of the store contract that is about keys and locks.

A key is held by a job: `enqueue` takes it, and the write that ends the job's claim to it frees
it. A lock is held by a token, for as long as its lease; no job has to do with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class KeyRecord(Struct, frozen=True):
    """A key that is held."""

    name: str
    job: bytes
    """Its holder."""
    until: str
    """When it is freed; see `core.keys.key.Until`."""
    until_at: int | None = None
    """The instant at which it is freed, for a key that is held for a time."""
    next: bytes | None = None
    """The job that waits behind the holder and gets the key after it."""


class LockTaken(Struct, frozen=True):
    """The answer of `lock_take`."""

    fence: int | None
    """The number of this hold, above that of every hold before; None: somebody else has it."""
    wait: int = 0
    """For the latter: microseconds until the holder's lease ends, unless it is renewed."""


class HoldsKeys(Protocol):
    """What every store can tell of keys, and do with locks."""

    async def keys(self, names: Sequence[str]) -> Sequence[KeyRecord | None]:
        """Read who holds these keys, in order; None where nobody does."""
        ...

    async def lock_take(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> LockTaken:
        """Take a lock for `lease` microseconds if nobody has it; its own token has it again.

        The number in the answer only rises: by it, what is guarded refuses a holder of old.
        """
        ...

    async def lock_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong the hold of this token; False when it has ended, or is another's."""
        ...

    async def lock_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End the hold of this token; False when it had ended, or is another's."""
        ...
