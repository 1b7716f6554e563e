"""What is said after jobs were ended: their keys are freed, and handed to who waits behind."""

from __future__ import annotations

from treadle.store.postgres.engine.pack import Value
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Call
from treadle.store.postgres.tenants.turns import turns


def freeing(sql: Statements, which: Value) -> list[Call]:
    """Give the statements that free the keys of these jobs, as far as they have ended."""
    return [(sql["free_ended"], (which,)), (sql["hand_on"], ()), *turns(sql)]
