"""The key of a new job, as a store is told of it.

A key is a name that at most one job holds. It is taken inside `enqueue` and freed by the same
write that ends the job's claim to it, so nothing has to be remembered outside the store and a
crash anywhere leaves it with its job. Everything that users see is built from these few values.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

NAME_MAX: Final = 512
"""Characters of a whole name; of them a user's part takes at most `KEY_MAX`."""
KEY_MAX: Final = 200
HASH_BYTES: Final = 32


class Until(StrEnum):
    """When a key is freed. A row that goes frees its key as well, but for `TIME`."""

    CLAIM = "claim"
    """By the first claim of its job, or by its end before that."""
    END = "end"
    """By the end of its job, whichever that is."""
    RECORD = "record"
    """By an end that is no success; else when the job's record goes."""
    TIME = "time"
    """At an instant, whatever has become of its job."""


class Conflict(StrEnum):
    """What a new job does that finds its key held by another one."""

    KEEP = "keep"
    """It is not stored: the other one stands for it."""
    SKIP = "skip"
    """It is not stored, and nothing stands for it; to a store the same."""
    REFUSE = "refuse"
    """It is not stored, and its caller is to be told so by an error."""
    REPLACE = "replace"
    """Its values go into the job that waits; behind one that runs it waits itself."""


class Key(Struct, frozen=True, gc=False):
    """The key that a new job wants. Durations are microseconds."""

    name: str
    until: Until = Until.END
    conflict: Conflict = Conflict.KEEP
    hold: int = 0
    """For `TIME`: how long it is held from the store's now."""
    max_wait: int | None = None
    """For `REPLACE`: how long after its making a waiting job may be put off."""
    hash: bytes | None = None
    """Of the task and its arguments; a job of another hash is refused, whatever it would do."""


def check_key(key: Key) -> None:
    """Refuse a key that no store can hold.

    Raises:
        ValueError: its name is empty, too long or no text that can be stored; its hold is not
            above zero, or it would replace as well; or its hash is none.
    """
    if not 0 < len(key.name) <= NAME_MAX:
        raise ValueError(
            f"the name of a key has 1 to {NAME_MAX} characters, not {len(key.name)}: "
            f"{key.name[:60]!r}"
        )
    if "\0" in key.name or any("\ud800" <= char <= "\udfff" for char in key.name):
        raise ValueError(
            f"the key {key.name[:60]!r} has a NUL or a lone surrogate, which no store can hold"
        )
    if key.until is Until.TIME and key.hold <= 0:
        raise ValueError(f"the key {key.name!r} is held for a time, which must be above zero")
    if key.until is Until.TIME and key.conflict is Conflict.REPLACE:
        raise ValueError(
            f"the key {key.name!r} is held for a time, so its job cannot wait behind another one, "
            "as nobody would know from when on; take another way to meet a conflict"
        )
    if key.hash is not None and len(key.hash) != HASH_BYTES:
        raise ValueError(f"a hash of arguments has {HASH_BYTES} bytes, not {len(key.hash)}")
