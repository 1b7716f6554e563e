"""What the end-to-end tests share."""

import asyncio
import secrets
from pathlib import Path

import pytest

from treadle import Settings, Treadle
from treadle.store.open import open_store


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Treadle:
    """Give an application on each store."""
    kind, own = request.param, f"t_{secrets.token_hex(6)}"
    if kind == "memory":
        return Treadle("memory://")
    if kind == "sqlite":
        return Treadle(f"sqlite:///{tmp_path}/jobs.db")
    url = request.getfixturevalue(f"{kind}_url")
    if kind == "postgres":
        asyncio.run(_migrate(url, own))
    return Treadle(url, namespace=own)


async def _migrate(url: str, namespace: str) -> None:
    store = open_store(url, namespace, Settings())
    await store.migrate()
    await store.close()
