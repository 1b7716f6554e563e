"""Rows: reading what the claiming statements return."""

from __future__ import annotations

from treadle.core.job import Claim
from treadle.store.postgres.engine.wire import Row


def read_claim(row: Row, number: int | None = None) -> Claim:
    """Read a claim from the columns `claim_row`; `number` stands for the one in the row."""
    (
        priority, _, id_, stored, task, queue, attempt, args, attempts_max, forgiven, crashes,
        policy, created_at, run_at, expires_at, parked_at, tags, meta, tenant, started_at,
    ) = row  # fmt: skip
    return Claim(
        id_, stored if number is None else number, task, queue, priority, attempt, args,
        attempts_max, forgiven, crashes, policy, created_at, run_at, expires_at, parked_at,
        started_at or 0, tags, meta, tenant,
    )  # fmt: skip


def best_first(row: Row) -> tuple[int, int, bytes]:
    """Order as a claim does: priority high to low, then order tag, then id."""
    return -row[0], row[1], row[2]
