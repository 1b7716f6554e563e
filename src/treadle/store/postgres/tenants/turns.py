"""Turns: every tenant's job that a transaction has made ready or parked is given its order tag.

What makes a job ready leaves it a tag below zero; these statements come behind it, in the same
transaction, and before whatever goes by the order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Call

if TYPE_CHECKING:
    from treadle.core.job import NewJob


def turns(sql: Statements) -> list[Call]:
    """Give turns to what has become ready."""
    return [(sql["give_tags"], ())]


def turns_at_gates(sql: Statements) -> list[Call]:
    """Give turns to what was parked."""
    return [(sql["give_tags_waiting"], ())]


def turns_of(sql: Statements, jobs: Iterable[NewJob]) -> list[Call]:
    """Give turns to new jobs, where some of them have a tenant."""
    owned = [job for job in jobs if job.tenant is not None]
    if not owned:
        return []
    parked = any(job.gates is not None for job in owned)
    return [*turns(sql), *(turns_at_gates(sql) if parked else ())]
