"""Programs that enqueue and wait, each in a process of its own, for treadle's own measures.

`python -m bench.ours.client ACTION --count N ...` does one thing and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from bench.harness.figures import percentile
from bench.ours.app import app, mark_and_sleep, mark_async, no_op
from treadle import Job, ResultTimeout

_PRIORITIES = (-20, -10, 0, 10, 20)
_QUEUES = 20
_DELAYED_EVERY = 10
_CHUNK = 10_000
_HOUR_S = 3_600
_RESULT_LIMIT_S = 10
_SETTLE_S = 2.0
_LOOK_S = 0.05
_QUEUE = "default"


def fill_mixed(options: argparse.Namespace) -> dict[str, object]:
    """Store jobs of 5 priorities and 20 queues at random, every tenth one delayed.

    The delay is drawn between a tenth of `--seconds` and all of it. Neighbours in the table
    differ in queue and priority, so a claim finds its jobs scattered, as in real life.
    """
    choose = random.Random(options.seed)  # noqa: S311 -- a mixture, not a secret
    lanes = [
        mark_async.using(queue=f"queue-{queue:02}", priority=priority)
        for queue, priority in itertools.product(range(_QUEUES), _PRIORITIES)
    ]
    delayed = [
        lane.using(delay=options.seconds * tenth / 10) for lane in lanes for tenth in range(1, 11)
    ]
    start = time.perf_counter()
    for numbers in _chunks(options.count):
        mark_async.enqueue_many(
            choose.choice(delayed if number % _DELAYED_EVERY == 0 else lanes).s(number)
            for number in numbers
        )
    return {"count": options.count, "seconds": time.perf_counter() - start}


def fill_no_op(options: argparse.Namespace) -> dict[str, object]:
    """Store jobs that do nothing."""
    for numbers in _chunks(options.count):
        no_op.enqueue_many((number,) for number in numbers)
    return {"count": options.count}


def fill_long(options: argparse.Namespace) -> dict[str, object]:
    """Store jobs that sleep for `--seconds`."""
    mark_and_sleep.enqueue_many((number, options.seconds) for number in range(options.count))
    return {"count": options.count}


def wait_results(options: argparse.Namespace) -> dict[str, object]:
    """Enqueue jobs one by one and wait for each; return how long after its end it was seen.

    The end is the job's own `finished_at`, which a worker takes before it commits, so the
    commit is part of the figure.
    """
    delays_ms = []
    for number in range(options.count):
        job = no_op.enqueue(number)
        job.result(timeout=_RESULT_LIMIT_S)
        seen = time.time()
        ended = job.refresh().finished_at
        assert ended is not None
        delays_ms.append((seen - ended.timestamp()) * 1e3)
    delays_ms.sort()
    return {
        "p50_ms": percentile(delays_ms, 50),
        "p99_ms": percentile(delays_ms, 99),
        "max_ms": delays_ms[-1],
        "count": len(delays_ms),
    }


def waiters(options: argparse.Namespace) -> dict[str, object]:
    """Let `--count` coroutines wait for results that do not come; return what this process uses."""
    return asyncio.run(_waiters(options.count, options.seconds))


async def _waiters(count: int, seconds: float) -> dict[str, object]:
    later = no_op.using(delay=_HOUR_S)
    jobs = await later.aenqueue_many((number,) for number in range(count))
    waiting = [asyncio.create_task(_wait_in_vain(job, seconds)) for job in jobs]
    await asyncio.sleep(_SETTLE_S)
    cpu_s, start = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    used_s, passed_s = time.process_time() - cpu_s, time.monotonic() - start
    in_vain = await asyncio.gather(*waiting)
    return {"cpu_percent": 100 * used_s / passed_s, "count": sum(in_vain), "seconds": passed_s}


async def _wait_in_vain(job: Job[int], seconds: float) -> bool:
    """Wait until after the measured window; say whether the wait ended as it must."""
    try:
        await job.aresult(timeout=seconds + 2 * _SETTLE_S)
    except ResultTimeout:
        return True
    return False


def pause(_: argparse.Namespace) -> dict[str, object]:
    """Let no worker take a job."""
    return {"paused": app.queues.pause(_QUEUE)}


def resume(_: argparse.Namespace) -> dict[str, object]:
    """Let every worker take jobs again."""
    return {"resumed": app.queues.resume(_QUEUE)}


def await_workers(options: argparse.Namespace) -> dict[str, object]:
    """Wait until `--count` workers are registered, for `--seconds` at most; return how many are."""
    deadline = time.monotonic() + options.seconds
    while (up := len(app.workers())) < options.count and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return {"workers": up}


def _chunks(count: int) -> Iterator[range]:
    for first in range(0, count, _CHUNK):
        yield range(first, min(first + _CHUNK, count))


_ACTIONS: dict[str, Callable[[argparse.Namespace], dict[str, object]]] = {
    "fill-mixed": fill_mixed,
    "fill-no-op": fill_no_op,
    "fill-long": fill_long,
    "wait-results": wait_results,
    "waiters": waiters,
    "pause": pause,
    "resume": resume,
    "await-workers": await_workers,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one action and print its answer."""
    parser = argparse.ArgumentParser(prog="bench.ours.client", description=__doc__)
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    sys.stdout.write(json.dumps(_ACTIONS[options.action](options)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
