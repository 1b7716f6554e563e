"""Own news: what is told to one worker alone, and what it was handed, read as it is told.

The connection that hears them reads it, in the same turn of the loop: the server's process behind
it has just been woken for the news, so it answers sooner than another one would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.core.durations import SECOND
from treadle.store.postgres.engine.pack import text
from treadle.store.postgres.engine.trouble import ServerError
from treadle.store.postgres.engine.wire import Ask, Call, Looks, Rows, Wire

if TYPE_CHECKING:
    from treadle.store.postgres.engine.runner import Runner
    from treadle.store.postgres.engine.sql import Statements

_FRESH: Final = SECOND
"""For so long what was read counts as an answer on its way; later it is read again."""


def read_handed(sql: Statements, worker: str) -> Sequence[Call]:
    """Give the call that reads what was handed to a worker."""
    return [(sql["handed"], (text(worker),))]


class _Brought(Struct, frozen=True):
    """Rows that were read, and when (microseconds of the monotonic clock)."""

    rows: Rows
    at: int


class OwnNews:
    """The news of the workers of one event loop; used by that loop, but for `beaten`."""

    def __init__(self, sql: Statements, runner: Runner, clock: Callable[[], int]) -> None:
        """Take the statements, who begins transactions, and the monotonic clock."""
        self._sql = sql
        self._runner = runner
        self._clock = clock
        self.key: int | None = None
        """By which the loop can be told of its own news; None while it does not listen."""
        self.willing = ""
        """The worker here that would take any job, and makes an offer with the next wait."""
        self.offering: set[str] = set()
        """The workers here that have made an offer."""
        self._told: dict[str, _Brought | None] = {}
        """Those of them that were told of a job of their own, and the job where it was read."""
        self._fetching: tuple[str, Looks[list[Rows]]] | None = None
        """For whom it is being read just now, and how that goes on."""

    @property
    def has_news(self) -> bool:
        """A worker here was told of a job of its own, and has not asked for it yet."""
        return bool(self._told)

    def turn_from(self, worker: str) -> None:
        """Make no more offers for a worker."""
        if self.willing == worker:
            self.willing = ""

    def forget(self, worker: str) -> None:
        """Let go of a worker that has left."""
        self.turn_from(worker)
        self.offering.discard(worker)
        self._told.pop(worker, None)

    def beaten(self, worker: str) -> None:
        """Have read anew what was brought before this beat, which may have given it up."""
        if worker in self._told:
            self._told[worker] = None

    def take(self, worker: str) -> tuple[bool, Rows | None]:
        """Tell, once, whether a worker was told of a job; give its rows while they are fresh."""
        was_told, brought = worker in self._told, self._told.pop(worker, None)
        is_fresh = brought is not None and self._clock() - brought.at < _FRESH
        return was_told, brought.rows if brought is not None and is_fresh else None

    def told(self, names: Sequence[str], wire: Wire) -> bool:
        """Take what was told to these workers; tell whether somebody is to be woken now.

        What one was handed is read first, where nothing else is being read just now.
        """
        workers = self.offering.intersection(names)
        self._told.update(dict.fromkeys(workers))
        if len(workers) != 1 or self._fetching is not None:
            return bool(workers)
        [worker] = workers
        begin = self._runner.begin_call(wire, time.monotonic() + self._runner.timeout)
        ask = Ask([begin, *read_handed(self._sql, worker)])
        self._fetching = worker, wire.ask(ask)
        return self.go_on()

    def go_on(self) -> bool:
        """Go on with what is being read; tell whether it was read, so that its worker is woken.

        Raises:
            ConnectionLost: it was not, and the connection is gone.
        """
        if self._fetching is None:
            return False
        worker, looks = self._fetching
        try:
            next(looks)
        except StopIteration as done:
            if worker in self._told:
                self._told[worker] = _Brought(done.value[-1], self._clock())
        except ServerError:
            # Its exchange asks by itself, and says what is wrong.
            pass
        else:
            return False
        self._fetching = None
        return True

    def deaf(self) -> None:
        """Note that nothing is heard any more; who is connected again wakes all that wait."""
        self.key = None
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching[1].close()
