"""What limits cost: the same drain without a gate, behind one that does not bind, behind two.

Run by itself on one store, `python -m bench.ours.limits URL [--jobs N] [--processes P]`: rounds
are interleaved, so that a busy machine slows all of them alike, and ratios are of medians. With
`--parked N` it also tells what so many parked jobs of one key cost another key's jobs, and an idle
exchange.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import secrets
import statistics
import time
from typing import Final

from treadle import Concurrency, RateLimit, Settings, Task, Treadle, Worker
from treadle.core.ids import new_id
from treadle.core.lanes import Demand, Step
from treadle.store.open import open_store
from treadle.worker.worker import as_lanes, worker_info

_ROUNDS: Final = 3
_WIDE: Final = 1_000_000
_IDLE: Final = 300

Bare = Task[[], None]


def make(url: str, namespace: str) -> tuple[Treadle, dict[str, Bare]]:
    """Make an application with a task for each number of gates, and one with a key."""
    app = Treadle(url, namespace=namespace)

    @app.task(name="none")
    async def none() -> None:
        """Do nothing."""

    @app.task(name="one", limits=Concurrency(_WIDE))
    async def one() -> None:
        """Do nothing, behind one gate."""

    @app.task(name="two", limits=[Concurrency(_WIDE), RateLimit(f"{_WIDE}/s")])
    async def two() -> None:
        """Do nothing, behind two gates."""

    return app, {"none": none, "one": one, "two": two}


def drain(url: str, namespace: str) -> None:
    """Run one worker process until nothing is ready."""
    app, _ = make(url, namespace)
    Worker(app, concurrency=100, burst=True).run()
    app.close()


def timed(url: str, namespace: str, processes: int) -> tuple[float, float]:
    """Drain with so many processes; give the seconds and this process's processor seconds."""
    begun, cpu = time.perf_counter(), time.process_time()
    if processes == 1:
        drain(url, namespace)
    else:
        spawn = multiprocessing.get_context("spawn")
        crew = [spawn.Process(target=drain, args=(url, namespace)) for _ in range(processes)]
        for each in crew:
            each.start()
        for each in crew:
            each.join()
    return time.perf_counter() - begun, time.process_time() - cpu


def costs(url: str, namespace: str, jobs: int, processes: int) -> None:
    """Print the rate of each task, and what it is of the rate without gates."""
    app, tasks = make(url, namespace)
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(_ROUNDS):
        for name, task in tasks.items():
            task.enqueue_many([()] * jobs)
            seconds, cpu = timed(url, namespace, processes)
            found[name].append(jobs / seconds)
            print(f"  {name}: {jobs / seconds:,.0f} jobs/s, {cpu / jobs * 1e6:.1f} us here a job")
    base = statistics.median(found["none"])
    for name, rates in found.items():
        print(f"{processes} process(es), {name}: {statistics.median(rates) / base:.2f} of none")
    app.close()


def beside(url: str, namespace: str, parked: int, jobs: int) -> None:
    """Print what parked jobs of one key cost the jobs of another, and an idle exchange."""
    app = Treadle(url, namespace=namespace)

    @app.task(name="keyed", limits=Concurrency(1_000, key="{key}"))
    async def keyed(key: str) -> None:
        del key

    def other() -> float:
        keyed.enqueue_many([("other",)] * jobs)
        begun = time.perf_counter()
        Worker(app, concurrency=100, burst=True).run()
        return jobs / (time.perf_counter() - begun)

    other()
    alone = statistics.median(other() for _ in range(_ROUNDS))
    idle_alone = _idle(app)
    app.gates.pause("keyed/concurrency:full")
    begun = time.perf_counter()
    keyed.enqueue_many([("full",)] * parked)
    print(f"{parked:,} jobs parked as they came, in {time.perf_counter() - begun:.1f} s")
    crowded = statistics.median(other() for _ in range(_ROUNDS))
    idle_crowded = _idle(app)
    print(f"another key: {crowded / alone:.2f} of its rate alone ({crowded:,.0f} jobs/s)")
    print(f"an idle exchange and stage: {idle_crowded:.0f} us beside them, {idle_alone:.0f} alone")
    app.close()


def _idle(app: Treadle) -> float:
    """Give the processor microseconds of an exchange and a stage that find nothing."""

    async def ask() -> float:
        store = app.store
        info = worker_info(1, as_lanes(None), 15)
        await store.register(info)
        begun = time.process_time()
        for _ in range(_IDLE):
            await store.exchange(info.id, new_id(), (), Demand(5, (Step(None, 5),)))
            await store.stage((), 500)
        used = time.process_time() - begun
        await store.leave(info.id)
        return used / _IDLE * 1e6

    return app.link.run(ask())


async def _migrate(url: str, namespace: str) -> None:
    store = open_store(url, namespace, Settings())
    await store.migrate()
    await store.close()


def main() -> None:
    """Measure one store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--parked", type=int, default=0)
    words = parser.parse_args()
    namespace = f"limits_{secrets.token_hex(4)}"
    if words.url.startswith("postgresql"):
        asyncio.run(_migrate(words.url, namespace))
    if words.parked:
        beside(words.url, namespace, words.parked, words.jobs)
    else:
        costs(words.url, namespace, words.jobs, words.processes)


if __name__ == "__main__":
    main()
