"""The conformance suite on a real Redis server, namespaces of its own for each test."""

import secrets

import pytest

from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import MakeStore
from treadle.testing.conformance.suite import *  # noqa: F403 -- the way its users take it


@pytest.fixture
def make_store(redis_url: str, clock: MovedClock) -> MakeStore:
    """Make stores on the session's server."""
    own = secrets.token_hex(6)

    def make(namespace: str = "default") -> Store:
        return open_store(redis_url, f"{namespace}_{own}", Settings(), clock)

    return make
