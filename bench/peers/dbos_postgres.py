"""DBOS on PostgreSQL."""

from __future__ import annotations

from bench.peers.base import Rates
from bench.peers.dbos_app import peer

PEER = peer(
    "psycopg",
    distributions=("dbos", "SQLAlchemy", "psycopg"),
    default=Rates(single=1_700, bulk=7_000, drain=2_100),
    tuned=Rates(single=1_700, bulk=7_000, drain=1_600),
)
