"""History: the tables that ended jobs move to, and which of them is whose (docs/adr/0013).

What has ended lies in tables that inherit from `history`. Dead letters have one of their own, what
no worker settled is in `rest`, and everything else in a shelf: the table of all jobs that are over
within the same hour, day, week, month or year, the longer the coarser. So a shelf can be dropped
whole. The server checks that nothing lies in one which is not over by then. Where many workers are,
there are several of the same time side by side, or they would wait for each other as it grows.

A store knows the shelves from its last look. What it does not know goes to `rest`, which is pruned
by rows: a settlement never waits for a shelf longer than it takes to make one.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from treadle.core.durations import DAY, HOUR, SECOND
from treadle.store.postgres.engine.pack import int8, int8s, text, texts
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import REST, Place, Statement, Statements, statement
from treadle.store.postgres.engine.sql import texts as sql_texts
from treadle.store.postgres.engine.wire import Ask, Call

KEPT_MIN: Final = HOUR
"""From its making a job is kept this long at least, so that a request sent again finds it."""
_WIDTHS: Final = (
    ("h", 6 * HOUR, HOUR),
    ("d", 7 * DAY, DAY),
    ("w", 70 * DAY, 7 * DAY),
    ("m", 400 * DAY, 30 * DAY),
    ("y", None, 365 * DAY),
)
"""Name, up to how long a job is kept there, and how much time one shelf covers."""
_SHELVES_MAX: Final = 100
"""Beyond these, jobs that are kept for yet another time go to `rest`."""
_LEAD: Final = HOUR // 4
"""How long before it is needed a shelf is made."""
_PATIENCE_S: Final = 10.0
"""After a shelf could not be made, none is tried for so long on a settlement's way."""
_SIDES: Final = ("", "b", "c", "d")
"""What the names of shelves of the same time, side by side, end with."""
_CROWD: Final = 4
"""So many workers for each of them."""
_SIDED: Final = ("h", "d")
"""Where most jobs go; the others, of which there may be many at once, have one a time."""
_VARIANTS_MAX: Final = 400
_NAMED: Final = len("past_h")
_MARGIN: Final = 5 * SECOND
"""So much later than it was asked to the server may write, on the safe side of an hour's end."""
DEAD: Final = "dead"
"""The table of dead letters."""


class Shelf(Struct, frozen=True):
    """One table of history: its name without the prefix, and when what is in it is over."""

    name: str
    since: int
    until: int


class Found(Shelf, frozen=True):
    """A shelf as the server has it."""

    size: int
    """Bytes; 0 where nothing in it is over yet, or all is."""
    is_open: bool
    """This user may write into it."""
    is_ours: bool
    """This user may drop it."""


def shelf_of(keep: int, now: int, side: str = "") -> Shelf:
    """Give the shelf of a job that ends now, or a moment later, and is kept for so long.

    `side` tells which of those that stand side by side.

    A job that was made before then is over before `until`, with `KEPT_MIN` from its making.
    All times are microseconds.
    """
    keep = max(keep, KEPT_MIN)
    name, width = next((n, w) for n, most, w in _WIDTHS if most is None or keep <= most)
    place = (now + _MARGIN + keep) // width
    if name not in _SIDED:
        side = ""
    return Shelf(f"past_{name}{place}{side}", place * width - _MARGIN, (place + 1) * width)


