"""treadle on SQLite with its default durability: async tasks and sync tasks."""

from __future__ import annotations

from collections.abc import Sequence

from bench.ours.app import mark_async, mark_sync
from bench.peers.base import Peer, Rates, Variant

_SLOTS_ASYNC = "100"
_SLOTS_SYNC = "16"
_WORKER = ("-m", "treadle", "worker", "bench.ours.app:app", "--log-level", "warning")
_DURABILITY = "WAL, synchronous=FULL (defaults)"


def _bulk_async(numbers: Sequence[int]) -> object:
    return mark_async.enqueue_many((number,) for number in numbers)


def _bulk_sync(numbers: Sequence[int]) -> object:
    return mark_sync.enqueue_many((number,) for number in numbers)


PEER = Peer(
    name="treadle",
    guarantees="at least once, fenced: kept until settled, rescued from dead workers; result kept",
    distributions=("treadle", "msgspec"),
    variants=(
        Variant(
            name="treadle:async",
            settings=f"async task; {_DURABILITY}; --concurrency {_SLOTS_ASYNC}",
            worker=(*_WORKER, "--concurrency", _SLOTS_ASYNC),
            rates=Rates(single=8_000, bulk=100_000, drain=50_000),
            enqueue_one=mark_async.enqueue,
            enqueue_bulk=_bulk_async,
        ),
        Variant(
            name="treadle:sync",
            settings=f"sync task in threads; {_DURABILITY}; --concurrency {_SLOTS_SYNC}",
            worker=(*_WORKER, "--concurrency", _SLOTS_SYNC),
            rates=Rates(single=8_000, bulk=100_000, drain=20_000),
            enqueue_one=mark_sync.enqueue,
            enqueue_bulk=_bulk_sync,
        ),
    ),
)
