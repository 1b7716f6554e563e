"""Probe: how many asyncio tasks a second one process can make, time out, and decode around.

A task a job under `asyncio.timeout`, its arguments decoded from JSON and its result encoded to
JSON, a hundred at a time, on asyncio's own event loop. No store, no retries, no bookkeeping: the
upper end of what an executor of async jobs can reach.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

import msgspec

_SLOTS = 100
_TIMEOUT_S = 1_800
_ARGUMENTS = b"[1,[7]]"


async def _job(decoder: msgspec.json.Decoder[tuple[int, list[int]]]) -> bytes:
    """Do for one job what cannot be left out: decode, run under a timeout, encode."""
    arguments = decoder.decode(_ARGUMENTS)
    async with asyncio.timeout(_TIMEOUT_S):
        result = await _no_op(arguments[1][0])
    return msgspec.json.encode([1, result])


async def _no_op(number: int) -> int:
    return number


async def measure(jobs: int) -> dict[str, float]:
    """Return tasks a second over `jobs` tasks, a hundred at a time."""
    decoder = msgspec.json.Decoder(tuple[int, list[int]])
    rounds = max(1, jobs // _SLOTS)
    start = time.perf_counter()
    for _ in range(rounds):
        async with asyncio.TaskGroup() as group:
            for _ in range(_SLOTS):
                group.create_task(_job(decoder))
    seconds = time.perf_counter() - start
    return {"jobs_per_s": rounds * _SLOTS / seconds, "count": rounds * _SLOTS}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.probes.asyncio_tasks")
    parser.add_argument("--count", type=int, required=True)
    sys.stdout.write(json.dumps(asyncio.run(measure(parser.parse_args().count))) + "\n")
