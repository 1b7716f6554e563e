"""A worker whose schedules tick fast: the program of `test_ticks`.

    python tests/faults/ticking.py STORE LEDGER SCHEDULES PERIOD LIMIT

Each schedule makes LIMIT jobs, PERIOD seconds apart, and each job writes down schedule, tick and
its own id. Settings come from `TREADLE_*`.
"""

import argparse
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from treadle import Context, Every, Treadle, Worker
from treadle.testing.ledger import Ledger

GRACE_S: Final = 20.0
"""What an hour's step leaves behind is dropped; what a killed worker leaves is not."""
ANCHOR: Final = datetime(2026, 1, 1, tzinfo=UTC)


def build(store: str, ledger: Ledger, count: int, period: float, limit: int) -> Treadle:
    """Make an application with so many schedules."""
    app = Treadle(store)

    @app.task(name="tick", retry=50)
    async def tick(ctx: Context) -> None:
        assert ctx.tick is not None
        ledger.write("START", f"{ctx.job.schedule}|{ctx.tick.isoformat()}|{ctx.job.id}")

    for number in range(count):
        app.schedule(
            Every(period, anchor=ANCHOR),
            name=f"s{number:03}",
            misfire="all",
            overlap="allow",
            grace=GRACE_S,
            limit=limit,
        )(tick)
    return app


def instant(tick: str) -> datetime:
    """Read a tick as it stands in the ledger."""
    return datetime.fromisoformat(tick)


def main() -> int:
    """Work until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("period", type=float)
    parser.add_argument("limit", type=int)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    app = build(given.store, Ledger(given.ledger), given.count, given.period, given.limit)
    return Worker(app, concurrency=16).run()


if __name__ == "__main__":
    sys.exit(main())
