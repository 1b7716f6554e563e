"""The scripts of the Redis store, as texts: one a verb, and what stands before each of them.

Before a script stand the names of the keys, `common` and `book`, of which it gets only what it
names: a server carries out every definition at each call, and one enqueue is as dear as those.
What shares its values but answers several questions is one text of several files: the book of
gates, which is one function, and an exchange, which settles and claims.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from textwrap import indent

from msgspec import Struct

from treadle.store.redis.keys import script_names

_PARTS = {
    "book": ("gates", "asks", "room", "passing", "breakers", "park", "wake", "write"),
    "settle": ("judge", "write", "gates"),
    "claim": ("job", "best"),
}
"""What a line `include 'folder'` stands for: its files in this order, each on those before it."""
_INCLUDE = re.compile(r"^( *)include '(\w+)'$", re.MULTILINE)
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
    before = "\n".join([script_names(), _read("common"), _read("book")])
    return re.split(r"^(?=local )", before, flags=re.MULTILINE)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(_COMMENT.sub("", text)))


def _read(name: str) -> str:
    """Read a file of this folder, with the parts that it includes, each as far in as that line."""
    folder = resources.files("treadle.store.redis.scripts")
    text = folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(_included, text)


def _included(line: re.Match[str]) -> str:
    room, folder = line.groups()
    parts = (_read(f"{folder}/{part}") for part in _PARTS[folder])
    return indent("\n".join(parts), room).removesuffix("\n")
