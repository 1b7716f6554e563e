"""treadle on Redis; its store makes what is missing as it opens."""

from __future__ import annotations

from bench.ours.variants import peer
from bench.peers.base import Rates

PEER = peer(
    "the server's durability",
    asynchronous=Rates(single=8_000, bulk=70_000, drain=25_000),
    synchronous=Rates(single=8_000, bulk=70_000, drain=15_000),
    distributions=("redis", "hiredis"),
)
