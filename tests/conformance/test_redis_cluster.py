"""The conformance suite on a cluster of three nodes; namespaces lie where their slots do."""

import secrets

import pytest

from tests.conformance.own_redis import needs_program
from tests.conformance.test_redis_places import cluster
from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import MakeStore
from treadle.testing.conformance.suite import *  # noqa: F403 -- the way its users take it
from treadle.testing.servers import Redis

pytestmark = [needs_program, pytest.mark.slow]

__all__ = ["cluster"]


@pytest.fixture
def make_store(cluster: list[Redis], clock: MovedClock) -> MakeStore:
    """Make stores that know one node of the three."""
    own = secrets.token_hex(6)

    def make(namespace: str = "default") -> Store:
        url = f"redis+cluster://127.0.0.1:{secrets.choice(cluster).port}"
        return open_store(url, f"{namespace}_{own}", Settings(), clock)

    return make
