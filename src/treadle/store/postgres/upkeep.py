"""Upkeep: stage makes due jobs ready; see `prune` for the rest. Bounded, safe anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.store.postgres.engine.pack import int8, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.gates.line import wake


def stage(sql: Statements, tasks: Sequence[str], limit: int) -> Talk[tuple[int, int]]:
    """Move at most `limit` jobs; return how many ended and how many became ready."""
    moving = (sql["stage"], (int8(limit), texts(tasks)))
    _, ([row], names) = yield Ask([moving, (sql["gates_due"], (int8(limit),))])
    ended, ready = row
    if names:
        # Asked beforehand, so that the gates can be locked in the order of their names.
        ready += yield from wake(sql, [name for (name,) in names])
    return ended, ready


def ready(sql: Statements, queues: Sequence[str] | None) -> Talk[bool]:
    """Tell whether a job is ready in one of these queues; None is any queue."""
    names = None if queues is None else texts(queues)
    _, [[[found]]] = yield Ask([(sql["any_ready"], (names,))])
    return bool(found)


def tell(ring: Sequence[Call]) -> Talk[None]:
    """Tell those who listen."""
    yield Ask(ring)
