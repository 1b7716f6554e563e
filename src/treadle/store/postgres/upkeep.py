"""Upkeep: stage makes due jobs ready, prune deletes what is over. Bounded, safe anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from treadle.store.postgres.engine.pack import int8, text, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call

_REQUESTS_MAX: Final = 20_000
"""Records of requests that one call deletes, beside the jobs."""


def stage(sql: Statements, tasks: Sequence[str], limit: int) -> Talk[tuple[int, int]]:
    """Move at most `limit` jobs; return how many ended and how many became ready."""
    calls = [(sql["stage"], (int8(limit), texts(tasks))), (sql["hand_on"], ())]
    _, ([row], [[woken]]) = yield Ask(calls)
    return row[0], row[1] + woken


def prune(sql: Statements, limit: int, after: str) -> Talk[tuple[int, str]]:
    """Delete at most `limit` jobs whose time is over, and requests and locks an hour old.

    Also looks at a page of keys, those behind the name `after`. Gives how many jobs went, and the
    last name of the page; empty at the end.
    """
    page = int8(limit)
    calls = [
        (sql["prune"], (page,)),
        (sql["prune_requests"], (int8(_REQUESTS_MAX),)),
        (sql["locks_over"], (page,)),
        (sql["keys_over"], (page,)),
        (sql["sweep"], (text(after), page)),
        (sql["hand_on"], ()),
    ]
    _, ([[count]], _, _, _, [[last, seen]], _) = yield Ask(calls)
    return int(count), last if seen == limit else ""


def ready(sql: Statements, queues: Sequence[str] | None) -> Talk[bool]:
    """Tell whether a job is ready in one of these queues; None is any queue."""
    names = None if queues is None else texts(queues)
    _, [[[found]]] = yield Ask([(sql["any_ready"], (names,))])
    return bool(found)


def tell(ring: Sequence[Call]) -> Talk[None]:
    """Tell those who listen."""
    yield Ask(ring)
