"""The conformance suite through PgBouncer in transaction mode, no verb left out."""

import pytest

from tests.conformance.own_pooler import needs_pooler, pooler
from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import MakeStore
from treadle.testing.conformance.suite import *  # noqa: F403 -- the way its users take it
from treadle.testing.servers import PgBouncer

pytestmark = [needs_pooler, pytest.mark.slow]

__all__ = ["pooler"]


@pytest.fixture
def make_store(postgres_schema: str, pooler: PgBouncer, clock: MovedClock) -> MakeStore:
    """Make stores on the test's schema that know the pooler alone."""
    schema = postgres_schema.partition("?schema=")[2]

    def make(namespace: str = "default") -> Store:
        store = PostgresStore(f"{pooler.url}?schema={schema}", namespace, Settings(), clock)
        store.migrate_now()
        return store

    return make
