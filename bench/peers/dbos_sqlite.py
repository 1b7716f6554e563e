"""DBOS on SQLite, with its defaults: rollback journal and synchronous=FULL."""

from __future__ import annotations

from bench.peers.base import Rates
from bench.peers.dbos_app import peer

PEER = peer(
    "rollback journal, synchronous=FULL",
    distributions=("dbos", "SQLAlchemy"),
    default=Rates(single=1_000, bulk=7_000, drain=1_800),
    tuned=Rates(single=1_000, bulk=7_000, drain=700),
)
