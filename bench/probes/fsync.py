"""Probe: how long the disk takes to make 4 KiB durable.

Every SQLite commit with `synchronous=FULL` waits for at least one such write, so this number
stands beside every rate and latency of the suite.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from bench.harness.figures import percentile

_BLOCK = b"\0" * 4096
_WRITES = 300


def measure(directory: Path, writes: int = _WRITES) -> dict[str, float]:
    """Append `writes` blocks of 4 KiB to a file, each followed by fsync; return ms percentiles."""
    path = directory / "fsync-probe"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    taken_ms = []
    try:
        for _ in range(writes):
            start = time.perf_counter()
            os.write(file, _BLOCK)
            os.fsync(file)
            taken_ms.append((time.perf_counter() - start) * 1e3)
    finally:
        os.close(file)
        path.unlink()
    taken_ms.sort()
    return {
        "p50_ms": percentile(taken_ms, 50),
        "p99_ms": percentile(taken_ms, 99),
        "max_ms": taken_ms[-1],
        "count": writes,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.probes.fsync")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--count", type=int, default=_WRITES)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(measure(options.directory, options.count)) + "\n")
