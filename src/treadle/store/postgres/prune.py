"""prune: what is over goes. Bounded, safe anywhere at once, in nobody's way.

Shelves whose time is over are dropped whole; `rest`, dead letters and small shelves are pruned by
rows, to the moment. A drop waits for readers for a moment only and is tried again the next time.
Attempts and logs of jobs that went with a shelf are swept up in pages. Each step is a transaction
of its own, and what dies between two of them is found again by the next prune, anybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from treadle.core.errors import StoreError
from treadle.core.job import JobState
from treadle.core.outcome import Settlement
from treadle.store.postgres.engine.pack import int8
from treadle.store.postgres.engine.runner import Runner, Talk, drive
from treadle.store.postgres.engine.sql import REST, Statements
from treadle.store.postgres.engine.trouble import is_hindered
from treadle.store.postgres.engine.wire import Ask
from treadle.store.postgres.gates.control import tidy
from treadle.store.postgres.history import DEAD, Found, History, Shelf

_MAKE_NOW_MS: Final = 250
_MAKE_NOW_S: Final = 1.0
"""How long a settlement may wait for its shelf, once a shelf."""
_TURN_S: Final = 0.1
"""How long a settlement does without its shelf while another session makes one."""
_WAIT_MS: Final = 50
"""How long upkeep waits for a lock before it leaves a shelf to the next time."""
_DROPS_MAX: Final = 5
"""Shelves that one call tries to drop; it drops one."""
_SMALL: Final = 8 << 20
"""Up to these bytes a shelf is pruned by rows."""
_REQUESTS_MAX: Final = 20_000
"""Records of requests that one call deletes, beside the jobs."""
_COUNTS_MAX: Final = 20_000
_PAGE: Final = 1_000
_START: Final = (bytes(16), 0)


async def make_now(
    runner: Runner, history: History, settlements: Sequence[Settlement], now: int | None
) -> None:
    """Make the shelves that these settlements need and that are not known, if that is quick."""
    keeps = {s.keep for s in settlements if s.state.is_terminal and s.state is not JobState.FAILED}
    if not keeps or not history.may_look():
        return
    if history.now(now) is not None and not history.lacking(keeps, now):
        return
    try:
        await drive(runner.run(history.look, now, timeout=_MAKE_NOW_S))
        lacking = history.lacking(keeps, now)
        if lacking:
            talk = runner.run(lambda: history.make(lacking, _MAKE_NOW_MS), now, timeout=_MAKE_NOW_S)
            if not await drive(talk):
                history.put_off(_TURN_S)
                return
    except StoreError:
        # Settled they are all the same, into `rest`; a server that is away says so then.
        history.put_off()
    if history.lacking(keeps, now):
        history.put_off()


async def prune(
    runner: Runner, sql: Statements, history: History, limit: int, now: int | None
) -> int:
    """Delete what is over; return how many records went: a shelf's all, else at most `limit`."""
    shelves = await drive(runner.run(history.look, now))
    at = history.now(now)
    assert at is not None, "a look has told the time"
    await _make_ahead(runner, history, history.needed_soon(at), now)
    gone = await _drop_one(runner, history, [one for one in shelves if one.until <= at], now)
    begun = [one for one in shelves if one.since <= at < one.until and one.is_open]
    small = [one.name for one in begun if one.size <= _SMALL]
    for table in (REST, DEAD, *small):
        if gone < limit:
            words = (sql, history, table, limit - gone)
            gone += await drive(runner.run(partial(_prune_rows, *words), now))
    gone += await drive(runner.run(lambda: tidy(sql, limit), now))
    return gone + await drive(runner.run(lambda: _tidy(sql, history), now))


async def _make_ahead(
    runner: Runner, history: History, soon: Sequence[Shelf], now: int | None
) -> None:
    if not soon:
        return
    try:
        await drive(runner.run(lambda: history.make(soon, _WAIT_MS), now))
    except StoreError as error:
        if not is_hindered(error):
            raise
        history.put_off()


async def _drop_one(
    runner: Runner, history: History, over: Sequence[Found], now: int | None
) -> int:
    """Drop a shelf that nobody reads just now; tell how many jobs went with it."""
    for shelf in [one for one in over if one.is_ours][:_DROPS_MAX]:
        try:
            return await drive(runner.run(partial(history.drop, shelf, _WAIT_MS), now))
        except StoreError as error:
            if not is_hindered(error):
                raise
    return 0


def _prune_rows(sql: Statements, history: History, table: str, limit: int) -> Talk[int]:
    calls = [(sql["read_whole"], ()), (history.variant("prune", table), (int8(limit),))]
    _, (_, [[count]]) = yield Ask(calls)
    return int(count)


def _tidy(sql: Statements, history: History) -> Talk[int]:
    """Add up counts, and delete old requests and what jobs of dropped shelves have left behind.

    Only the latter are counted: they are records of jobs, and more of them may follow.
    """
    calls = [
        (sql["prune_requests"], (int8(_REQUESTS_MAX),)),
        (sql["add_up"], (int8(_COUNTS_MAX), history.lock)),
    ]
    names = ("sweep_attempts", "sweep_logs")
    for name in names:
        job, line = history.swept.get(name, _START)
        calls.append((sql[name], (job, int8(line), int8(_PAGE))))
    _, (_, _, *pages) = yield Ask(calls)
    swept = 0
    for name, page in zip(names, pages, strict=True):
        if page:
            [(job, line, gone)] = page
            history.swept[name] = (job, line)
            swept += gone
        else:
            history.swept.pop(name, None)
    return swept
