"""Claims: what a worker asks for, what it is given, and what came to it with the news.

An enqueue that meets an idle worker claims its job for that worker and sends the claim along
with the news (docs/adr/0026). It lies here until the worker's next exchange, which it answers
without a round trip. The server gives the same claim again with the first exchange that does
reach it, because news may be lost; whichever comes second is dropped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.store.contract import BATCH_MAX
from treadle.store.handing import NO_EXCHANGE, Handing, Name
from treadle.store.redis.rows import Words, name_of, read_claim

if TYPE_CHECKING:
    from treadle.core.job import Claim
    from treadle.core.lanes import Demand


def demand_words(demand: Demand | None) -> Words:
    """Say what to claim: how many jobs, and how many of each queue in turn."""
    total = 0 if demand is None else min(demand.total, BATCH_MAX)
    shares = () if demand is None or not total else demand.shares
    words: Words = [total, len(shares)]
    for share in shares:
        words += (share.queue or "", share.limit)
    return words


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


class Handed(Handing):
    """The claims that came with the news, by worker."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, list[bytes]] = {}

    def came(self, worker: str, row: bytes) -> None:
        """Keep a claim for its worker, unless the server has given it or a beat gave it up."""
        try:
            name, _ = name_of(row), _made_at(row)
        except (ValueError, IndexError):
            # Not a claim but a text of somebody else's: a hint to look, as all news are.
            return
        with self.lock:
            if not self.knows(worker, name):
                self.note(worker, name, NO_EXCHANGE)
                self._waiting.setdefault(worker, []).append(row)

    def take(self, worker: str) -> tuple[list[Claim], list[Name]]:
        """Give a worker what came for it; also name what cannot be read."""
        claims, bad = list[Any](), list[Name]()
        with self.lock:
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

        `handed` says that the first may have been sent with news as well.
        """
        if not rows:
            return rows
        name = name_of(rows[0])
        with self.lock:
            waiting = self._waiting.get(worker, [])
            others = [row for row in waiting if name_of(row) != name]
            if len(others) < len(waiting):
                self._waiting[worker] = others
                self.note(worker, name, request)
            elif handed and not self.is_first(worker, name, request):
                return rows[1:]
        return rows

    def names(self, worker: str) -> set[Name]:
        """Name what waits for a worker."""
        with self.lock:
            return self.on_its_way(worker)

    def on_its_way(self, worker: str) -> set[Name]:
        """Do the same with the lock."""
        return set(map(name_of, self._waiting.get(worker, ())))

    def drop(self, worker: str, names: set[Name]) -> None:
        """Let go of what waits for a worker and is not its own any more."""
        if names:
            with self.lock:
                rows = self._waiting.get(worker, ())
                self._waiting[worker] = [row for row in rows if name_of(row) not in names]

    def forget(self, worker: str) -> None:
        """Let go of a worker that has left; its claims went back."""
        super().forget(worker)
        with self.lock:
            self._waiting.pop(worker, None)

    def clear(self) -> None:
        """Let go of every worker, in a child that has none."""
        super().clear()
        self._waiting.clear()
