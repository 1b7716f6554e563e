"""The part of the suite that runs inside a peer's own environment.

`python -m bench.drive PEER describe` tells what the peer is; the other actions hand it jobs and
time that. One process does one action and prints one line of JSON. Uses the standard library
and the peer's file, nothing else, because the peer's environment holds nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import random
import sys
import time
from collections.abc import Sequence

from bench.harness.marks import WARM_UP
from bench.peers.base import Peer, Variant

BULK_SIZE = 1_000
_WARM_UP_CALLS = 20


def load_peer(name: str) -> Peer:
    """Import `bench/peers/<name>.py` and return its `PEER`.

    Raises:
        TypeError: the file has no `PEER` of the right type.
    """
    peer = importlib.import_module(f"bench.peers.{name}").PEER
    if not isinstance(peer, Peer):
        raise TypeError(f"bench/peers/{name}.py: PEER is a {type(peer).__name__}, not a Peer")
    return peer


def describe(peer: Peer) -> dict[str, object]:
    """Return what the runner needs to know of a peer without importing its library."""
    return {
        "peer": peer.name,
        "guarantees": peer.guarantees,
        "versions": {one: importlib.metadata.version(one) for one in peer.distributions},
        "variants": [
            {
                "name": one.name,
                "settings": one.settings,
                "worker": list(one.worker),
                "single_rate": one.rates.single,
                "bulk_rate": one.rates.bulk,
                "drain_rate": one.rates.drain,
                "bulk": one.enqueue_bulk is not None,
            }
            for one in peer.variants
        ],
    }


def enqueue_single(variant: Variant, count: int) -> dict[str, object]:
    """Time `count` calls of the ordinary enqueue, one after another on one thread."""
    for _ in range(_WARM_UP_CALLS):
        variant.enqueue_one(WARM_UP)
    enqueue = variant.enqueue_one
    start = time.perf_counter()
    for number in range(count):
        enqueue(number)
    return {"count": count, "seconds": time.perf_counter() - start}


def enqueue_bulk(variant: Variant, count: int) -> dict[str, object]:
    """Time storing `count` jobs in calls of 1,000.

    Raises:
        LookupError: the library has no bulk call.
    """
    if variant.enqueue_bulk is None:
        raise LookupError(f"{variant.name} has no bulk enqueue")
    variant.enqueue_bulk([WARM_UP] * _WARM_UP_CALLS)
    start = time.perf_counter()
    _in_bulks(variant, count)
    return {"count": count, "seconds": time.perf_counter() - start}


def fill(variant: Variant, count: int) -> dict[str, object]:
    """Store a backlog of exactly the jobs 0 to `count` - 1 by the fastest way there is."""
    start = time.perf_counter()
    if variant.enqueue_bulk is None:
        for number in range(count):
            variant.enqueue_one(number)
    else:
        _in_bulks(variant, count)
    return {"count": count, "seconds": time.perf_counter() - start}


def spaced(variant: Variant, count: int, seed: int) -> dict[str, object]:
    """Enqueue single jobs 20 to 50 ms apart, each carrying the moment just before its call."""
    pause = random.Random(seed)  # noqa: S311 -- spacing, not secrecy
    for _ in range(count):
        time.sleep(pause.uniform(0.020, 0.050))
        variant.enqueue_one(time.monotonic_ns())
    return {"count": count}


def _in_bulks(variant: Variant, count: int) -> None:
    if variant.enqueue_bulk is None:
        return
    for first in range(0, count, BULK_SIZE):
        variant.enqueue_bulk(range(first, min(first + BULK_SIZE, count)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one action for one variant of one peer and print its answer."""
    parser = argparse.ArgumentParser(prog="bench.drive", description=__doc__)
    parser.add_argument("peer")
    parser.add_argument(
        "action", choices=["describe", "prepare", "single", "bulk", "fill", "spaced", "warm"]
    )
    parser.add_argument("--variant", default="")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    answer = _act(load_peer(options.peer), options)
    # A library's exit handlers may print, so the answer goes out first and is looked for last.
    sys.stdout.flush()
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0


def _act(peer: Peer, options: argparse.Namespace) -> dict[str, object]:
    if options.action == "describe":
        return describe(peer)
    variant = peer.variant(options.variant)
    if options.action == "prepare":
        if variant.prepare is not None:
            variant.prepare()
        return {"prepared": variant.name}
    if options.action == "spaced":
        return spaced(variant, options.count, options.seed)
    if options.action == "warm":
        variant.enqueue_one(WARM_UP)
        return {"count": 1}
    timed = {"single": enqueue_single, "bulk": enqueue_bulk, "fill": fill}
    return timed[options.action](variant, options.count)


if __name__ == "__main__":
    sys.exit(main())
