"""Applications whose store is a Redis server and whose own rows lie in SQLite or PostgreSQL."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.transit.houses import House, Make
from tests.transit.kit import Shop
from treadle import Treadle


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give each test keys of its own, also for the processes that it starts."""
    name = f"transit_{secrets.token_hex(4)}"
    monkeypatch.setenv("TREADLE_NAMESPACE", name)
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def outbox_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database of the caller's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shop.db"
        return
    url = request.getfixturevalue("postgres_url")
    name = f"t_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"create schema {name}".encode())
        yield f"{url}?schema={name}"
        db.execute(f"drop schema {name} cascade".encode())


@pytest.fixture
def shop(redis_url: str, namespace: str, outbox_url: str) -> Iterator[Shop]:
    """Give an application with an outbox, the table made and one of the user's beside it."""
    assert namespace
    app = Treadle(redis_url, settings={"outbox": outbox_url})
    shop = Shop(app, outbox_url)
    shop.make()
    yield shop
    app.close()


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Make empty stores of each kind."""
    schemas = []

    def make(kind: str) -> House:
        if kind == "sqlite":
            return House(f"sqlite:///{tmp_path}/{uuid4().hex}.db")
        if kind == "redis":
            return House(request.getfixturevalue("redis_url"), f"m_{secrets.token_hex(4)}")
        schemas.append(f"t_{uuid4().hex}")
        return House(f"{request.getfixturevalue('postgres_url')}?schema={schemas[-1]}", "shop")

    yield make
    for schema in schemas:
        with psycopg.connect(request.getfixturevalue("postgres_url"), autocommit=True) as db:
            db.execute(f"drop schema if exists {schema} cascade".encode())
