"""The conformance suite on `memory://`."""

import pytest

from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import MakeStore
from treadle.testing.conformance.suite import *  # noqa: F403 -- the way its users take it


@pytest.fixture
def make_store(clock: MovedClock) -> MakeStore:
    """Make memory stores; each has its own jobs."""

    def make(namespace: str = "default") -> Store:
        return open_store("memory://", namespace, Settings(), clock)

    return make
