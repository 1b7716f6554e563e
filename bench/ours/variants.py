"""treadle as a peer, the same on every engine: async tasks and sync tasks.

The files `bench/peers/treadle_<engine>.py` add what differs: the durability and the rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.ours.app import mark_async, mark_sync
from bench.peers.base import Peer, Rates, Variant

_SLOTS_ASYNC = "100"
_SLOTS_SYNC = "16"
_WORKER = ("-m", "treadle", "worker", "bench.ours.app:app", "--log-level", "warning")


def _bulk_async(numbers: Sequence[int]) -> object:
    return mark_async.enqueue_many((number,) for number in numbers)


def _bulk_sync(numbers: Sequence[int]) -> object:
    return mark_sync.enqueue_many((number,) for number in numbers)


def peer(
    durability: str,
    *,
    asynchronous: Rates,
    synchronous: Rates,
    distributions: tuple[str, ...] = (),
    prepare: Callable[[], object] | None = None,
) -> Peer:
    """Describe treadle on an engine."""
    return Peer(
        name="treadle",
        guarantees="at least once, fenced: kept until settled, rescued from dead workers; "
        "result kept",
        distributions=("treadle", "msgspec", *distributions),
        variants=(
            Variant(
                name="treadle:async",
                settings=f"async task; {durability}; --concurrency {_SLOTS_ASYNC}",
                worker=(*_WORKER, "--concurrency", _SLOTS_ASYNC),
                rates=asynchronous,
                enqueue_one=mark_async.enqueue,
                enqueue_bulk=_bulk_async,
                prepare=prepare,
            ),
            Variant(
                name="treadle:sync",
                settings=f"sync task in threads; {durability}; --concurrency {_SLOTS_SYNC}",
                worker=(*_WORKER, "--concurrency", _SLOTS_SYNC),
                rates=synchronous,
                enqueue_one=mark_sync.enqueue,
                enqueue_bulk=_bulk_sync,
                prepare=prepare,
            ),
        ),
    )
