"""The clock of the conformance tests, and where their SQLite file lies."""

from pathlib import Path

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
