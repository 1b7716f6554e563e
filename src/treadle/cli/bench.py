"""The command `treadle bench`: how fast is treadle on this machine and this disk?

A small run for users, in one process: enqueue, drain, latency, with the disk's fsync time beside
them, on which a durable store hangs. It compares nothing; the project's own `make bench` measures
with processes and peers. Its jobs live in a namespace of their own and are deleted at the end.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import click
from msgspec import Struct, to_builtins

from treadle.app import Treadle
from treadle.cli.reach import closed_store, prints_json
from treadle.cli.view.document import print_document
from treadle.cli.view.tables import Column, console, grid
from treadle.cli.view.text import number, shown_url
from treadle.store.contract import BATCH_MAX
from treadle.task import Task
from treadle.worker.worker import Worker

NAMESPACE: Final = "treadle_bench"
_SINGLE_MAX: Final = 2_000
_ARRIVALS: Final = 100
_ARRIVAL_S: Final = 10.0
_FSYNCS: Final = 50
_PAGES_MAX: Final = 2_000

Arrivals = dict[int, asyncio.Future[float]]


class Figures(Struct):
    """What was measured; rates in jobs a second."""

    store: str
    jobs: int
    concurrency: int
    fsync_ms: float | None
    enqueue_per_s: float
    enqueue_many_per_s: float
    drain_per_s: float
    latency_p50_ms: float
    latency_p95_ms: float


@click.command()
# No environment variable: what names the store of an application must not start a load on it.
@click.option("--store", metavar="URL", help="Default: a temporary SQLite file.")
@click.option("--jobs", type=click.IntRange(100, 1_000_000), default=20_000, show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 2_000), default=100, show_default=True)
@prints_json
def bench(store: str | None, *, jobs: int, concurrency: int, as_json: bool) -> None:
    """Measure treadle on this machine: enqueue, drain, latency."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        url = store or f"sqlite:///{folder}/bench.db"
        with _opened(url) as app:
            figures = _measure(app, jobs, concurrency)
    if as_json:
        print_document(to_builtins(figures))
    else:
        _print(figures)


@contextmanager
def _opened(url: str) -> Iterator[Treadle]:
    """Give an application in a namespace of its own; delete its jobs at the end."""
    app = Treadle(url, namespace=NAMESPACE)
    closed_store(app)
    try:
        yield app
    finally:
        try:
            _tidy(app)
        finally:
            app.close()


def _tidy(app: Treadle) -> None:
    """Delete the jobs of this namespace, a page at a time."""
    for _ in range(_PAGES_MAX):
        page = app.jobs(limit=BATCH_MAX)
        if page:
            app.link.run(app.store.discard([job.record().id for job in page]))
        if page.cursor is None:
            return


def _measure(app: Treadle, jobs: int, concurrency: int) -> Figures:
    """Carry out every measure, one after the other."""
    arrivals: Arrivals = {}

    @app.task(name="bench.no_op")
    async def no_op(number: int) -> int:
        return number

    @app.task(name="bench.arrive")
    async def arrive(number: int) -> None:
        arrivals[number].set_result(time.perf_counter())

    no_op.enqueue(0)
    singles = min(jobs, _SINGLE_MAX)
    began = time.perf_counter()
    for each in range(singles):
        no_op.enqueue(each)
    single = time.perf_counter() - began
    began = time.perf_counter()
    no_op.enqueue_many((each,) for each in range(jobs))
    bulk = time.perf_counter() - began
    drain = asyncio.run(_drain(app, concurrency))
    taken = asyncio.run(_latencies(app, arrive, arrivals))
    return Figures(
        store=shown_url(app.settings.store),
        jobs=jobs,
        concurrency=concurrency,
        fsync_ms=_fsync_ms(app.settings.store),
        enqueue_per_s=singles / single,
        enqueue_many_per_s=jobs / bulk,
        drain_per_s=(jobs + singles + 1) / drain,
        latency_p50_ms=median(taken) * 1e3,
        latency_p95_ms=quantiles(taken, n=20)[-1] * 1e3,
    )


async def _drain(app: Treadle, concurrency: int) -> float:
    """Run everything that is ready; give the seconds from the first claim to the last result."""
    async with Worker(app, concurrency=concurrency, burst=True) as worker:
        began = time.perf_counter()
        await worker.wait()
        return time.perf_counter() - began


async def _latencies(app: Treadle, arrive: Task[[int], None], arrivals: Arrivals) -> list[float]:
    """Give the seconds from each call of enqueue to the start of its job in an idle worker."""
    taken = []
    loop = asyncio.get_running_loop()
    async with Worker(app, concurrency=4):
        for each in range(_ARRIVALS):
            arrivals[each] = loop.create_future()
            began = time.perf_counter()
            await asyncio.to_thread(arrive.enqueue, each)
            done, _ = await asyncio.wait((arrivals[each],), timeout=_ARRIVAL_S)
            if not done:
                raise click.ClickException(f"a job was not started within {_ARRIVAL_S:g} s")
            taken.append(arrivals[each].result() - began)
    return taken


def _fsync_ms(url: str) -> float | None:
    """Measure how long the store's disk takes to make 4 KiB durable; None without a file."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite":
        return None
    taken = []
    with tempfile.TemporaryFile(dir=Path(path).absolute().parent, buffering=0) as file:
        for _ in range(_FSYNCS):
            began = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return median(taken) * 1e3


def _print(figures: Figures) -> None:
    columns: tuple[Column, ...] = (
        ("MEASURE", "left", "whole"),
        ("FIGURE", "right", "whole"),
        ("", "left", "fold"),
    )
    rows = [
        ("enqueue, one by one", number(figures.enqueue_per_s), "jobs/s"),
        ("enqueue_many", number(figures.enqueue_many_per_s), "jobs/s"),
        ("drain, no-op jobs", number(figures.drain_per_s), f"jobs/s, {figures.concurrency} slots"),
        ("enqueue to start, p50", f"{figures.latency_p50_ms:.2f}", "ms, idle worker"),
        ("enqueue to start, p95", f"{figures.latency_p95_ms:.2f}", "ms"),
    ]
    if figures.fsync_ms is not None:
        rows.append(("fsync of this disk, p50", f"{figures.fsync_ms:.2f}", "ms"))
    click.echo(f"{number(figures.jobs)} jobs in one process, results stored, on {figures.store}\n")
    console().print(grid(columns, rows))
