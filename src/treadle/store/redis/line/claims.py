"""Claims: what a worker asks for, what it is given, and what came to it with the news.

An enqueue that meets an idle worker claims its job for that worker and sends the claim along
with the news (docs/adr/0026). It lies here until the worker's next exchange, which it answers
without a round trip. The server gives the same claim again with the first exchange that does
reach it, because news may be lost; whichever comes second is dropped here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from treadle.store.contract import BATCH_MAX
from treadle.store.redis.rows import Words, name_of, read_claim

if TYPE_CHECKING:
    from treadle.core.job import Claim
    from treadle.core.lanes import Demand

_LATEST: Final = 64
"""How many claims back news is still known to be old; it is late by one or two at the most."""

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


class Handed:
    """The claims that came with the news, by worker; the lease's thread may look at them."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[bytes]] = {}
        self._latest: dict[str, deque[Name]] = {}

    def came(self, worker: str, row: bytes) -> None:
        """Keep a claim for its worker, unless the server has given it already."""
        latest, name = self._latest_of(worker), name_of(row)
        if name not in latest:
            latest.append(name)
            self._waiting.setdefault(worker, []).append(row)

    def take(self, worker: str) -> tuple[list[Claim], list[Name]]:
        """Give a worker what came for it; also name what cannot be read."""
        claims, bad = list[Any](), list[Name]()
        for row in self._waiting.pop(worker, ()):
            # It was claimed at the time at which its job was made.
            read, unread = read_claims([row], int(row.split(b" ", 4)[3]))
            claims += read
            bad += unread
        return claims, bad

    def others(self, worker: str, rows: Sequence[Any], *, handed: bool) -> Sequence[Any]:
        """Give the claims of an answer, each of them once.

        `handed` says that the first has been sent with news as well; one that is asked for again
        may begin with such a claim, too.
        """
        if not rows:
            return rows
        name, waiting = name_of(rows[0]), self._waiting.get(worker, [])
        if name in map(name_of, waiting):
            self._waiting[worker] = [row for row in waiting if name_of(row) != name]
        elif handed and name in self._latest_of(worker):
            return rows[1:]
        elif handed:
            self._latest_of(worker).append(name)
        return rows

    def names(self, worker: str) -> set[tuple[bytes, int]]:
        """Name what waits for a worker, as a beat does: not lost, but on its way."""
        waiting = map(name_of, tuple(self._waiting.get(worker, ())))
        return {(bytes.fromhex(id_.decode()), number) for id_, number in waiting}

    def forget(self, worker: str) -> None:
        """Let go of a worker that has left; its claims went back."""
        self._waiting.pop(worker, None)
        self._latest.pop(worker, None)

    def clear(self) -> None:
        """Let go of every worker, in a child that has none."""
        self._waiting.clear()
        self._latest.clear()

    def _latest_of(self, worker: str) -> deque[Name]:
        return self._latest.setdefault(worker, deque(maxlen=_LATEST))
