"""The jobs: the same one without a gate, behind one, behind two, and two that get parked."""

from __future__ import annotations

from typing import Final

from bench.harness.marks import mark
from treadle import Concurrency, RateLimit, Treadle

QUEUE: Final = "default"
FREE: Final = ("none", "one", "two")
"""The tasks whose gates, if any, do not bind."""
FULL: Final = "full"
"""The key whose gate is shut by hand."""
FULL_GATE: Final = f"keyed/concurrency:{FULL}"
_WIDE: Final = 1_000_000


def make(url: str) -> Treadle:
    """Make the application for a store."""
    app = Treadle(url)

    @app.task(name="none")
    async def none(number: int) -> None:
        """Leave a mark."""
        mark(number)

    @app.task(name="one", limits=Concurrency(_WIDE))
    async def one(number: int) -> None:
        """Leave a mark, behind one gate."""
        mark(number)

    @app.task(name="two", limits=[Concurrency(_WIDE), RateLimit(f"{_WIDE}/s")])
    async def two(number: int) -> None:
        """Leave a mark, behind two gates."""
        mark(number)

    @app.task(name="keyed", limits=Concurrency(_WIDE, key="{key}"))
    async def keyed(key: str, number: int) -> None:
        """Leave a mark, behind the gate of a key."""
        del key
        mark(number)

    @app.task(name="daily", limits=RateLimit("1/d"))
    async def daily(number: int) -> None:
        """Leave a mark, behind a gate that lets one pass a day."""
        mark(number)

    return app
