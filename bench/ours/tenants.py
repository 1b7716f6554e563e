"""What tenants wait and cost: a first job beside a great backlog of another tenant's.

Run by itself on one store, `python -m bench.ours.tenants URL [--waiting N] [--rounds R]`. One
tenant has so many jobs waiting and a worker drains them; in each round a tenant that was never
seen before enqueues one job, and the time until that starts is taken. Before that, storing jobs
without a tenant, with one and with many is compared by turns, so that a busy machine slows all of
them alike; with `--waiting 0` that is all. `--out FILE` keeps the waits beside those of other
stores: bench/results/tenants.json came about so.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from bench.gates.drains import make_tables
from bench.harness.machine import commit, describe_machine
from bench.harness.report import FORMAT
from treadle import Treadle, Worker

_ROUNDS: Final = 7
_BATCH: Final = 1_000
_PAUSE_S: Final = 0.2
_PATIENCE_S: Final = 60.0
_WANTED_MS: Final = 1_000.0


class Yard:
    """An application with a task that does nothing, and one that says how long it waited."""

    def __init__(self, url: str, namespace: str) -> None:
        self.app = Treadle(url, namespace=namespace)
        self.waits: list[float] = []
        self.news = asyncio.Event()

        @self.app.task(name="bulk")
        async def bulk() -> None:
            """Do nothing."""

        @self.app.task(name="first")
        async def first(sent: float) -> None:
            self.waits.append(time.monotonic() - sent)
            self.news.set()

        self.bulk, self.first = bulk, first

    def stored(self, jobs: int, tenants: int) -> float:
        """Store jobs of so many tenants in batches, and purge them; give the microseconds a job."""
        calls = [()] * _BATCH
        tasks = [self.bulk.using(tenant=f"t{n}") for n in range(tenants)] or [self.bulk]
        begun = time.perf_counter()
        for n in range(jobs // _BATCH):
            tasks[n % len(tasks)].enqueue_many(calls)
        spent = time.perf_counter() - begun
        while self.app.queues.purge("default"):
            pass
        return spent / jobs * 1e6

    async def wait_for_first(self, rounds: int) -> None:
        """Drain, and let a new tenant come in each round."""
        async with Worker(self.app, concurrency=100):
            await asyncio.sleep(1)
            for n in range(rounds):
                await asyncio.sleep(_PAUSE_S)
                self.news.clear()
                await self.first.using(tenant=f"new {n}").aenqueue(time.monotonic())
                async with asyncio.timeout(_PATIENCE_S):
                    await self.news.wait()


def compare(yard: Yard, jobs: int) -> None:
    """Print what storing a job costs without a tenant, with one, and with many."""
    kinds = {"no tenant": 0, "one tenant": 1, "a hundred tenants": 100}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(_ROUNDS):
        for name, tenants in kinds.items():
            found[name].append(yard.stored(jobs, tenants))
    for name, costs in found.items():
        print(f"store by {_BATCH:,}, {name}: {statistics.median(costs):.2f} us a job (median)")


class Beside(msgspec.Struct, frozen=True):
    """How long first jobs of new tenants have waited beside a great backlog on one store."""

    date: str
    commit: dict[str, object]
    machine: dict[str, object]
    waiting: int
    stored_s: float
    left: int
    """Jobs of the great tenant that still waited at the end."""
    waits_ms: list[float]
    median_ms: float
    max_ms: float
    wanted_ms: float = _WANTED_MS


class Kept(msgspec.Struct, frozen=True):
    """What was measured on each kind of store; each may be of another run."""

    format: int
    stores: dict[str, Beside]


def keep(out: Path, kind: str, found: Beside) -> None:
    """Write the figures of one store beside those of others."""
    kept = msgspec.json.decode(out.read_bytes(), type=Kept) if out.exists() else Kept(FORMAT, {})
    kept.stores[kind] = found
    out.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


def main() -> None:
    """Measure one store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="where to keep the waits")
    words = parser.parse_args()
    machine = describe_machine(Path(tempfile.gettempdir()))
    namespace = f"tenants_{secrets.token_hex(4)}"
    if words.url.startswith("postgresql"):
        asyncio.run(make_tables(words.url, namespace))
    yard = Yard(words.url, namespace)
    compare(yard, words.jobs)
    if words.waiting:
        begun = time.perf_counter()
        yard.bulk.using(tenant="great").enqueue_many(() for _ in range(words.waiting))
        stored = time.perf_counter() - begun
        print(f"{words.waiting:,} jobs stored in {stored:.0f} s")
        asyncio.run(yard.wait_for_first(words.rounds))
        waits = sorted(yard.waits)
        left = yard.app.queues.counts("default").get("ready", 0)
        print(
            f"a first job beside them, {len(waits)} of {words.rounds}: "
            f"median {statistics.median(waits) * 1e3:.1f} ms, max {waits[-1] * 1e3:.1f} ms; "
            f"{left:,} jobs of the great tenant still waited"
        )
        if words.out is not None:
            found = Beside(
                datetime.now(UTC).isoformat(timespec="seconds"),
                commit(), machine, words.waiting, round(stored, 1), left,
                [round(wait * 1e3, 1) for wait in waits],
                round(statistics.median(waits) * 1e3, 1), round(waits[-1] * 1e3, 1),
            )  # fmt: skip
            keep(words.out, words.url.partition("://")[0], found)
    yard.app.close()


if __name__ == "__main__":
    main()
