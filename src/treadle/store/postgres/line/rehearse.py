"""rehearse: what a worker's first jobs will need is planned while there are none.

The server plans a statement when a connection first carries it out, and those of the line are long
ones: a worker's first two exchanges took it ten times as long as the next. Where many workers had
nothing to do and get work at the same moment, all of them are planned for then. So a worker that
finds nothing ready has its statements carried out once, on the connection of the line, for a worker
that there is not: they find, lock and write nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.store.postgres.engine.pack import boolean, int8, int8s, text, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call
from treadle.store.postgres.history import History
from treadle.store.postgres.line.enqueue import request_id
from treadle.store.postgres.line.settle import none_succeeded

if TYPE_CHECKING:
    from treadle.core.lanes import Demand

_NOBODY: Final = ""
"""No worker has this id, so every statement passes over its part that writes."""


def rehearse(
    sql: Statements, demand: Demand, history: History, keep: int, now: int | None
) -> Talk[None]:
    """Have the line's statements planned; `keep` is how long jobs are kept that succeed (µs).

    Jobs with gates have other statements, and so has a drain of several queues once it has marks:
    those are planned when they are needed.
    """
    if history.now(now) is None:
        yield from history.look()
    me = (text(_NOBODY), request_id(bytes(16)))
    settle = none_succeeded(history, me, keep, now)
    calls: list[Call] = [(sql["lock_worker"], me[:1]), settle, (sql["remember"], me)]
    names = sorted({share.queue for share in demand.shares if share.queue is not None})
    none, never = int8(0), boolean(False)  # noqa: FBT003 -- a parameter of a statement
    if not names:
        calls.append((sql["claim_any"], (*me, none, none, never)))
    else:
        calls.append(
            (sql["claim_named"], (*me, none, texts(names), int8s([0] * len(names)), never))
        )
    if len(names) <= 1:
        behind = (text(names[0] if names else ""), none, none, none, bytes(16), boolean(not names))
        calls.append((sql["claim_on"], (*me, none, *behind)))
    calls.append((sql["next_due"], ()))
    yield Ask(calls, after=[(sql["ring_after"], (texts([]),))])
