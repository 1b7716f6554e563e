"""A fleet on PostgreSQL and Redis that loses its store for long, in part, or session by session.

Here the lease is a second, so that a dozen of them pass within a test. The real ten minutes, which
are forty leases of the default length, are run by `make crash`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.faults.far import FarScene, away
from tests.faults.scene import PATIENT, QUICK, finish
from tests.faults.test_servers import IMPATIENT, server, url
from treadle.testing.proxy import Proxy
from treadle.testing.servers import Postgres, Redis

__all__ = ["server", "url"]

slow: Final = pytest.mark.slow
LONG_JOBS: Final = 100
LEASE_S: Final = 1.0
LEASES: Final = 12
CUT_LEASE_S: Final = 9.0
"""A third of it is left to a task that is cancelled when two thirds are over."""
TEN_MINUTES_S: Final = 600.0
FLOW: Final = 300
STORM_S: Final = 4.0
STORM_PAUSE_S: Final = 0.1


@slow
@pytest.mark.timeout(300)
def test_a_store_away_for_a_dozen_leases_costs_no_running_job_anything(
    tmp_path: Path, server: Postgres | Redis
) -> None:
    """A hundred long jobs end meanwhile and are settled after it: none runs twice or crashes."""
    settings = QUICK | IMPATIENT | PATIENT | {"TREADLE_LEASE": str(LEASE_S)}
    with FarScene(tmp_path, server.url, settings).prepare() as scene:
        away(scene, server, LEASES * LEASE_S, jobs=LONG_JOBS)


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_a_store_away_for_ten_minutes_costs_no_running_job_anything(
    tmp_path: Path, server: Postgres | Redis
) -> None:
    """The same with every setting as it is by default."""
    with FarScene(tmp_path, server.url, {}).prepare() as scene:
        away(scene, server, TEN_MINUTES_S, jobs=LONG_JOBS)


@slow
def test_a_task_that_is_cancelled_when_cut_off_ends_before_the_lease(
    tmp_path: Path, url: str
) -> None:
    """With `on_cut_off="cancel"` it is over before another worker may have its job."""
    go, port = tmp_path / "go", urlsplit(url).port
    assert port is not None
    settings = QUICK | {"TREADLE_LEASE": str(CUT_LEASE_S)}
    with Proxy(port) as proxy, FarScene(tmp_path / "scene", url, settings).prepare() as scene:
        scene.enqueue("obedient", "held", rest=(str(go),))
        scene.url = url.replace(f":{port}", f":{proxy.port}")
        alone = scene.worker(**IMPATIENT)
        scene.until(lambda: scene.started("held") == 1, "the first worker runs the job")
        cut_at = time.monotonic() * 1000
        proxy.swallow()
        scene.url = url
        other = scene.worker()
        scene.until(lambda: scene.started("held") == 2, "the job runs again elsewhere")
        lines = [(e.word, e.at) for e in scene.ledger.entries() if e.word in {"START", "END"}]
        assert [word for word, _ in lines] == ["START", "END", "START"]
        assert lines[1][1] - cut_at < 1000 * CUT_LEASE_S
        go.touch()
        scene.until_done()
        proxy.refuse()
        proxy.heal()
        assert scene.stop(alone) == scene.stop(other) == 0
        account = scene.account()
        assert account.sound, account


@slow
def test_a_worker_says_plainly_that_its_store_came_back_empty(tmp_path: Path) -> None:
    """Without persistence a restarted Redis knows no worker: it says so, and works on."""
    with Redis("--appendonly", "no") as server:
        settings = QUICK | IMPATIENT
        with FarScene(tmp_path, server.url, settings).prepare() as scene:
            worker = scene.worker()
            scene.enqueue("touch", "before")
            scene.until_done()
            scene.enqueue("slow", "gone", rest=(0.5,))
            scene.until(lambda: scene.started("gone") == 1, "a job runs")
            server.kill()
            server.start()
            scene.until(lambda: "it goes on as" in worker.said, "the worker begins anew")
            scene.enqueue("touch", "after")
            scene.until(lambda: scene.started("after") == 1, "new work is done")
            scene.until_done()
            assert scene.stop(worker) == 0, worker.said
            assert [job.key for job in scene.stored()] == ["after"]
            assert "or its store came back empty" in worker.said


@contextmanager
def storm(url: str) -> Iterator[threading.Event]:
    """End every session of the server again and again, as an administrator may."""
    stop = threading.Event()

    def rage() -> None:
        with psycopg.connect(url, autocommit=True) as db:
            while not stop.wait(STORM_PAUSE_S):
                db.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where backend_type = 'client backend' and pid <> pg_backend_pid()"
                )

    thread = threading.Thread(target=rage)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


@slow
@pytest.mark.timeout(240)
def test_sessions_that_are_ended_cost_a_fleet_nothing(tmp_path: Path) -> None:
    """No worker exits; nothing is lost, and nothing that ran is run again."""
    with Postgres() as server:
        settings = QUICK | IMPATIENT | PATIENT | {"TREADLE_LEASE": "10"}
        with FarScene(tmp_path, server.url, settings).prepare() as scene:
            workers = [scene.worker("--slots", "8") for _ in range(2)]
            scene.until(lambda: all(worker.ready for worker in workers), "the workers are ready")
            scene.enqueue("slow", *(f"slow{n}" for n in range(FLOW // 10)), rest=(0.3,))
            scene.enqueue("touch", *(f"touch{n}" for n in range(FLOW)))
            with storm(server.url):
                time.sleep(STORM_S)  # A storm has a length.
            account = finish(scene, *workers)
            assert account.overrun == []
