"""PostgreSQL whose files are damaged: a page of the table of jobs holds noise."""

import os
import random
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from treadle import StoreDamaged, Treadle
from treadle.testing.servers import NoServerError, Postgres

APP = """
import os
from treadle import Treadle

app = Treadle(os.environ["STORE"], settings={"store_timeout": 5})


@app.task(name="same")
async def same(value: str) -> str:
    return value
"""


def spoil(server: Postgres) -> None:
    """Put noise into each page of the table of jobs, while the server is away."""
    with psycopg.connect(server.url, autocommit=True) as db:
        [[file]] = db.execute("select pg_relation_filepath('treadle_jobs')").fetchall()
        db.execute("checkpoint")
    server.end()
    path = server.folder / "data" / file
    assert path.stat().st_size > 0
    path.write_bytes(random.Random(7).randbytes(path.stat().st_size))  # noqa: S311 -- noise
    server.start()


def treadle(tmp_path: Path, server: Postgres, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run treadle's command on the application of this test."""
    return subprocess.run(
        [sys.executable, "-m", "treadle", *words], cwd=tmp_path, check=False, capture_output=True,
        text=True, timeout=60, env={**os.environ, "STORE": server.url},
    )  # fmt: skip


def test_a_burst_on_a_damaged_database_ends_and_says_what_to_do(tmp_path: Path) -> None:
    """It exits with 2, as no wait mends that; a call that meets the damage says the same."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    try:
        server = Postgres()
    except NoServerError as error:
        pytest.skip(str(error))
    with server:
        assert treadle(tmp_path, server, "migrate").returncode == 0
        app = Treadle(server.url, settings={"store_timeout": 5})
        try:
            job = app.enqueue("same", "a value")
            spoil(server)
            with pytest.raises(StoreDamaged, match="restore it from a backup"):
                app.job(job.id)
        finally:
            app.close()
        ended = treadle(tmp_path, server, "worker", "--burst")
    assert ended.returncode == 2, ended.stderr
    assert "its files are damaged, and waiting does not mend them" in ended.stderr
