"""The scripts of the Redis store, as texts: one a verb, and what stands before each of them.

Before a script stand the names of the keys, `common` and `book`, of which it gets only what it
names: a server carries out every definition at each call, and one enqueue is as dear as those.
`book` is one function, because its parts share what they have read; each part is a file.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from textwrap import indent

from msgspec import Struct

from treadle.store.redis.keys import script_names

_BOOK = ("gates", "asks", "room", "passing", "breakers", "park", "wake", "write")
"""The parts of the book in their order: each stands on those before it."""
_DEFINES = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
_COMMENT = re.compile(r"^ *--.*$", re.MULTILINE)
_WORD = re.compile(r"\w+")


class Script(Struct, frozen=True):
    """A script: its text for `EVAL`, and the digest under which a server knows it."""

    name: str
    text: bytes
    sha: bytes


@cache
def script(name: str) -> Script:
    """Read a script of this folder, with what it needs of the definitions before it."""
    body = _read(name)
    if name == "fire":
        # It stores jobs, too: the whole of `enqueue`, with words of its own in place of ARGV.
        body = f"local function store_jobs(ARGV)\n{_read('enqueue')}\nend\n{body}"
    text = f"{_needed(body)}\n{body}".encode()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


def _needed(body: str) -> str:
    """Give the definitions that a script names, and those that these name."""
    words, needed = _words(body), list[str]()
    for one in reversed(_definitions()):
        defines = _DEFINES.match(one)
        if defines and words.intersection(defines[1].split(", ")):
            needed.append(one)
            words |= _words(one)
    return "\n".join(reversed(needed))


@cache
def _definitions() -> list[str]:
    """Cut what stands before a script: each definition begins with `local` in the first column."""
    before = "\n".join([script_names(), _read("common"), _book()])
    return re.split(r"^(?=local )", before, flags=re.MULTILINE)


def _book() -> str:
    parts = "\n".join(indent(_read(f"book/{part}"), "  ") for part in _BOOK)
    return _read("book").replace("  include 'book'\n", parts)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(_COMMENT.sub("", text)))


def _read(name: str) -> str:
    return (
        resources.files("treadle.store.redis.scripts")
        .joinpath(f"{name}.lua")
        .read_text(encoding="utf-8")
    )
