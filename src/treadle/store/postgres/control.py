"""Control: what people and programs do to jobs and queues, each conditional on state."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.store.contract import ATTEMPTS_KEPT
from treadle.store.postgres.engine.pack import int8, text, uuids
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call, Rows
from treadle.store.postgres.keys.freeing import freeing
from treadle.store.postgres.tenants.turns import turns, turns_at_gates

_ID_BYTES = 16


def named(ids: Sequence[bytes]) -> list[bytes]:
    """Give the ids that can be ids, each once, in order: rows are locked in that order."""
    return sorted({id_ for id_ in ids if len(id_) == _ID_BYTES})


def _done(ids: Sequence[bytes], *found: Rows) -> list[bool]:
    """Tell of each id whether something was done; an id named twice is done once."""
    left = {id_ for rows in found for (id_,) in rows}
    done = []
    for id_ in ids:
        done.append(id_ in left)
        left.discard(id_)
    return done


def cancel(sql: Statements, ids: Sequence[bytes], ring: Sequence[Call]) -> Talk[Sequence[bool]]:
    """Cancel what has not ended."""
    which = uuids(named(ids))
    calls: list[Call] = [
        (sql["lock_jobs"], (which,)),
        (sql["free_jobs"], (which,)),
        (sql["cancel"], (which,)),
    ]
    _, (_, _, rows, *_) = yield Ask([*calls, *freeing(sql, which)], after=ring)
    return _done(ids, rows)


def retry(sql: Statements, ids: Sequence[bytes], ring: Sequence[Call]) -> Talk[Sequence[bool]]:
    """Make ended or waiting jobs ready, with all their attempts before them."""
    which = uuids(named(ids))
    calls: list[Call] = [
        (sql["retry_live"], (which,)),
        (sql["lock_ended"], (which,)),
        (sql["retake_keys"], (which,)),
        (sql["retake_left"], (which,)),
        (sql["retry_ended"], (which,)),
        (sql["trim_attempts"], (which, int8(ATTEMPTS_KEPT))),
        (sql["lock_again"], (which,)),
        (sql["park_ready"], (which,)),
        (sql["end_again"], (which,)),
        (sql["hand_on"], ()),
        *turns(sql),
        *turns_at_gates(sql),
    ]
    _, (live, _, _, _, ended, *_) = yield Ask(calls, after=ring)
    return _done(ids, live, ended)


def discard(sql: Statements, ids: Sequence[bytes]) -> Talk[Sequence[bool]]:
    """Delete ended jobs with their attempts and logs."""
    which = uuids(named(ids))
    _, (rows, *_) = yield Ask([(sql["discard"], (which,)), *freeing(sql, which)])
    return _done(ids, rows)


def purge(sql: Statements, queue: str, limit: int, ring: Sequence[Call]) -> Talk[int]:
    """Cancel at most `limit` waiting jobs of a queue."""
    calls = [(sql["purge"], (text(queue), int8(limit))), (sql["hand_on"], ()), *turns(sql)]
    _, ([[count]], *_) = yield Ask(calls, after=ring)
    return int(count)


def pause(sql: Statements, queue: str) -> Talk[bool]:
    """Stop claims from a queue."""
    _, [rows] = yield Ask([(sql["pause"], (text(queue),))])
    return bool(rows)


def resume(sql: Statements, queue: str, ring: Sequence[Call]) -> Talk[bool]:
    """Allow claims from a queue."""
    _, [rows] = yield Ask([(sql["resume"], (text(queue),))], after=ring)
    return bool(rows)
