"""Engines: what the stores run on, one file each, started by the run and ended with it.

`base.py` says what an engine offers: a running server that says its version and durability, and
an empty store a repetition. `ENGINES` names them; a peer's file ends in the name of its engine.
"""

from __future__ import annotations

from typing import Final

from bench.engines.base import Engine
from bench.engines.postgres import serve_postgres
from bench.engines.redis import serve_redis
from bench.engines.sqlite import serve_sqlite

ENGINES: Final[dict[str, Engine]] = {
    "sqlite": serve_sqlite,
    "redis": serve_redis,
    "postgres": serve_postgres,
}
"""The engines by name, in the order in which a whole run takes them."""
