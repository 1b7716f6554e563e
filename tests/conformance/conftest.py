"""The clock of the conformance tests, and where their jobs lie."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from treadle.core.clock import MovedClock


@pytest.fixture
def clock() -> MovedClock:
    """Give each test a clock that stands still until it is moved."""
    return MovedClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name the database file of a test on disk."""
    return tmp_path / "jobs.db"


@pytest.fixture
def postgres_schema(postgres_url: str) -> Iterator[str]:
    """Give a store's URL on a schema of the test's own, which goes with it."""
    name = f"t_{uuid4().hex}"
    yield f"{postgres_url}?schema={name}"
    with psycopg.connect(postgres_url, autocommit=True) as db:
        # A test that failed may have left a transaction open: that is no reason to wait for ever.
        db.execute("set lock_timeout = '30s'")
        db.execute(f"drop schema if exists {name} cascade".encode())
