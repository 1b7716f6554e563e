"""One worker process: it works until it is stopped, or counts what it does while it is idle.

`python -m bench.gates.worker [--settle S --seconds S]`; the store is told by the environment. With
`--seconds` it ends with one line of JSON: what the process used and asked its store in that time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from bench.gates.tasks import make
from bench.harness.figures import Figures
from bench.peers.base import store_url
from treadle import Treadle, Worker
from treadle.store.contract import Store

COUNTING: Final = "counting"
"""The line that says that the time has begun."""
_SLOTS: Final = 100
_STEPS: Final = 100
_VERBS: Final = (
    "exchange", "beat", "stage", "rescue", "prune", "due_schedules", "fire", "wait", "gates",
)  # fmt: skip


class SqliteSteps:
    """Counts what SQLite does, in hundreds of steps of its machine: it has no count of rows."""

    def __init__(self) -> None:
        """Count on every connection that is opened from now on."""
        self.count = 0
        connect = sqlite3.connect

        def counted(*args: Any, **kwargs: Any) -> sqlite3.Connection:  # noqa: ANN401 -- passed on
            connection: sqlite3.Connection = connect(*args, **kwargs)
            connection.set_progress_handler(self._step, _STEPS)
            return connection

        vars(sqlite3)["connect"] = counted

    def _step(self) -> int:
        self.count += 1
        return 0


def count_calls(store: Store, calls: Counter[str]) -> None:
    """Count the calls that a store gets from now on."""
    for name in _VERBS:
        verb = getattr(store, name)

        def counted(*args: Any, _name: str = name, _verb: Any = verb, **kwargs: Any) -> Any:  # noqa: ANN401
            calls[_name] += 1
            return _verb(*args, **kwargs)

        setattr(store, name, counted)


async def idle(app: Treadle, settle_s: float, seconds: float) -> Figures:
    """Run a worker that finds nothing to do, and tell what it used after it has settled."""
    steps, calls = SqliteSteps(), Counter[str]()
    async with Worker(app, concurrency=_SLOTS):
        await asyncio.sleep(settle_s)
        count_calls(app.store, calls)
        sys.stdout.write(f"{COUNTING}\n")
        sys.stdout.flush()
        begun, cpu, stepped = time.monotonic(), time.process_time(), steps.count
        await asyncio.sleep(seconds)
        used, passed = time.process_time() - cpu, time.monotonic() - begun
        stepped = steps.count - stepped
    return {
        "cpu_percent": 100 * used / passed,
        "calls_per_s": sum(calls.values()) / passed,
        "sqlite_steps_per_s": _STEPS * stepped / passed,
        **{f"{name}_calls": float(count) for name, count in calls.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Work, or count and print."""
    parser = argparse.ArgumentParser(prog="bench.gates.worker", description=__doc__)
    parser.add_argument("--settle", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args(arguments)
    app = make(store_url())
    if not options.seconds:
        return Worker(app, concurrency=_SLOTS).run()
    # Two that are compared draw the same rests between their looks.
    random.seed(1)
    figures = asyncio.run(idle(app, options.settle, options.seconds))
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
