"""treadle on SQLite with its default durability."""

from __future__ import annotations

from bench.ours.variants import peer
from bench.peers.base import Rates

PEER = peer(
    "WAL, synchronous=FULL (defaults)",
    asynchronous=Rates(single=8_000, bulk=100_000, drain=50_000),
    synchronous=Rates(single=8_000, bulk=100_000, drain=20_000),
)
