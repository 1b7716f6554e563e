"""What the models share: a failed comparison that shows both sides, and a store of each kind."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.store.postgres.store import PostgresStore

pytest.register_assert_rewrite("tests.model.lockstep")


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[MovedClock], Store]:
    """Make a store of each kind with a clock of the test's."""

    def made(clock: MovedClock) -> Store:
        own = f"model_{secrets.token_hex(6)}"
        if request.param == "memory":
            return open_store("memory://", own, Settings(), clock)
        if request.param == "sqlite":
            return open_store(f"sqlite:///{tmp_path}/jobs.db", own, Settings(), clock)
        url = request.getfixturevalue(f"{request.param}_url")
        if request.param == "redis":
            return open_store(url, own, Settings(), clock)
        store = PostgresStore(url, own, Settings(), clock)
        store.migrate_now()
        return store

    return made
