"""The bars: what treadle has to reach on each engine, and what it did reach in this run.

Each bar reads medians of the same run, so a slow machine lowers the probe and the peers along
with treadle. Where a figure is missing, the verdict is "not measured" and never a pass.
`comparing.py` has the words, the other files the bars of one engine each.
"""

from __future__ import annotations

from typing import Final

from bench.bars import postgres, redis, sqlite
from bench.bars.comparing import ASYNC, Group
from bench.harness.report import Results, Verdict

__all__ = ["ASYNC", "verdicts"]

_GROUPS: Final[dict[str, tuple[Group, ...]]] = {
    "sqlite": sqlite.GROUPS,
    "redis": redis.GROUPS,
    "postgres": postgres.GROUPS,
}


def verdicts(results: Results, engine: str = "sqlite") -> list[Verdict]:
    """Return a verdict for every bar of an engine, in the order in which people ask."""
    return [verdict for group in _GROUPS[engine] for verdict in group(results)]
