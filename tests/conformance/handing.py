"""Idle workers on Redis that an enqueue hands jobs to, in a namespace of the test's own."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import MakeStore


@pytest.fixture
def own() -> str:
    """Give a namespace of the test's own: what others left ready would be claimed first."""
    return f"handed_{secrets.token_hex(6)}"


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    """Give a client that sees what the server holds."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def make_store(redis_url: str, clock: MovedClock, own: str) -> MakeStore:
    """Make stores in the test's namespace."""

    def make(namespace: str = "default") -> Store:
        return open_store(redis_url, f"{own}_{namespace}", Settings(), clock)

    return make


def until_unheard(server: Any, channel: str) -> None:  # noqa: ANN401 -- the client's own
    """Wait until the server has noticed that a connection was closed."""
    deadline = time.monotonic() + 10
    while server.pubsub_numsub(channel)[0][1]:
        assert time.monotonic() < deadline, f"somebody listens on {channel} still"
