"""The part of the suite that runs inside a peer's own environment.

`python -m bench.drive PEER describe` tells what the peer is; the other actions hand it jobs and
time that. One process does one action and prints one line of JSON. Uses the standard library
and the peer's file, nothing else, because the peer's environment holds nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import importlib.util
import json
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from bench.harness.marks import WARM_UP
from bench.peers.base import Peer, Variant

BULK_SIZE = 1_000
_WARM_UPS = [WARM_UP] * 20


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


def enqueue_single(variant: Variant, count: int) -> float:
    """Time `count` calls of the ordinary enqueue, one after another on one thread."""
    return _timed(variant, variant.enqueue_one, range(count), before=_WARM_UPS)


def enqueue_bulk(variant: Variant, count: int) -> float:
    """Time storing `count` jobs in calls of 1,000.

    Raises:
        LookupError: the library has no bulk call.
    """
    if variant.enqueue_bulk is None:
        raise LookupError(f"{variant.name} has no bulk enqueue")
    return _timed(variant, variant.enqueue_bulk, _bulks(count), before=[_WARM_UPS])


def fill(variant: Variant, count: int) -> float:
    """Store a backlog of exactly the jobs 0 to `count` - 1 by the fastest way there is."""
    if variant.enqueue_bulk is None:
        return _timed(variant, variant.enqueue_one, range(count))
    return _timed(variant, variant.enqueue_bulk, _bulks(count))


def spaced(variant: Variant, count: int, seed: int) -> float:
    """Enqueue single jobs 20 to 50 ms apart, each carrying the moment just before its call.

    One job goes before, by which the library connects and loads what it loads late.
    """
    return _timed(variant, variant.enqueue_one, _moments(count, seed), before=[WARM_UP])


def _bulks(count: int) -> Iterator[range]:
    for first in range(0, count, BULK_SIZE):
        yield range(first, min(first + BULK_SIZE, count))


def _moments(count: int, seed: int) -> Iterator[int]:
    """Wait a little and give the time, again and again.

    It sleeps in an asynchronous library's loop as well: nothing else is to run there. The last
    job is to start before this process ends, which takes a processor for a while.
    """
    pause = random.Random(seed)  # noqa: S311 -- spacing, not secrecy
    for _ in range(count):
        time.sleep(pause.uniform(0.020, 0.050))
        yield time.monotonic_ns()
    time.sleep(0.050)


def _timed(
    variant: Variant,
    call: Callable[[Any], Any],
    items: Iterable[object],
    *,
    before: Iterable[object] = (),
) -> float:
    """Make one call an item, one after another; return the seconds.

    Calls for the items of `before` come first and are not in the time.
    """
    if variant.session is None:
        for item in before:
            call(item)
        start = time.perf_counter()
        for item in items:
            call(item)
        return time.perf_counter() - start
    return _run(_timed_awaits(variant.session, call, items, before))


async def _timed_awaits(
    session: Callable[[], AbstractAsyncContextManager[object]],
    call: Callable[[Any], Any],
    items: Iterable[object],
    before: Iterable[object],
) -> float:
    async with session():
        for item in before:
            await call(item)
        start = time.perf_counter()
        for item in items:
            await call(item)
        return time.perf_counter() - start


def _run(main: Coroutine[Any, Any, float]) -> float:
    """Run a coroutine on uvloop where the peer's environment has it, else on asyncio's loop."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    return float(importlib.import_module("uvloop").run(main))


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
    if options.action == "warm":
        _timed(variant, variant.enqueue_one, [WARM_UP])
        return {"count": 1}
    if options.action == "spaced":
        return {"count": options.count, "seconds": spaced(variant, options.count, options.seed)}
    timed = {"single": enqueue_single, "bulk": enqueue_bulk, "fill": fill}
    return {"count": options.count, "seconds": timed[options.action](variant, options.count)}


if __name__ == "__main__":
    sys.exit(main())
