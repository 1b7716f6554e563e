"""Upkeep: stage makes due jobs ready; see `prune` for the rest. Bounded, safe anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.store.postgres.engine.pack import int8, text, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.gates.line import wake
from treadle.store.postgres.tenants.turns import turns, turns_at_gates


def stage(sql: Statements, tasks: Sequence[str], limit: int) -> Talk[tuple[int, int]]:
    """Move at most `limit` jobs; return how many ended and how many became ready."""
    moving = (sql["stage"], (int8(limit), texts(tasks)))
    # Of those that were parked some may not wait.
    full = (sql["end_staged"], ())
    handing = [(sql["free_left"], ()), (sql["hand_on"], ())]
    giving = [*turns(sql), *turns_at_gates(sql)]
    due = (sql["gates_due"], (int8(limit),))
    _, ([row], full_up, _, [[woken]], *_, names) = yield Ask([moving, full, *handing, *giving, due])
    ended, ready = row[0] + len(full_up), row[1] + woken
    if names:
        # Asked beforehand, so that the gates can be locked in the order of their names.
        ready += yield from wake(sql, [name for (name,) in names])
    return ended, ready


def tidy_keys(sql: Statements, limit: int, after: str) -> Talk[str]:
    """Free at most `limit` keys whose time is over, and those of a page that are held by nothing.

    The page is that behind the name `after`; gives its last name, empty at the end. Locks that
    nobody has had for an hour go as well.
    """
    page = int8(limit)
    calls = [
        (sql["locks_over"], (page,)),
        (sql["keys_over"], (page,)),
        (sql["sweep"], (text(after), page)),
        (sql["hand_on"], ()),
        *turns(sql),
    ]
    _, (_, _, [[last, seen]], *_) = yield Ask(calls)
    return last if seen == limit else ""


def ready(sql: Statements, queues: Sequence[str] | None) -> Talk[bool]:
    """Tell whether a job is ready in one of these queues; None is any queue."""
    names = None if queues is None else texts(queues)
    _, [[[found]]] = yield Ask([(sql["any_ready"], (names,))])
    return bool(found)


def tell(ring: Sequence[Call]) -> Talk[None]:
    """Tell those who listen."""
    yield Ask(ring)
