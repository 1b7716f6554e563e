"""The schema: its version in the file, and how it is brought up to date.

Migrations come in `before` and `after` steps, so that old and new workers can overlap:
`before` only adds what new code needs; `after`, applied with the next version's `before`,
takes away what old code used. The version counts both halves done.
"""

from __future__ import annotations

import sqlite3

from treadle.core.errors import SchemaMismatch
from treadle.store.sqlite.engine.clock import Damaged
from treadle.store.sqlite.engine.sql import migrations

VERSION = 8


def version_of(db: sqlite3.Connection, prefix: str) -> int:
    """Read the file's schema version; 0 when treadle has not been here yet."""
    table = db.execute(
        "select 1 from sqlite_schema where type = 'table' and name = ?", (f"{prefix}meta",)
    ).fetchone()
    if table is None:
        return 0
    row = db.execute(
        f"select value from {prefix}meta where key = 'version'"  # noqa: S608 -- checked prefix
    ).fetchone()
    if row is None:
        return 0
    try:
        return int(row[0])
    except (ValueError, TypeError) as error:
        raise Damaged(f"the version of its schema is {row[0]!r}") from error


def check_version(found: int, name: str) -> None:
    """Refuse a schema that is newer than this library.

    Raises:
        SchemaMismatch: it is.
    """
    if found > VERSION:
        msg = (
            f"{name} has schema version {found}, this library knows {VERSION}: "
            "install a newer treadle, or use another file"
        )
        raise SchemaMismatch(msg)


def migrate(db: sqlite3.Connection, prefix: str, name: str) -> tuple[int, int]:
    """Bring the schema up to date inside the caller's write transaction.

    Raises:
        SchemaMismatch: the file's schema is newer than this library.
    """
    found = version_of(db, prefix)
    check_version(found, name)
    for version, _, script in migrations(prefix):
        if version > found:
            for statement in _split(script):
                db.execute(statement)
    db.execute(
        f"insert into {prefix}meta (key, value) values ('version', ?) "  # noqa: S608
        "on conflict (key) do update set value = excluded.value",
        (str(VERSION),),
    )
    return found, VERSION


def _split(script: str) -> list[str]:
    """Split a script into statements, so that they stay inside one transaction."""
    found, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found
