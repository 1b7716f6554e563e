"""Upkeep: stage makes due jobs ready, prune deletes what is over. Bounded, safe anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from treadle.store.postgres.engine.pack import int8, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.gates import control
from treadle.store.postgres.gates.line import wake

_REQUESTS_MAX: Final = 20_000
"""Records of requests that one call deletes, beside the jobs."""


def stage(sql: Statements, tasks: Sequence[str], limit: int) -> Talk[tuple[int, int]]:
    """Move at most `limit` jobs; return how many ended and how many became ready."""
    moving = (sql["stage"], (int8(limit), texts(tasks)))
    _, ([row], names) = yield Ask([moving, (sql["gates_due"], (int8(limit),))])
    ended, ready = row
    if names:
        # Asked beforehand, so that the gates can be locked in the order of their names.
        ready += yield from wake(sql, [name for (name,) in names])
    return ended, ready


def prune(sql: Statements, limit: int) -> Talk[int]:
    """Delete at most `limit` jobs whose time is over, and requests that are an hour old."""
    calls = [(sql["prune"], (int8(limit),)), (sql["prune_requests"], (int8(_REQUESTS_MAX),))]
    _, ([[count]], _) = yield Ask(calls)
    wrong = yield from control.drifted(sql)
    if wrong:
        yield from control.mend(sql, wrong)
    return int(count) + (yield from control.prune(sql, limit))


def ready(sql: Statements, queues: Sequence[str] | None) -> Talk[bool]:
    """Tell whether a job is ready in one of these queues; None is any queue."""
    names = None if queues is None else texts(queues)
    _, [[[found]]] = yield Ask([(sql["any_ready"], (names,))])
    return bool(found)


def tell(ring: Sequence[Call]) -> Talk[None]:
    """Tell those who listen."""
    yield Ask(ring)
