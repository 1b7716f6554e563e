"""How a figure is held against a bar, and how both are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.harness.report import Results, Verdict

ASYNC: Final = "treadle:async"
PROBE: Final = "probe"
OURS: Final = "treadle:"
_NOT_PEERS: Final = (OURS, "probe:")
_WHOLE_FROM: Final = 1_000

Group = Callable[[Results], list[Verdict]]
"""Bars that belong together."""


def best_peer(
    results: Results, measure: str, figure: str, *, apart_from: str | None = None
) -> float | None:
    """Return the highest median that any peer reached, one of them left out if named."""
    left_out = _NOT_PEERS if apart_from is None else (*_NOT_PEERS, apart_from)
    return results.best_of(lambda name: not name.startswith(left_out), measure, figure)


def times(value: float | None, factor: float) -> float | None:
    """Return a multiple of a figure that may be missing."""
    return None if value is None else value * factor


def plus(value: float | None, amount: float) -> float | None:
    """Return the sum with a figure that may be missing."""
    return None if value is None else value + amount


def at_least(bar: str, reached: float | None, wanted: float | None, unit: str) -> Verdict:
    """Hold a figure against a lower bar."""
    ok = None if reached is None or wanted is None else reached >= wanted
    return Verdict(bar, f"at least {_said(wanted, unit)}", _said(reached, unit), ok)


def at_most(bar: str, reached: float | None, wanted: float | None, unit: str) -> Verdict:
    """Hold a figure against an upper bar."""
    ok = None if reached is None or wanted is None else reached <= wanted
    return Verdict(bar, f"at most {_said(wanted, unit)}", _said(reached, unit), ok)


def _said(value: float | None, unit: str) -> str:
    if value is None:
        return "(not measured)"
    number = f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.3g}"
    return f"{number} {unit}"
