"""The conformance suite on `postgresql://`, one schema a test."""

import pytest

from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import MakeStore
from treadle.testing.conformance.suite import *  # noqa: F403 -- the way its users take it


@pytest.fixture
def make_store(postgres_schema: str, clock: MovedClock) -> MakeStore:
    """Make stores on the test's schema, each namespace with its tables."""

    def make(namespace: str = "default") -> Store:
        store = PostgresStore(postgres_schema, namespace, Settings(), clock)
        store.migrate_now()
        return store

    return make
