"""Figures: what one repetition of a measure returns, and how repetitions become one number."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Figures = dict[str, float]
"""Named numbers; the unit is the last word of the name."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of an ascending sequence; 0 when it is empty."""
    if not ordered:
        return 0.0
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return ordered[rank - 1]


def medians(repetitions: Sequence[Figures]) -> Figures:
    """Return the median of each figure over the repetitions that have it."""
    names = dict.fromkeys(name for one in repetitions for name in one)
    return {
        name: statistics.median(one[name] for one in repetitions if name in one) for name in names
    }


def slope_per_s(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Return the least-squares slope of `values` over `times_s`; 0 with fewer than two points."""
    if len(values) < 2 or times_s[0] == times_s[-1]:  # noqa: PLR2004 -- a line needs two points
        return 0.0
    return statistics.linear_regression(times_s, values).slope
