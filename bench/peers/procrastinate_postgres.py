"""procrastinate on PostgreSQL: jobs in its tables, workers woken by LISTEN and NOTIFY."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_procrastinate: Any = importlib.import_module("procrastinate")

app: Any = _procrastinate.App(connector=_procrastinate.PsycopgConnector(conninfo=store_url()))


@app.task(name="mark", queue="bench")  # type: ignore[untyped-decorator]
async def mark_job(number: int) -> int:
    """Leave a mark."""
    return mark(number)


@functools.cache
def _opened() -> Any:  # noqa: ANN401 -- the library is not installed where types are checked
    """Open the producer's connections once; they end with its process."""
    app.open()
    return mark_job


def enqueue_one(number: int) -> object:
    """Store one job."""
    return _opened().defer(number=number)


def enqueue_bulk(numbers: Sequence[int]) -> object:
    """Store many jobs in one statement."""
    return _opened().batch_defer(*({"number": number} for number in numbers))


def prepare() -> None:
    """Make the tables."""
    with app.open():
        app.schema_manager.apply_schema()


PEER = Peer(
    name="procrastinate",
    guarantees="kept until done; a dead worker's job comes back only if the application adds the "
    "documented task for stalled jobs; job row kept, no result value",
    distributions=("procrastinate", "psycopg"),
    variants=(
        Variant(
            name="procrastinate:default",
            settings="--concurrency 20, LISTEN/NOTIFY, job lines not logged",
            worker=(
                *("-m", "procrastinate", "--app", "bench.peers.procrastinate_postgres.app"),
                *("--log-level", "warning", "worker", "--concurrency", "20"),
            ),
            rates=Rates(single=1_500, bulk=23_000, drain=1_100),
            enqueue_one=enqueue_one,
            enqueue_bulk=enqueue_bulk,
            prepare=prepare,
        ),
    ),
)
