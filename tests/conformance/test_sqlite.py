"""The conformance suite on `sqlite:///`, one file a test."""

from pathlib import Path

import pytest

from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import MakeStore
from treadle.testing.conformance.suite import *  # noqa: F403 -- the way its users take it


@pytest.fixture
def make_store(file: Path, clock: MovedClock) -> MakeStore:
    """Make stores on the test's file."""

    def make(namespace: str = "default") -> Store:
        return open_store(f"sqlite:///{file}", namespace, Settings(), clock)

    return make
