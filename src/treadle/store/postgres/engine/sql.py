"""Loading statements: `queries/<verb>.sql`, each a list of `-- name: x` blocks.

Those about gates stand in a folder, a file for each question: what a gate lets pass and bounds,
how jobs with gates come in, are claimed, wait, let go and wake, and what people do to gates.

Names are unique over all files. `{p}` is replaced by the namespace's schema and table prefix,
which have been checked, so that no caller's text ever becomes part of a statement; `{x}` by the
block of that name, or by the number of that name, which every store has from the same place. A
statement has `$1` for its parameters, as the server itself does.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib.resources import files

from msgspec import Struct

from treadle.core.durations import HOUR
from treadle.core.gates.gate import (
    ALL,
    FOREVER,
    FULL,
    LOOKS_MAX,
    PARKED_MAX,
    REPLACED,
    UNTOUCHED,
    WOKEN_FOR,
)
from treadle.core.gates.tells import DOUBLINGS_MAX
from treadle.core.tenants.tenant import STRIDE, UNTAGGED
from treadle.store.parts.holding import ASKING_MAX, ASKS_FOR, LAPSES_MAX

_FILES = (
    *("frame", "enqueue", "exchange", "worker", "rescue", "upkeep", "read", "control"),
    *("keys", "locks", "moving", "doctor", "schedules", "starts", "tenants"),
    "handing",
)
_GATES = (
    *("room", "bounds", "enqueue", "claim", "ample", "park", "full", "free", "tells", "wake"),
    *("holds", "control"),
)
_BLOCK = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)
_FRAGMENT = re.compile(r"\{(\w+)\}")
_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_VALUES = {
    "all_room": f"{ALL}",
    "an_hour": f"{HOUR}",
    "asking_max": f"{ASKING_MAX}",
    "asks_for": f"{ASKS_FOR}",
    "doublings_max": f"{DOUBLINGS_MAX}",
    "forever": f"{FOREVER}",
    "gate_kept": f"{UNTOUCHED}",
    "lapses_max": f"{LAPSES_MAX}",
    "looks_max": f"{LOOKS_MAX}",
    "no_place": f"'{FULL}'",
    "parked_max": f"{PARKED_MAX}",
    "replaced_by": f"'{REPLACED}'",
    "stride": f"{STRIDE}",
    "untagged": f"{UNTAGGED}",
    "woken_for": f"{WOKEN_FOR}",
}
"""What the rules of the core and the contract say in numbers and words, as statements have it."""
_OPEN = frozenset({"p", "i", "where", "channel", "again", "shelf", "until"})
"""What is not the name of a block."""
REST = "rest"
"""The table of history that is always there; what stands for `{shelf}` where nothing else does."""


class Statement(Struct, frozen=True):
    """A statement and the name under which it is prepared."""

    text: bytes
    name: bytes
    """Made from the text: behind a pooler, whoever prepared this name meant this statement."""


Statements = dict[str, Statement]


class Place(Struct, frozen=True):
    """Where a namespace's tables are."""

    schema: str | None
    prefix: str

    @property
    def tables(self) -> str:
        """Give what stands before the name of a table."""
        return f"{self.schema}.{self.prefix}" if self.schema else self.prefix

    @property
    def channel(self) -> str:
        """Give what stands before the kind of news in the name of a channel, which is short."""
        digest = hashlib.blake2b(self.tables.encode(), digest_size=8).hexdigest()
        return f"treadle_{digest}_"


def place_of(namespace: str, schema: str | None) -> Place:
    """Give the place of a namespace's tables.

    Raises:
        ValueError: the namespace is not 1 to 40 of the characters a-z, 0-9 and `_`.
    """
    if not _NAMESPACE.fullmatch(namespace):
        msg = f"{namespace!r} is not a namespace; use 1 to 40 small letters, digits and '_'"
        raise ValueError(msg)
    return Place(schema, "treadle_" if namespace == "default" else f"treadle_{namespace}_")


def statement(text: str) -> Statement:
    """Make a statement of a text."""
    raw = text.encode()
    digest = hashlib.blake2b(raw, digest_size=12).hexdigest()
    return Statement(raw, f"treadle_{digest}".encode())


@lru_cache(maxsize=64)
def texts(place: Place) -> dict[str, str]:
    """Read the text of every block, by name, with fragments and prefix filled in."""
    root = files("treadle.store.postgres") / "queries"
    blocks = dict(_VALUES)
    for file in (*_FILES, *(f"gates/{name}" for name in _GATES)):
        for name, body in _BLOCK.findall((root / f"{file}.sql").read_text(encoding="utf-8")):
            assert name not in blocks, f"two statements are named {name}"
            blocks[name] = body.strip().rstrip(";")
    return {n: _filled(body, blocks, place) for n, body in blocks.items() if n not in _VALUES}


def _filled(body: str, blocks: dict[str, str], place: Place) -> str:
    def fill(match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if name in _OPEN else _FRAGMENT.sub(fill, _COMMENT.sub("", blocks[name]))

    body = _FRAGMENT.sub(fill, body)
    body = body.replace("{p}", place.tables).replace("{i}", place.prefix)
    return body.replace("{channel}", place.channel)


@lru_cache(maxsize=64)
def statements(place: Place) -> Statements:
    """Make every statement, by name."""
    filled = {name: text.replace("{shelf}", REST) for name, text in texts(place).items()}
    found = {name: statement(text) for name, text in filled.items()}
    for name in ("enqueue", "enqueue_inside"):
        found[name] = statement(filled[name].replace("{again}", ""))
    for name, of in (("enqueue_beside", "enqueue"), ("store_unkeyed", "store_unkeyed")):
        found[name] = statement(filled[of].replace("{again}", "on conflict (id) do nothing"))
    return found


def migrations(place: Place) -> list[tuple[int, str, str]]:
    """Read the migrations as (version, `before` or `after`, script), in order."""
    root = files("treadle.store.postgres") / "migrations"
    found = []
    for entry in root.iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.(before|after)\.sql", entry.name)
        if match:
            text = entry.read_text(encoding="utf-8")
            text = text.replace("{p}", place.tables).replace("{i}", place.prefix)
            found.append((int(match[1]), match[2], text))
    return sorted(found, key=lambda m: (m[0], m[1] == "after"))
