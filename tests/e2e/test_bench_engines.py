"""Whether the benchmarks give each system an empty store, and see what servers go through.

On real servers, without measuring anything.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from pathlib import Path

import psycopg
import pytest
import redis

from bench.engines import ENGINES
from bench.engines.postgres import PostgresDatabases
from bench.engines.redis import RedisKeys
from bench.engines.sqlite import SqliteFiles
from bench.gates.run import main as run_gates
from bench.harness.environments import ROOT
from bench.harness.processes import BenchError, run_json, wait_until
from bench.harness.report import Results, read
from bench.ours.watch import LockWaits, grow_history, held_snapshot, watched_locks

_UNREACHABLE = "postgresql://127.0.0.1:1/nothing"


def test_a_file_is_new_for_each_repetition(tmp_path: Path) -> None:
    """The URL names a file of the repetition's own directory, and none is there yet."""
    with SqliteFiles().fresh(tmp_path) as url:
        assert url == f"sqlite:///{tmp_path}/store.db"
    assert not list(tmp_path.iterdir())


def test_redis_is_emptied_for_each_repetition(redis_url: str, tmp_path: Path) -> None:
    """What the system before left is gone, and the server says how durable it is."""
    keys = RedisKeys(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.set("left", "behind")

        with keys.fresh(tmp_path) as url:
            assert url == redis_url
            assert client.dbsize() == 0
    assert keys.facts["appendfsync"] == "everysec"
    assert keys.facts["Redis"]


def test_the_probe_of_redis_settles_every_job_that_it_stores(
    redis_url: str, tmp_path: Path
) -> None:
    """It speaks the words of the store's scripts; it gives no figures for jobs that stay behind."""
    found = run_json(
        [
            sys.executable, "-m", "bench.probes.redis",
            f"--url={redis_url}", "--count=1000", "--batch=100",
        ],
        env=dict(os.environ),
        cwd=ROOT,
        log=tmp_path / "log",
        timeout_s=25,
    )  # fmt: skip

    assert found["count"] == 1_000
    rates = [found[name] for name in found if name.endswith("_per_s")]
    assert len(rates) == 6
    assert min(map(float, map(str, rates))) > 0


def test_postgres_has_a_database_for_each_repetition(postgres_url: str, tmp_path: Path) -> None:
    """It is made empty and dropped again, even while somebody is still connected to it."""
    databases = PostgresDatabases(postgres_url)
    with databases.fresh(tmp_path) as url:
        left = psycopg.connect(url)
        name = left.info.dbname
    left.close()

    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        assert found.fetchone() is None
    assert databases.facts["synchronous_commit"] == "on"


def test_a_wait_for_a_lock_is_seen_for_as_long_as_it_lasts(
    postgres_url: str, tmp_path: Path
) -> None:
    """One session waits for another's row; the watcher tells how long."""
    with PostgresDatabases(postgres_url).fresh(tmp_path) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE places (place integer)")
            connection.execute("INSERT INTO places VALUES (1)")
        with watched_locks(url) as waits, psycopg.connect(url) as holder:
            holder.execute("UPDATE places SET place = 2")
            second = threading.Thread(target=_update, args=(url,))
            second.start()
            wait_until(lambda: _seen(waits) > 0, timeout_s=10, what="a wait for the row")
            holder.commit()
            second.join()

    figures = waits.figures()
    assert _seen(waits) == 1
    assert 0 < figures["lock_wait_p99_ms"] <= figures["lock_wait_max_ms"] < 20_000


def _seen(waits: LockWaits) -> float:
    return waits.figures().get("lock_waits_seen", 0.0)


def _update(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE places SET place = 3")


def test_another_engine_has_no_locks_to_watch() -> None:
    """No figure rather than a good one."""
    with watched_locks("redis://127.0.0.1:1/0") as waits:
        pass

    assert waits.figures() == {}


def test_a_held_snapshot_keeps_the_horizon_back(postgres_url: str, tmp_path: Path) -> None:
    """The other session is idle in a transaction, with a snapshot that holds the dead rows."""
    with PostgresDatabases(postgres_url).fresh(tmp_path) as url, held_snapshot(url):
        with psycopg.connect(url) as connection:
            state = connection.execute(
                "SELECT state FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend'"  # An autovacuum reads as well.
            ).fetchone()
        assert state == ("idle in transaction",)


@pytest.mark.parametrize("kind", ["uuid", "bytea"])
def test_a_history_grows_by_copies_of_a_finished_job(
    postgres_url: str, tmp_path: Path, kind: str
) -> None:
    """The table is found by what it holds, wherever it is, and gets ids of its own."""
    with (
        PostgresDatabases(postgres_url).fresh(tmp_path) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE SCHEMA jobs")
        connection.execute(f"CREATE TABLE jobs.ended (id {kind} PRIMARY KEY, finished_at bigint)")
        connection.execute("CREATE TABLE dead (id uuid PRIMARY KEY, finished_at bigint)")
        one = uuid.uuid4() if kind == "uuid" else uuid.uuid4().bytes
        connection.execute("INSERT INTO jobs.ended VALUES (%s, 1)", (one,))

        assert grow_history(url, 700, limit_s=20) == 700

        row = connection.execute("SELECT count(*), count(DISTINCT id) FROM jobs.ended").fetchone()
        assert row == (701, 701)


def test_what_a_server_refuses_is_a_measure_that_failed(postgres_url: str, tmp_path: Path) -> None:
    """The run goes on with a reason instead of ending with a driver's error."""
    with (
        PostgresDatabases(postgres_url).fresh(tmp_path) as url,
        pytest.raises(BenchError, match="no table"),
    ):
        grow_history(url, 1, limit_s=1)
    with pytest.raises(BenchError, match="PostgreSQL refused"), held_snapshot(_UNREACHABLE):
        pass


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", list(ENGINES))
def test_the_price_of_limits_is_measured_on_each_store(engine: str, tmp_path: Path) -> None:
    """A quick run gives every figure that a bar asks for."""
    found = run_gates(["--quick", "--engine", engine, "--out", str(tmp_path / "gates.json")])

    report = read(tmp_path / "gates.json")
    assert found == 0
    assert [row.error for row in report.rows] == [""] * 4
    assert None not in [verdict.ok for verdict in report.verdicts]
    results = Results(report.rows)
    asked = results.median(engine, "parked_idle", "calls_per_s_crowded")
    assert asked is not None
    assert 0 < asked < 100
