"""Rows: reading what the claiming statements return, and putting it in order."""

from __future__ import annotations

from operator import itemgetter

from treadle.core.job import Claim
from treadle.store.postgres.engine.wire import Row, Rows


def read_claim(row: Row, number: int | None = None, common: bytes | None = None) -> Claim:
    """Read a claim from a row that begins with `claim_row`; `number` stands for the one in it.

    `common` stands for gates that the row has left empty.
    """
    (
        priority, _, id_, stored, task, queue, attempt, args, attempts_max, forgiven, crashes,
        policy, created_at, run_at, expires_at, parked_at, tags, meta, tenant, started_at, key,
        gates, *_,
    ) = row  # fmt: skip
    return Claim(
        id_, stored if number is None else number, task, queue, priority, attempt, args,
        attempts_max, forgiven, crashes, policy, created_at, run_at, expires_at, parked_at,
        started_at or 0, tags, meta, tenant, key, common if gates == b"" else gates,
    )  # fmt: skip


def best_first(rows: Rows) -> Rows:
    """Sort in place as a claim orders: priority high to low, then order tag, then id."""
    rows.sort(key=_tag_and_id)
    # A sort keeps the order of equals, also when it is reversed.
    rows.sort(key=_priority, reverse=True)
    return rows


_priority = itemgetter(0)
_tag_and_id = itemgetter(1, 2)
QUEUE = 5
"""The place of the queue in a row."""
