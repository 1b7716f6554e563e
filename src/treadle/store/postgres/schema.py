"""The schema: its version in the database, and how it is brought up to date.

Migrations come in `before` and `after` steps, so that old and new workers can overlap:
`before` only adds what new code needs; `after`, applied with the next version's `before`,
takes away what old code used. The version counts both halves done. Workers never migrate by
themselves: many of them start at once, with the rights of workers. `treadle migrate` does, under
an advisory lock.
"""

from __future__ import annotations

import hashlib
import re

from msgspec import Struct

from treadle.core.errors import SchemaMismatch, StoreUnavailable
from treadle.store.postgres.engine.pack import int8, text
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Place, migrations, statement
from treadle.store.postgres.engine.target import Target
from treadle.store.postgres.engine.wire import Ask

VERSION = 11


class Found(Struct, frozen=True):
    """What is known of a store's tables once they have been looked for."""

    version: int = 0
    """The schema's version; 0: there are none."""
    identity: str = ""
    """By what the store's database is known to other connections."""


_LOOK = statement(
    "select current_setting('server_encoding')::text, pg_is_in_recovery(), "
    "current_setting('transaction_read_only')::text, to_regclass($1::text) is not null"
)
_BEGIN, _COMMIT = statement("begin"), statement("commit")
_READ = "select key, value from {}meta where key in ('version', 'identity')"
_WRITE = (
    "insert into {}meta (key, value) values ('version', '{}') "
    "on conflict (key) do update set value = excluded.value"
)
_LOCK = statement("select 1 from (select pg_advisory_xact_lock($1::bigint)) as locked")
_END_OF_STATEMENT = re.compile(r";[ \t]*(?:--[^\n]*)?\n")


def look(place: Place, target: Target) -> Talk[Found]:
    """Check that the server can carry a store, and find out which one it is.

    The transaction is begun by hand, as `ctx.transaction()` does: a pooler in statement mode, which
    ends the connection of whoever does that, is found out here and not in mid-job.

    Raises:
        StoreUnavailable: it is read-only, of another encoding, or behind such a pooler.
    """
    yield Ask([(_BEGIN, ())])
    _, [[row], _] = yield Ask([(_LOOK, (text(f"{place.tables}meta"),)), (_COMMIT, ())])
    encoding, recovering, read_only, there = row
    problem = None
    if encoding != "UTF8":
        problem = f"stores text as {encoding}; create the database with encoding 'UTF8'"
    elif recovering:
        problem = (
            "is in recovery: a standby, or a server that restores a backup; connect to the primary"
        )
    elif read_only == "on":
        problem = (
            "is read-only for this user (default_transaction_read_only); set that off, or connect "
            "to the primary"
        )
    if problem is not None:
        # A standby may be made the primary, a database whose disk is full may be writable again.
        passing = recovering or read_only == "on"
        raise StoreUnavailable(f"{target.name} {problem}", passing=passing and encoding == "UTF8")
    return (yield from read(place)) if there else Found()


def read(place: Place, *, end: bool = True) -> Talk[Found]:
    """Read which store it is, where there is one."""
    _, [rows] = yield Ask([(statement(_READ.format(place.tables)), ())], end=end)
    said: dict[str, str] = dict(rows)
    return Found(int(said.get("version", 0)), said.get("identity", ""))


def check_version(found: int, target: Target) -> None:
    """Refuse a schema that is not this library's.

    Raises:
        SchemaMismatch: it is missing, older or newer.
    """
    if found == 0:
        raise SchemaMismatch(
            f"{target.name} has no tables of treadle yet; "
            f"run `treadle migrate --store '{target.url}'`"
        )
    if found < VERSION:
        raise SchemaMismatch(
            f"{target.name} has schema version {found}, this library needs {VERSION}; "
            f"run `treadle migrate --store '{target.url}'`"
        )
    _refuse_newer(found, target)


def _refuse_newer(found: int, target: Target) -> None:
    if found > VERSION:
        raise SchemaMismatch(
            f"{target.name} has schema version {found}, this library knows {VERSION}: "
            "install a newer treadle, or use another database"
        )


def migrate(place: Place, target: Target) -> Talk[tuple[int, int]]:
    """Bring the schema up to date in one transaction, while others that would wait.

    Raises:
        SchemaMismatch: the schema is newer than this library.
    """
    key = hashlib.blake2b(f"treadle:{place.tables}".encode(), digest_size=8).digest()
    locked = (_LOCK, (int8(int.from_bytes(key, "big", signed=True)),))
    yield Ask([locked], end=False)
    _, [[row]] = yield Ask([(_LOOK, (text(f"{place.tables}meta"),))], end=False)
    found = (yield from read(place, end=False)).version if row[-1] else 0
    _refuse_newer(found, target)
    yield Ask([(statement(one), ()) for one in steps(place, found)])
    return found, VERSION


def steps(place: Place, found: int) -> list[str]:
    """Give the statements that bring a schema from version `found` to this library's."""
    if found >= VERSION:
        return []
    first = [f"create schema if not exists {place.schema}"] if place.schema else []
    scripts = [script for version, _, script in migrations(place) if version > found]
    return [
        *first,
        *(one for script in scripts for one in _split(script)),
        _WRITE.format(place.tables, VERSION),
    ]


def script(place: Place, found: int = 0) -> str:
    """Give the same statements as a text for `psql`, in one transaction."""
    return "".join(f"{one};\n\n" for one in ["begin", *steps(place, found), "commit"])


def _split(script: str) -> list[str]:
    """Split a script into statements; each ends with a semicolon at the end of a line."""
    return [part.strip() for part in _END_OF_STATEMENT.split(script) if part.strip()]
