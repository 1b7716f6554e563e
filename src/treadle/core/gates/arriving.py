"""Starts of a sliding window that come along when its jobs move to another store.

What has started in the store that is left counts in the other one, each start once, however often
it is sent. The clocks of two servers differ, so a start is told by its age: what is on its way for
a while looks younger than it is, and counts a little longer, never shorter. Which starts have come
is told by the clock of the store that they come from, where they never go back in time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct

from treadle.core.gates.gate import WINDOW, Gate, GateUse
from treadle.core.gates.window import QUOTA_MAX

MOVES_MAX: Final = 8
"""Moves of which a gate remembers what has come by them: the last ones."""

_CAME: Final = re.compile(r"([^ ;]+) (-?\d{1,18}) (\d{1,18})")
"""A move, and the newest start that has come by it: its instant, and what was taken at it."""

Pairs = Sequence[tuple[int, int]]
"""An instant (µs), and what those took together that started at it; the oldest first."""


class Starts(Struct, frozen=True):
    """What has started in a sliding window of one store and counts still."""

    use: GateUse
    """Its name and numbers."""
    pairs: Pairs
    at: int
    """When this was read, by the same clock."""

    @property
    def last(self) -> tuple[int, int]:
        """The newest of them."""
        return self.pairs[-1]


def starts_of(gate: Gate, now: int) -> Starts | None:
    """Give what counts of a gate; None where nothing does, or it is no sliding window."""
    if gate.kind != WINDOW:
        return None
    pairs = [(at, took) for at, took in _pairs(gate.lately) if at > now - gate.period]
    use = GateUse(gate.name, WINDOW, 1, gate.quota, gate.period, gate.burst)
    return Starts(use, pairs, now) if pairs else None


def receive(gate: Gate, came: str, starts: Starts, move: str, now: int) -> str:
    """Let starts count in a gate of the same name; give what has come so far, to be kept with it.

    `came` is what the last call gave for this gate, whatever its move.
    """
    known = {name: (int(at), int(took)) for name, at, took in _CAME.findall(came)}
    fresh = _since(starts.pairs, known.pop(move, None))
    shifted = ((now - starts.at + at, took) for at, took in fresh)
    gate.lately = _merged(chain(_pairs(gate.lately), shifted))
    gate.full_at = gate.lately[-2] + gate.period if gate.lately else gate.full_at
    known[move] = starts.last
    kept = list(known.items())[-MOVES_MAX:]
    return ";".join(f"{name} {at} {took}" for name, (at, took) in kept)


def _pairs(lately: Sequence[int]) -> Pairs:
    return list(zip(lately[::2], lately[1::2], strict=False))


def _since(pairs: Pairs, last: tuple[int, int] | None) -> Pairs:
    """Give what is newer than what has come; of its very instant, what has been added since."""
    if last is None:
        return pairs
    at, took = last
    more = [(at, t - took) for one, t in pairs if one == at and t > took]
    return [*more, *(pair for pair in pairs if pair[0] > at)]


def _merged(pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Put starts in order; of more than any window counts, the newest."""
    sums: Counter[int] = Counter()
    for at, took in pairs:
        sums[at] += took
    kept: list[tuple[int, int]] = []
    total = 0
    for at in sorted(sums, reverse=True):
        kept.append((at, sums[at]))
        total += sums[at]
        if total >= QUOTA_MAX:
            break
    return list(chain.from_iterable(reversed(kept)))
