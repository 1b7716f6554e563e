"""The scripts of the Redis store, as texts: one a verb, and what stands before each of them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from msgspec import Struct

from treadle.store.redis.keys import script_names

_WITH_BOOK = frozenset(
    {
        "cancel",
        "enqueue",
        "exchange",
        "fire",
        "gate",
        "gates",
        "give_back",
        "hold",
        "leave",
        "prune",
        "retry",
        "stage",
    }
)
"""The scripts that touch gates."""


class Script(Struct, frozen=True):
    """A script: its text for `EVAL`, and the digest under which a server knows it."""

    name: str
    text: bytes
    sha: bytes


@cache
def script(name: str) -> Script:
    """Read a script of this folder, with the names of the keys and `common` before it."""
    parts = [script_names(), _read("common")]
    if name in _WITH_BOOK:
        parts.append(_read("book"))
    if name == "fire":
        # It stores jobs, too: the whole of `enqueue`, with words of its own in place of ARGV.
        parts.append(f"local function store_jobs(ARGV)\n{_read('enqueue')}\nend")
    parts.append(_read(name))
    text = "\n".join(parts).encode()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


def _read(name: str) -> str:
    return (
        resources.files("treadle.store.redis.scripts")
        .joinpath(f"{name}.lua")
        .read_text(encoding="utf-8")
    )
