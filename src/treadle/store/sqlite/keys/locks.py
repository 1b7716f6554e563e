"""Locks: held by a token for as long as its lease, each hold under a number that only rises."""

from __future__ import annotations

import sqlite3

from treadle.store.parts.keyed import LockTaken

Statements = dict[str, str]


def take(
    db: sqlite3.Connection, sql: Statements, name: str, token: bytes, lease: int, now: int
) -> LockTaken:
    """Take a lock that nobody has, or that this token has already."""
    row = db.execute(sql["lock"], (name,)).fetchone()
    if row is not None and row[0] is not None and row[2] > now:
        if row[0] != token:
            return LockTaken(None, wait=row[2] - now)
        fence = row[1]
    else:
        [fence] = db.execute(sql["lock_fence"]).fetchone()
    db.execute(sql["lock_hold"], (name, token, fence, now + lease))
    return LockTaken(fence)


def renew(
    db: sqlite3.Connection, sql: Statements, name: str, token: bytes, lease: int, now: int
) -> bool:
    """Prolong a hold that has not ended."""
    return db.execute(sql["lock_renew"], (now, lease, name, token, now)).rowcount > 0


def free(db: sqlite3.Connection, sql: Statements, name: str, token: bytes, now: int) -> bool:
    """End a hold that has not ended."""
    return db.execute(sql["lock_free"], (now, name, token, now)).rowcount > 0
