"""Who answers in the server's place: nobody, or a pooler, and in which mode."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from treadle.store.postgres.engine.runner import until
from treadle.store.postgres.engine.sql import statement
from treadle.store.postgres.engine.trouble import ConnectionLost, ServerError
from treadle.store.postgres.engine.wire import Ask, Looks, Wire

if TYPE_CHECKING:
    from treadle.store.postgres.engine.runner import Runner, Steps

_PID: Final = statement("select pg_backend_pid()")
_LOOK_S: Final = 1.0


def pool_mode(runner: Runner) -> Steps[str | None]:
    """Tell a pooler's mode, `transaction` or `session`; None where there is no pooler.

    In transaction mode our next transaction gets another connection of the server's, or has to
    wait, once a second client has taken ours into one of its own that stays open.

    Raises:
        StoreUnavailable: there is no connection to be had.
    """
    deadline = time.monotonic() + runner.timeout
    first = yield from runner.lend(deadline)
    try:
        if not first.is_pooled:
            return None
        before = yield from until(_server_of(first), deadline)
        second = yield from runner.lend(deadline)
        try:
            return (yield from _compared(first, second, before))
        finally:
            runner.pool.drop(second)
    except (ConnectionLost, ServerError, TimeoutError):
        return "an unknown"
    finally:
        runner.pool.give(first)


def _compared(first: Wire, second: Wire, before: int) -> Steps[str]:
    try:
        yield from until(_server_of(second, end=False), time.monotonic() + _LOOK_S)
    except TimeoutError:
        # The pooler has no other connection to lend, and does not lend ours.
        return "session"
    try:
        after = yield from until(_server_of(first), time.monotonic() + _LOOK_S)
    except TimeoutError:
        return "transaction"
    return "session" if after == before else "transaction"


def _server_of(wire: Wire, *, end: bool = True) -> Looks[int]:
    [[[pid]]] = yield from wire.ask(Ask([(_PID, ())], end=end), prepare=False)
    return int(pid)
