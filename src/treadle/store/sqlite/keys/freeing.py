"""What an end, or a first claim, does to the key of its job. Inside the same transaction.

A key that is freed goes to the job that waits behind, if there is one; so there is no moment in
which a third could slip in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from treadle.core.keys.key import Until
from treadle.store.sqlite.keys.steps import Statements, Steps, carry

CLAIMED: Final = frozenset({Until.CLAIM})
"""What the first claim of a job frees."""
SUCCEEDED: Final = frozenset({Until.CLAIM, Until.END})
"""What a success frees."""
ENDED: Final = frozenset({Until.CLAIM, Until.END, Until.RECORD})
"""What any other end frees, and a record that goes."""

_ENDS: Final = frozenset({"failed", "cancelled", "expired"})


def free(
    db: sqlite3.Connection,
    sql: Statements,
    jobs: Iterable[bytes],
    kinds: frozenset[Until],
    now: int,
) -> None:
    """Free the keys of these kinds that these jobs hold."""
    for job in jobs:
        carry(db, sql, free_one(job, kinds, now))


def free_one(job: bytes, kinds: frozenset[Until], now: int) -> Steps[None]:
    """Free what one job holds of these kinds; when it ends, it waits for no key any more."""
    for name, until, behind in (yield "keys_of", (job,)):
        if until in kinds:
            yield from let_go(name, behind, now)
    if kinds is not CLAIMED:
        yield "key_given_up", (job,)


def let_go(name: str, behind: bytes | None, now: int) -> Steps[None]:
    """Hand a key to the job that waits behind, or to nobody."""
    if behind is not None:
        yield "key_pass", (name,)
        if (yield "wake", (now, behind)):
            return
    yield "key_drop", (name,)


def take_again(db: sqlite3.Connection, sql: Statements, job: bytes, now: int) -> bool:
    """Let an ended job that is to run again take its key; False when another one holds it."""
    row = db.execute(sql["key_of_job"], (job,)).fetchone()
    if row is None or row[0] is None or row[1] == Until.TIME or row[3] not in _ENDS:
        return True
    name, until, hash_, _ = row
    held = db.execute(sql["key"], (name,)).fetchone()
    if held is not None and held[1] == Until.TIME and held[2] <= now:
        carry(db, sql, let_go(name, held[4], now))
        held = db.execute(sql["key"], (name,)).fetchone()
    if held is None:
        db.execute(sql["key_take"], (name, job, until, None, hash_))
        return True
    return bool(held[0] == job)


def sweep(db: sqlite3.Connection, sql: Statements, after: str, limit: int, now: int) -> str:
    """Free keys whose time is over, and those of a page by name whose job does not hold them.

    A row that somebody deleted by hand, or that a worker without keys has ended, leaves a key
    that nobody frees. Gives the last name of the page, to go on from; empty at the end.
    """
    for name, _, behind in db.execute(sql["keys_over"], (now, limit)).fetchall():
        carry(db, sql, let_go(name, behind, now))
    page = db.execute(sql["keys_page"], (after, limit)).fetchall()
    for _, job, until, state in page:
        if state is None or state in _ENDS:
            free(db, sql, [job], ENDED, now)
        elif state == "succeeded":
            free(db, sql, [job], SUCCEEDED, now)
        elif state == "running" and until == Until.CLAIM:
            free(db, sql, [job], CLAIMED, now)
    return page[-1][0] if len(page) == limit else ""
