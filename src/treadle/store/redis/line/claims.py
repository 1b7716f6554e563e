"""Claims: what a worker asks for, what it is given, and what came to it with the news.

An enqueue that meets an idle worker claims its job for that worker and sends the claim along
with the news (docs/adr/0026). It lies here until the worker's next exchange, which it answers
without a round trip. The server gives the same claim again with the first exchange that does
reach it, because news may be lost; whichever comes second is dropped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from treadle.core.durations import SECOND
from treadle.store.contract import BATCH_MAX
from treadle.store.redis.rows import Words, name_of, read_claim

if TYPE_CHECKING:
    from treadle.core.job import Claim
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement

_LATEST: Final = 64
"""How many claims back news is still known to be old; it is late by one or two at the most."""
_NO_EXCHANGE: Final = b""
_UNKNOWN: Final = "unknown_task"
_REST: Final = 60 * SECOND
"""How long a worker makes no offer that has given back a job whose task it does not know."""

Name = tuple[bytes, int]
"""A claim's job, by its id as stored, and its number."""


def demand_words(demand: Demand | None) -> Words:
    """Say what to claim: how many jobs, and how many of each queue in turn."""
    total = 0 if demand is None else min(demand.total, BATCH_MAX)
    shares = () if demand is None or not total else demand.shares
    words: Words = [total, len(shares)]
    for share in shares:
        words += (share.queue or "", share.limit)
    return words


def takes_any(demand: Demand | None) -> bool:
    """Tell whether a worker would take a job of any queue."""
    return demand is not None and demand.total > 0 and [s.queue for s in demand.shares] == [None]


def read_claims(
    rows: Sequence[Any], now: int, gates: Sequence[bytes] = ()
) -> tuple[list[Claim], list[Name]]:
    """Read claims; also name those that cannot be read."""
    claims, bad = [], []
    for row in rows:
        try:
            claims.append(read_claim(row, now, gates))
        except (ValueError, TypeError):
            bad.append(name_of(row))
    return claims, bad


def _made_at(row: bytes) -> int:
    """Read when the job of a plain claim was made; what is handed over is claimed at that time."""
    return int(row.split(b" ", 4)[3])


class Handed:
    """The claims that came with the news, by worker.

    The worker's loop and its lease's thread both come here, each step as a whole: what a beat
    gives up is refused when its news are read after all, and what was read is not given up.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[str, list[bytes]] = {}
        self._latest: dict[str, dict[Name, bytes]] = {}
        """Those known of late, each with the exchange whose answer gave it, or nothing."""
        self._rests: dict[str, int] = {}
        """Until when a worker makes no offer (microseconds of the monotonic clock)."""
        self._unheld: dict[str, set[tuple[Name, bool]]] = {}
        """What a worker's last beat did not hold, and whether it was known."""

    def came(self, worker: str, row: bytes) -> None:
        """Keep a claim for its worker, unless the server has given it or a beat gave it up."""
        try:
            name, _ = name_of(row), _made_at(row)
        except (ValueError, IndexError):
            # Not a claim but a text of somebody else's: a hint to look, as all news are.
            return
        with self._lock:
            if name not in self._latest.get(worker, ()):
                self._note(worker, name, _NO_EXCHANGE)
                self._waiting.setdefault(worker, []).append(row)

    def take(self, worker: str) -> tuple[list[Claim], list[Name]]:
        """Give a worker what came for it; also name what cannot be read."""
        claims, bad = list[Any](), list[Name]()
        with self._lock:
            rows = self._waiting.pop(worker, ())
        for row in rows:
            read, unread = read_claims([row], _made_at(row))
            claims += read
            bad += unread
        return claims, bad

    def others(
        self, worker: str, request: bytes, rows: Sequence[Any], *, handed: bool
    ) -> Sequence[Any]:
        """Give the claims of an exchange's answer, each of them once.

        `handed` says that the first may have been sent with news as well. An exchange that is
        asked again gives again what it gave.
        """
        if not rows:
            return rows
        name = name_of(rows[0])
        with self._lock:
            waiting = self._waiting.get(worker, [])
            others = [row for row in waiting if name_of(row) != name]
            if len(others) < len(waiting):
                self._waiting[worker] = others
                self._note(worker, name, request)
            elif handed and self._latest.get(worker, {}).get(name, request) != request:
                return rows[1:]
            elif handed:
                self._note(worker, name, request)
        return rows

    def may_offer(self, worker: str, settlements: Sequence[Settlement], monotonic: int) -> bool:
        """Tell whether a worker that has settled these may be handed a job; for its loop.

        While code is deployed the one that waited last would be handed each job that it does not
        know, and give it back for half a minute, though others know it.
        """
        if any(one.reason == _UNKNOWN for one in settlements):
            self._rests[worker] = monotonic + _REST
        return self._rests.get(worker, monotonic) <= monotonic

    def names(self, worker: str) -> set[Name]:
        """Name what waits for a worker."""
        with self._lock:
            return set(map(name_of, self._waiting.get(worker, ())))

    def give_up(self, worker: str, unheld: set[Name]) -> list[Name]:
        """Name those of a worker's claims that are lost; their news bring nothing any more.

        `unheld` is what the worker does not hold though the store says so. A claim whose answer or
        news is just being read looks unheld once; twice means it was lost.
        """
        with self._lock:
            latest = self._latest.get(worker, {})
            unheld = unheld - set(map(name_of, self._waiting.get(worker, ())))
            now = {(name, name in latest) for name in unheld}
            lost = sorted(name for name, _ in now & self._unheld.get(worker, set()))
            self._unheld[worker] = now
            for name in lost:
                self._note(worker, name, _NO_EXCHANGE)
        return lost

    def drop(self, worker: str, names: set[Name]) -> None:
        """Let go of what waits for a worker and is not its own any more."""
        if names:
            with self._lock:
                rows = self._waiting.get(worker, ())
                self._waiting[worker] = [row for row in rows if name_of(row) not in names]

    def forget(self, worker: str) -> None:
        """Let go of a worker that has left; its claims went back."""
        with self._lock:
            for memory in (self._waiting, self._latest, self._unheld, self._rests):
                memory.pop(worker, None)

    def clear(self) -> None:
        """Let go of every worker, in a child that has none; a thread may have held the lock."""
        self._lock = Lock()
        for memory in (self._waiting, self._latest, self._unheld, self._rests):
            memory.clear()

    def _note(self, worker: str, name: Name, request: bytes) -> None:
        """Remember a claim as the latest; called with the lock."""
        latest = self._latest.setdefault(worker, {})
        latest.pop(name, None)
        latest[name] = request
        if len(latest) > _LATEST:
            del latest[next(iter(latest))]
