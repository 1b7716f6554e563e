"""DBOS on either of its engines: a durable workflow a job, at two paces of polling.

DBOS has no worker command: an application launches it and it runs what its queues hold. So
this file is also that application (`python -m bench.peers.dbos_app`). Jobs come from
`DBOSClient`, the way another process hands it work; many at once go through the client in one
transaction of the caller's.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

from bench.harness.marks import mark
from bench.peers.base import Peer, Rates, Variant, store_url

_dbos: Any = importlib.import_module("dbos")
_sqlalchemy: Any = importlib.import_module("sqlalchemy")

_QUEUE = "bench"
_WORKFLOW = "bench_mark"
_CALL = {"queue_name": _QUEUE, "workflow_name": _WORKFLOW}
_URL = store_url()
_WORKER_CONCURRENCY = 100
_WORKER = ("-m", "bench.peers.dbos_app")

_dbos.DBOS.workflow(name=_WORKFLOW)(mark)


@functools.cache
def _client() -> Any:  # noqa: ANN401 -- the library is not installed where types are checked
    return _dbos.DBOSClient(system_database_url=_URL)


@functools.cache
def _engine() -> Any:  # noqa: ANN401 -- as above
    return _sqlalchemy.create_engine(_URL)


def enqueue_one(number: int) -> object:
    """Store one workflow."""
    return _client().enqueue(_CALL, number)


def enqueue_bulk(numbers: Sequence[int]) -> None:
    """Store many workflows in one transaction."""
    with _engine().begin() as connection:
        for number in numbers:
            _client().enqueue_in_transaction(connection, _CALL, number)


def launch() -> None:
    """Launch DBOS in this process, its tables made if they are missing."""
    _dbos.DBOS(
        config={
            "name": "treadle-bench",
            "system_database_url": _URL,
            "console_log_level": "WARNING",
            "application_version": "1",
            # Two workers with one id would each recover what the other is running.
            "executor_id": f"worker-{os.getpid()}",
        }
    )
    _dbos.DBOS.launch()


def prepare(polling_s: float, worker_concurrency: int | None) -> None:
    """Make the tables and the queue once.

    The queue's polling is registered before a worker starts, because a running one moves from
    the polling it found to a shorter one over many seconds.
    """
    launch()
    _dbos.DBOS.register_queue(
        _QUEUE, polling_interval_sec=polling_s, worker_concurrency=worker_concurrency
    )
    _dbos.DBOS.destroy()


def work() -> None:
    """Run what the queue holds until a signal to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    launch()
    stop.wait()
    _dbos.DBOS.destroy()


def peer(engine: str, *, distributions: tuple[str, ...], default: Rates, tuned: Rates) -> Peer:
    """Describe DBOS on an engine: as it comes, and with the fastest polling we found."""
    return Peer(
        name="dbos",
        guarantees="at least once: durable workflow, recovered by its executor id; status and "
        "result kept",
        distributions=distributions,
        variants=(
            Variant(
                name="dbos:default",
                settings=f"{engine}; polls every 1 s, no cap (defaults)",
                worker=_WORKER,
                rates=default,
                enqueue_one=enqueue_one,
                enqueue_bulk=enqueue_bulk,
                prepare=functools.partial(prepare, 1.0, None),
            ),
            Variant(
                name="dbos:fastest-polling",
                settings=f"as default, polls every 20 ms, worker_concurrency={_WORKER_CONCURRENCY}",
                worker=_WORKER,
                rates=tuned,
                enqueue_one=enqueue_one,
                enqueue_bulk=enqueue_bulk,
                prepare=functools.partial(prepare, 0.02, _WORKER_CONCURRENCY),
            ),
        ),
    )


if __name__ == "__main__":
    work()