class History:
    """What one store knows of its shelves."""

    def __init__(self, sql: Statements, place: Place, clock: Callable[[], int | None]) -> None:
        """Take the statements, where the tables are, and the clock of a test (microseconds)."""
        self._sql = sql
        self._texts = sql_texts(place)
        self.clock = clock
        self._known: dict[str, int] = {}
        self._variants: dict[tuple[str, str], Statement] = {}
        self._used: dict[str, tuple[int, int]] = {}
        """For each width, when a job last ended that goes there, and for how long it is kept."""
        self._ahead: int | None = None
        """The store's clock, less the monotonic one."""
        self._not_before = 0.0
        self.workers = 1
        """How many there are, as far as is known here."""
        digest = hashlib.blake2b(f"treadle:shelves:{place.tables}".encode(), digest_size=8)
        self.lock: Final = int8(int.from_bytes(digest.digest(), "big", signed=True))
        """The advisory lock of whoever makes, drops or adds up."""
        self.swept: Final[dict[str, tuple[bytes, int]]] = {}
        """Up to where attempts and logs have been swept."""

    def now(self, now: int | None) -> int | None:
        """Tell the store's time as far as it is known here."""
        if now is None:
            now = self.clock()
        if now is None and self._ahead is not None:
            now = time.monotonic_ns() // 1000 + self._ahead
        return now

    def found(self, shelves: Iterable[Found], now: int) -> None:
        """Learn which shelves there are, and what time it is in the store."""
        self._known = {one.name: one.until for one in shelves if one.is_open}
        self._ahead = now - time.monotonic_ns() // 1000

    def forget(self) -> None:
        """Know nothing until the next look, which is not at once: all goes to `rest`."""
        self._known = {}
        self._ahead = None
        self.put_off()

    def put_off(self, seconds: float = _PATIENCE_S) -> None:
        """Make no shelf on a settlement's way for a while."""
        self._not_before = time.monotonic() + seconds

    def may_look(self) -> bool:
        """Tell whether a settlement may look for shelves and make them."""
        return time.monotonic() >= self._not_before

    def table(self, keep: int, now: int | None) -> str:
        """Give the table for a job that ends now and is kept for so long; `rest` if unknown."""
        at = self.now(now)
        if at is None:
            return REST
        first = shelf_of(keep, at).name
        self._used[first[:_NAMED]] = at, keep
        return self._open_one(shelf_of(keep, at, self._side).name, first)

    def table_of(self, keep: int, now: int | None) -> str:
        """Give the same table, without a job that ends there."""
        at = self.now(now)
        if at is None:
            return REST
        return self._open_one(shelf_of(keep, at, self._side).name, shelf_of(keep, at).name)

    def _open_one(self, ours: str, first: str) -> str:
        return ours if ours in self._known else first if first in self._known else REST

    @property
    def _side(self) -> str:
        """Which of the shelves that stand side by side is this process's, also in a fork."""
        sides = min(len(_SIDES), 1 + max(0, self.workers - 1) // _CROWD)
        return _SIDES[zlib.crc32(b"%d" % os.getpid()) % sides]

    def lacking(self, keeps: Iterable[int], now: int | None) -> Sequence[Shelf]:
        """Give the shelves that such jobs need and that are not known."""
        at = self.now(now)
        if at is None:
            return ()
        needed = {shelf_of(keep, at, self._side) for keep in keeps}
        return [one for one in needed if one.name not in self._known]

    def needed_soon(self, now: int) -> Sequence[Shelf]:
        """Give the shelves, not known, that jobs like those of the last hour need soon."""
        keeps = [keep for at, keep in self._used.values() if now - at < HOUR]
        needed = {shelf_of(keep, at, self._side) for keep in keeps for at in (now, now + _LEAD)}
        return [one for one in needed if one.name not in self._known]

    def variant(self, name: str, table: str) -> Statement:
        """Give the statement of this name for one table of history."""
        found = self._variants.get((name, table))
        if found is None:
            if len(self._variants) >= _VARIANTS_MAX:
                self._variants.clear()
            found = statement(self._texts[name].replace("{shelf}", table))
            self._variants[name, table] = found
        return found

    def _say(self, name: str, shelf: Shelf) -> Call:
        said = self._texts[name].replace("{shelf}", shelf.name)
        return statement(said.replace("{until}", str(shelf.until))), ()

    def look(self) -> Talk[Sequence[Found]]:
        """Read which shelves there are."""
        now, [rows] = yield Ask([(self._sql["shelves"], ())])
        shelves = [Found(*row) for row in rows]
        self.found(shelves, now)
        return shelves

    def make(self, shelves: Sequence[Shelf], patience_ms: int) -> Talk[bool]:
        """Make shelves that are not there, all of them or none; False while another session does.

        Neither readers nor writers are in its way, nor it in theirs: it shares the parent with
        all but other changes of tables, for which it waits `patience_ms` at most.
        """
        calls: list[Call] = [
            (self._sql["hurry"], (text(f"{patience_ms}ms"),)),
            (self._sql["try_lock_shelves"], (self.lock,)),
            (self._sql["shelves"], ()),
        ]
        _, (_, [[is_ours]], rows) = yield Ask(calls, end=False)
        if not is_ours:
            yield Ask([])
            return False
        there = {row[0] for row in rows}
        new = [one for one in shelves if one.name not in there]
        new = new[: max(0, _SHELVES_MAX - len(there))]
        noted = (
            texts([one.name for one in new]),
            int8s([one.since for one in new]),
            int8s([one.until for one in new]),
        )
        calls = [(self._sql["note_shelves"], noted)] if new else []
        for one in new:
            calls += [self._say("make_shelf", one), self._say("index_shelf", one)]
        now, (*_, rows) = yield Ask([*calls, (self._sql["shelves"], ())])
        self.found([Found(*row) for row in rows], now)
        return True

    def drop(self, shelf: Found, patience_ms: int) -> Talk[int]:
        """Drop a shelf with its counts; tell how many jobs were in it.

        Whoever reads it meanwhile is waited for `patience_ms` at most: others that want to read
        it wait behind us for so long. Settlements do not: nothing in it is left to come.
        """
        calls: list[Call] = [
            (self._sql["hurry"], (text(f"{patience_ms}ms"),)),
            self._say("drop_shelf", shelf),
            # Not before: whoever makes a shelf meanwhile would wait for that reader, too.
            (self._sql["lock_shelves"], (self.lock,)),
            (self._sql["forget_shelf"], (text(shelf.name),)),
        ]
        _, (*_, [[jobs]]) = yield Ask(calls)
        self._known.pop(shelf.name, None)
        self.swept.clear()
        return int(jobs)
