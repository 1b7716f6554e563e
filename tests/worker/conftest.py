"""Fixtures of the worker's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.shop import Shop
from treadle.core import fault


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Give a shop."""
    shop = Shop(tmp_path)
    yield shop
    shop.app.close()
    fault.arm(None)
