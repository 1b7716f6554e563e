"""The starts of a sliding window: when each was, and what those of that instant took together.

They are kept by turns in one list, `[instant, cost, instant, cost]`, the oldest first. Starts of
one instant are one entry, so a batch is one; the list is never longer than the quota.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

QUOTA_MAX: Final = 10_000
"""The most starts that a sliding window counts: it keeps the instant of each."""


def pairs(starts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give the instants and their costs."""
    return zip(starts[::2], starts[1::2], strict=False)


def taken(starts: Sequence[int], since: int) -> int:
    """Sum up what was taken after an instant."""
    return sum(cost for at, cost in pairs(starts) if at > since)


def add(starts: Sequence[int], cost: int, now: int, period: int) -> list[int]:
    """Give the starts of the window with one more, without those that have left it.

    A clock that has stepped back does not make a start older than the one before it.
    """
    kept = [number for pair in pairs(starts) if pair[0] > now - period for number in pair]
    at = max(now, kept[-2]) if kept else now
    if kept and kept[-2] == at:
        return [*kept[:-1], kept[-1] + cost]
    return [*kept, at, cost]


def leaves_at(starts: Sequence[int], quota: int, cost: int, now: int, period: int) -> int:
    """Tell when so many of the oldest starts will have left that this much has room."""
    over = taken(starts, now - period) + cost - quota
    at = now
    for start, took in pairs(starts):
        if over <= 0:
            break
        if start > now - period:
            over, at = over - took, start + period
    return at
