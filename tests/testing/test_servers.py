"""The real servers of the test kit: they answer, come back with their data, and leave nothing."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import asyncpg
import psycopg
import pytest
import redis

from tests.conformance.own_pooler import needs_pooler
from treadle.testing.servers import PgBouncer, Postgres, Redis

KEPT = 7
ROOT: Final = Path(__file__).parents[2]


async def ask(url: str, statement: str) -> Any:  # noqa: ANN401 -- what the statement gives
    """Run a statement on a connection of its own."""
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_postgres_comes_back_with_what_it_committed_and_leaves_nothing(postgres_url: str) -> None:
    """A server of one's own can be killed; the session's own answers beside it."""
    with Postgres() as server:
        asyncio.run(ask(server.url, f"create table kept as select {KEPT} as number"))
        server.kill()
        server.start()
        assert asyncio.run(ask(server.url, "select number from kept")) == KEPT
        assert asyncio.run(ask(postgres_url, "select to_regclass('kept')")) is None
    assert not server.folder.exists()


def test_redis_comes_back_with_its_append_only_file(redis_url: str) -> None:
    """With `appendfsync always` a killed server has lost nothing it answered for."""
    with Redis("--appendfsync", "always") as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", KEPT)
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == str(KEPT).encode()
        with redis.Redis.from_url(redis_url) as client:
            assert client.get("kept") is None
    assert not server.folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be kept so")
def test_the_port_of_a_server_is_its_own_also_while_it_is_away() -> None:
    """Nobody else is given it until the server is stopped, so that it can come back."""
    with Redis() as server, socket.socket() as other:
        server.kill()
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))
        server.start()


def test_a_server_that_does_not_start_says_why() -> None:
    """The error carries what the server logged."""
    server = Redis("--maxmemory-policy", "no-such-policy")
    with pytest.raises(RuntimeError, match="maxmemory-policy"):
        server.start()
    assert not server.folder.exists()


@needs_pooler
def test_a_pooler_leads_to_its_server_and_leaves_nothing(postgres_url: str) -> None:
    """The server's own number of the connection is not the one that the pooler greets with."""
    with PgBouncer(postgres_url) as pooler, psycopg.connect(pooler.url) as db:
        assert db.execute("select pg_backend_pid()").fetchone() != (db.info.backend_pid,)
    assert not pooler.folder.exists()


LACKING: Final = """
import pytest
from treadle.testing.servers import NoServerError

@pytest.fixture
def served():
    raise NoServerError("no PostgreSQL here")

def test_by_fixture(served):
    pass

def test_by_itself():
    raise NoServerError("no Redis here")
"""


@pytest.mark.parametrize("ci", [False, True], ids=["here", "in CI"])
def test_what_cannot_be_tested_is_skipped_by_name_and_fails_in_ci(
    tmp_path: Path, *, ci: bool
) -> None:
    """Also where a test starts a server of its own, whoever gives the session's."""
    (tmp_path / "test_lacking.py").write_text(LACKING)
    environ = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "0", "-c", os.devnull]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", tmp_path, "-ra", tmp_path],
        cwd=ROOT, env=environ | ({"CI": "true"} if ci else {}), check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == int(ci), done.stdout
    word = "FAILED" if ci else "SKIPPED"
    for said in ("no PostgreSQL here", "no Redis here"):
        assert any(said in line for line in done.stdout.splitlines()), done.stdout
    assert word in done.stdout
    assert ("failed" if ci else "2 skipped") in done.stdout
