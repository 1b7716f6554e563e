"""treadle on PostgreSQL, its tables made by `treadle migrate` as on any server."""

from __future__ import annotations

import subprocess
import sys

from bench.ours.variants import peer
from bench.peers.base import Rates, store_url


def prepare() -> None:
    """Make the tables: workers never do so on PostgreSQL."""
    command = [sys.executable, "-m", "treadle", "migrate", "--store", store_url()]
    subprocess.run(command, check=True)  # noqa: S603 -- fixed words and the runner's own URL


PEER = peer(
    "the server's durability",
    asynchronous=Rates(single=3_000, bulk=100_000, drain=25_000),
    synchronous=Rates(single=3_000, bulk=100_000, drain=15_000),
    prepare=prepare,
)
