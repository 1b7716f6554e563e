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
from treadle.testing.servers import (
    PgBouncer,
    Postgres,
    Redis,
    installed_postgres,
    postgres_programs,
    redis_program,
)

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


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_the_first_redis_or_valkey_on_the_path_is_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever puts a folder in front chooses the server, also where the other one is installed."""
    program = redis_program()
    for folder, named in (("front", name), ("behind", "redis-server"), ("behind", "valkey-server")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / named).symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'front'}:{tmp_path / 'behind'}")
    with Redis() as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert server.command()[0] == str(tmp_path / "front" / name)


def test_postgresql_on_the_path_is_taken_before_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a package of the system keeps a version in a place of its own."""
    for name in ("initdb", "postgres"):
        (tmp_path / name).symlink_to(postgres_programs() / name)
    elsewhere = tmp_path / "bin"
    elsewhere.mkdir()
    (elsewhere / "initdb").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(elsewhere))
    assert postgres_programs() == elsewhere
    monkeypatch.setenv("PATH", str(tmp_path))
    with Postgres() as server:
        assert asyncio.run(ask(server.url, "select 1")) == 1


@pytest.mark.parametrize(
    "newest", ["usr/lib/postgresql/18", "usr/pgsql-18", "opt/homebrew/opt/postgresql@18"]
)
def test_the_newest_postgresql_that_is_installed_is_found(tmp_path: Path, newest: str) -> None:
    """Versions are numbers, in the places of each system's packages."""
    assert installed_postgres(tmp_path) is None
    for version in ("9.6", "18", "13"):
        programs = tmp_path / newest.replace("18", version) / "bin"
        programs.mkdir(parents=True)
        (programs / "initdb").touch()
    assert installed_postgres(tmp_path) == tmp_path / newest / "bin"


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


def test_a_session_says_which_servers_it_has(tmp_path: Path) -> None:
    """Their versions and programs, and who gives the session's own where nobody starts it."""
    environ = os.environ | {"TREADLE_TEST_REDIS": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "0", "-c", os.devnull]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=ROOT, env=environ, check=False, capture_output=True, text=True,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if line.startswith("server: ")]
    assert any("PostgreSQL" in line and str(postgres_programs()) in line for line in said), said
    assert any("server v=" in line and redis_program() in line for line in said), said
    assert "server: TREADLE_TEST_REDIS gives the session's" in said


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
