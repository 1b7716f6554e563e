"""`treadle worker` before its store is there: it waits, or says what is to be mended and ends."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.own_redis import needs_program
from tests.e2e.cli_kit import PROCESS_S, command, environment, read_until, run, write_project
from treadle import Treadle
from treadle.testing.servers import Postgres, Redis

PROJECT = """
from treadle import Treadle

app = Treadle()

@app.task
async def add(left: int, right: int) -> int:
    return left + right
"""

Server = Postgres | Redis


@pytest.fixture(params=[pytest.param("redis", marks=needs_program), "postgres"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Give a server of the test's own with all that a worker needs, which is away."""
    made: Server = Postgres() if request.param == "postgres" else Redis()
    write_project(tmp_path, PROJECT)
    with made:
        assert run(tmp_path, "migrate", "--store", made.url).returncode == 0
        made.end()
        yield made


@contextmanager
def starting(folder: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker that waits for its store; end it whatever happens."""
    process = subprocess.Popen(
        command("worker", "--log-format", "text"),
        cwd=folder,
        env=environment(TREADLE_STORE=url),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        read_until(process, "waiting for the store")
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PROCESS_S)


def test_a_worker_begins_when_its_store_comes(server: Server, tmp_path: Path) -> None:
    """It says that it waits, then shows its banner and runs jobs."""
    with starting(tmp_path, server.url) as process:
        server.start()
        assert "the store answers after" in read_until(process, "is ready: slots")
        app = Treadle(server.url)
        assert app.enqueue("app.add", 1, 2).result(timeout=PROCESS_S) == 3
        app.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PROCESS_S) == 0


def test_a_worker_that_waits_stops_cleanly(server: Server, tmp_path: Path) -> None:
    """The first SIGTERM ends it with 0: nothing was cut off."""
    with starting(tmp_path, server.url) as process:
        process.send_signal(signal.SIGTERM)
        assert "Stopped (received SIGTERM): 0 attempts" in read_until(process, "Stopped")
        assert process.wait(PROCESS_S) == 0


@needs_program
def test_what_somebody_has_to_mend_ends_it(tmp_path: Path) -> None:
    """A password that is missing, a URL that names no store: exit code 2, at once, and why."""
    write_project(tmp_path, PROJECT)
    with Redis("--requirepass", "s3cr3t") as server:
        done = run(tmp_path, "worker", TREADLE_STORE=server.url)
        assert (done.returncode, "it asks for a password" in done.stderr) == (2, True)
    for url in ("mysql://host/jobs", "redis://host:0"):
        done = run(tmp_path, "worker", TREADLE_STORE=url)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
