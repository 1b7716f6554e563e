"""Order tags: every job of a tenant that a write has made ready is given one before the commit.

What makes a job ready leaves it a tag below zero, whichever verb it is; so no verb has to know of
fairness, and none can forget it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from treadle.core.tenants.tenant import TenantRecord

Statements = dict[str, str]


def give_tags(db: sqlite3.Connection, sql: Statements) -> None:
    """Give a tag to each ready job that has none; where there is no such job, one short look."""
    if db.execute(sql["any_untagged"]).fetchone() is not None:
        db.execute(sql["give_tags"])


def set_stride(db: sqlite3.Connection, sql: Statements, name: str, stride: int | None) -> None:
    """Set the stride of a tenant, or forget it."""
    if stride is None:
        db.execute(sql["drop_tenant"], (name,))
    else:
        db.execute(sql["set_tenant"], (name, stride))


def tenants(
    db: sqlite3.Connection, sql: Statements, only: str | None, after: str, limit: int
) -> Sequence[TenantRecord]:
    """Read tenants whose weight was set, by name."""
    rows = db.execute(sql["tenants"], {"only": only, "after": after, "limit": limit})
    return [TenantRecord(*row) for row in rows]
