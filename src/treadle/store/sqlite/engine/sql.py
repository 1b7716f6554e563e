"""Loading statements: `queries/<verb>.sql`, each a list of `-- name: x` blocks.

Names are unique over all files. `{p}` is replaced by the namespace's table prefix, which
`prefix_of` has checked, so that no caller's text ever becomes part of a statement.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from treadle.core.tenants.tenant import UNTAGGED

_FILES = (
    *("enqueue", "exchange", "worker", "rescue", "upkeep", "read", "control"),
    *("keys", "locks", "moving", "schedules", "gates", "holds", "starts", "tenants"),
)
_BLOCK = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)
_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,39}")


def prefix_of(namespace: str) -> str:
    """Give the table prefix of a namespace.

    Raises:
        ValueError: the namespace is not 1 to 40 of the characters a-z, 0-9 and `_`.
    """
    if not _NAMESPACE.fullmatch(namespace):
        msg = f"{namespace!r} is not a namespace; use 1 to 40 small letters, digits and '_'"
        raise ValueError(msg)
    return "treadle_" if namespace == "default" else f"treadle_{namespace}_"


@lru_cache(maxsize=64)
def statements(prefix: str) -> dict[str, str]:
    """Read every statement, by name, with the table prefix filled in."""
    root = files("treadle.store.sqlite") / "queries"
    found: dict[str, str] = {}
    for file in _FILES:
        text = (root / f"{file}.sql").read_text(encoding="utf-8")
        for name, body in _BLOCK.findall(text):
            assert name not in found, f"two statements are named {name}"
            found[name] = body.strip().rstrip(";").replace("{p}", prefix)
    turn_at, untagged = found.pop("turn_at"), str(UNTAGGED)
    return {
        name: body.replace("{turn_at}", turn_at).replace("{untagged}", untagged)
        for name, body in found.items()
    }


def migrations(prefix: str) -> list[tuple[int, str, str]]:
    """Read the migrations as (version, `before` or `after`, script), in order."""
    root = files("treadle.store.sqlite") / "migrations"
    found = []
    for entry in root.iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.(before|after)\.sql", entry.name)
        if match:
            text = entry.read_text(encoding="utf-8").replace("{p}", prefix)
            found.append((int(match[1]), match[2], text))
    return sorted(found, key=lambda m: (m[0], m[1] == "after"))
