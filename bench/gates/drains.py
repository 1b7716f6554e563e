"""What gates that do not bind cost: the same backlog without one, behind one, and behind two.

The worker processes stay; the backlogs are stored on a paused queue, let go, and drained by turns,
so that a machine that slows down does so for each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.gates.tasks import FREE, QUEUE, make
from bench.harness.environments import ROOT, environment
from bench.harness.figures import Figures
from bench.harness.marks import count_marks, read_marks
from bench.harness.processes import Running, started, wait_until
from treadle import Settings, Treadle
from treadle.store.open import open_store

_START_LIMIT_S: Final = 60.0
_DRAIN_LIMIT_S: Final = 60.0


@dataclass(frozen=True)
class Shop:
    """One store with its application here, and the marks and logs of its workers."""

    url: str
    app: Treadle
    directory: Path

    @property
    def marks(self) -> Path:
        """The file in which jobs leave their marks."""
        return self.directory / "marks"

    def started(self, name: str, *words: str) -> AbstractContextManager[Running]:
        """Start a worker process, its output in a file of that name; it ends with the block."""
        return started(
            [sys.executable, "-m", "bench.gates.worker", *words],
            env=environment(self.url, self.marks),
            cwd=ROOT,
            log=self.directory / name,
        )


@contextlib.contextmanager
def opened(url: str, directory: Path) -> Iterator[Shop]:
    """Open a store that is empty, its tables made, for the length of a block."""
    asyncio.run(make_tables(url))
    app = make(url)
    try:
        yield Shop(url, app, directory)
    finally:
        app.close()


async def make_tables(url: str, namespace: str = "default") -> None:
    """Make the tables of a store; SQLite makes its file by itself."""
    store = open_store(url, namespace, Settings())
    await (store.open() if url.startswith("sqlite") else store.migrate())
    await store.close()


@contextlib.contextmanager
def working(shop: Shop, processes: int) -> Iterator[list[Running]]:
    """Run so many worker processes, and hand them out once all have registered.

    Raises:
        BenchError: one of them ended, or they were not there within a minute.
    """
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(shop.started(f"worker-{number}.log")) for number in range(processes)
        ]
        wait_until(
            lambda: len(shop.app.workers()) == processes,
            timeout_s=_START_LIMIT_S,
            what=f"the start of {processes} worker(s)",
            workers=workers,
        )
        yield workers


def drain(
    shop: Shop, workers: Sequence[Running], task: str, calls: Sequence[tuple[object, ...]]
) -> float:
    """Store jobs on the paused queue, let them go, and give how many a second ran.

    Raises:
        BenchError: a worker ended, or not all had run within a minute.
    """
    shop.app.queues.pause(QUEUE)
    if shop.marks.exists():
        os.truncate(shop.marks, 0)
    shop.app.named(task).enqueue_many(calls)
    shop.app.queues.resume(QUEUE)
    wait_until(
        lambda: count_marks(shop.marks) >= len(calls),
        timeout_s=_DRAIN_LIMIT_S,
        what=f"{len(calls)} jobs run by {len(workers)} worker(s)",
        workers=workers,
    )
    marks = read_marks(shop.marks)
    return (len(marks) - 1) * 1e9 / max(1, marks[-1].at_ns - marks[0].at_ns)


def costs(shop: Shop, processes: int, jobs: int, rounds: int) -> list[Figures]:
    """Give the rate of each kind of job in each round, and what it is of the rate without gates."""
    found = list[Figures]()
    with working(shop, processes) as workers:
        for turn in range(rounds + 1):
            rates = {
                name: drain(shop, workers, name, [(number,) for number in range(jobs)])
                # Whoever comes first has the warmer store in the next round.
                for name in (FREE if turn % 2 else FREE[::-1])
            }
            if turn:  # The first round warms up.
                found.append(_figures(rates))
    return found


def _figures(rates: dict[str, float]) -> Figures:
    return {f"{name}_jobs_per_s": rate for name, rate in rates.items()} | {
        f"{name}_of_none": rate / rates["none"] for name, rate in rates.items() if name != "none"
    }
