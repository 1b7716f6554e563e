"""The starts of a sliding window: when each was, and what those of that instant took together.

They are kept by turns in one list, `[instant, cost, instant, cost]`, the oldest first. Starts of
one instant are one entry, so a batch is one; the list is never longer than the quota.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

QUOTA_MAX: Final = 10_000
"""The most starts that a sliding window counts: it keeps the instant of each."""


def _first(starts: Sequence[int], since: int) -> int:
    """Find the place of the first start after an instant."""
    return 2 * bisect_right(starts[: len(starts) // 2 * 2 : 2], since)


def taken(starts: Sequence[int], since: int) -> int:
    """Sum up what was taken after an instant."""
    return sum(starts[_first(starts, since) + 1 :: 2])


def add(starts: Sequence[int], cost: int, now: int, period: int) -> list[int]:
    """Give the starts of the window with one more, without those that have left it.

    A clock that has stepped back does not make a start older than the one before it.
    """
    kept = list(starts[_first(starts, now - period) : len(starts) // 2 * 2])
    if kept and kept[-2] >= now:
        kept[-1] += cost
    else:
        kept += (now, cost)
    return kept


def leaves_at(starts: Sequence[int], quota: int, cost: int, now: int, period: int) -> int:
    """Tell when so many of the oldest starts will have left that this much has room."""
    place, at = _first(starts, now - period), now
    over = sum(starts[place + 1 :: 2]) + cost - quota
    while over > 0 and place + 1 < len(starts):
        over, at = over - starts[place + 1], starts[place] + period
        place += 2
    return at
