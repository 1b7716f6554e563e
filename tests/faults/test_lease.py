"""Leases: a store that is locked away, a worker that is held up, and what comes too late."""

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import EACH_STORE, LONG_S, FarScene, scene_on
from tests.faults.scene import PATIENT, QUICK, Process, Scene, finish

LOCKED_S: Final = 3.5
"""Over twice the lease of a scene."""
STOOD_S: Final = 6.0
"""More than the lease and the second look together."""


@contextlib.contextmanager
def locked(scene: Scene, statement: str) -> Iterator[None]:
    """Hold the file's write lock, as another program would."""
    with contextlib.closing(sqlite3.connect(scene.file, isolation_level=None)) as db:
        db.execute(statement)
        yield
        db.execute("rollback")


@pytest.mark.parametrize(
    ("statement", "patience"), [("begin immediate", "10"), ("begin exclusive", "0.5")]
)
def test_a_store_locked_for_longer_than_the_lease_doubles_nothing(
    tmp_path: Path, statement: str, patience: str
) -> None:
    """Two workers run on while the file is locked; no job runs twice, and all are settled."""
    go = tmp_path / "go"
    with Scene(tmp_path / "scene").prepare() as scene:
        keys = [f"held{n}" for n in range(6)]
        scene.enqueue("stubborn", *keys, rest=(str(go),))
        workers = [scene.worker("--slots", "3", TREADLE_STORE_TIMEOUT=patience) for _ in range(2)]
        scene.until(lambda: all(scene.started(key) for key in keys), "six jobs run")
        with locked(scene, statement):
            go.touch()
            time.sleep(LOCKED_S)  # What passes is the lease of real processes.
            assert scene.running("stubborn") == 6
        scene.until_done()
        for worker in workers:
            assert scene.stop(worker) == 0, worker.said
            assert "came too late" not in worker.said
        account = scene.account()
        assert account.sound, account
        assert account.overrun == []


@pytest.mark.parametrize("when", ["while the second runs the job", "after the job has ended"])
def test_a_worker_stopped_for_longer_than_its_lease_comes_too_late(
    tmp_path: Path, when: str
) -> None:
    """Its job is another's by then: what it settles is LOST, and it goes on as a new worker."""
    go = tmp_path / "go"
    with Scene(tmp_path / "scene").prepare() as scene:
        scene.enqueue("stubborn", "held", rest=(str(go),))
        first = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "the first worker runs the job")
        scene.freeze(first)
        second = scene.worker()
        scene.until(lambda: scene.started("held") == 2, "the second worker has taken over")
        if when == "after the job has ended":
            go.touch()
            scene.until_done()
        first.send(signal.SIGCONT)
        scene.until(lambda: "came too late" in first.said, "its settlement is LOST")
        scene.until(lambda: "it goes on as" in first.said, "the first worker begins anew")
        go.touch()
        scene.until_done()
        assert scene.stop(second) == 0, second.said
        scene.enqueue("touch", "after")
        scene.until_done()
        assert scene.stop(first) == 0, first.said
        account = scene.account()
        assert account.sound, account
        [(state, attempt, number, worker)] = scene.query(
            "select state, attempt, number, worker from treadle_jobs where task = 'stubborn'"
        )
        assert (state, attempt) == ("succeeded", 2)
        assert number > attempt
        assert f":{second.child.pid}:" in worker


def test_a_short_stop_costs_a_worker_nothing(tmp_path: Path) -> None:
    """Held up for less than its lease, a worker keeps its jobs and is not rescued."""
    go = tmp_path / "go"
    with Scene(tmp_path / "scene", QUICK | {"TREADLE_LEASE": "12"}).prepare() as scene:
        scene.enqueue("stubborn", "held", rest=(str(go),))
        first = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "the job runs")
        second = scene.worker()
        scene.until(lambda: second.ready, "the second worker looks at the first")
        scene.freeze(first)
        time.sleep(1.0)  # What passes is a part of the lease of a real process.
        first.send(signal.SIGCONT)
        go.touch()
        scene.until_done()
        assert scene.stop(first) == scene.stop(second) == 0
        assert scene.account().overrun == []
        assert "goes on as" not in first.said


def freeze_all(scene: Scene, fleet: list[Process]) -> None:
    """Stop workers, none of them with a file's write lock in its hands."""
    for worker in fleet:
        if isinstance(scene, FarScene):
            worker.freeze()
        else:
            scene.freeze(worker)


@pytest.mark.parametrize("store", EACH_STORE)
def test_a_fleet_that_stands_still_for_longer_than_its_lease_goes_on_as_it_was(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """As on a machine that was suspended: nobody takes over from anybody, and no crash counts."""
    go, keys = tmp_path / "go", [f"held{n}" for n in range(8)]
    with scene_on(store, tmp_path / "scene", request, QUICK | PATIENT) as scene:
        ids = scene.enqueue("stubborn", *keys, rest=(str(go),))
        fleet = [scene.worker() for _ in range(2)]
        scene.until(lambda: all(scene.started(key) for key in keys), "every job runs", LONG_S)
        freeze_all(scene, fleet)
        time.sleep(STOOD_S)  # What passes is the lease of real processes.
        for worker in fleet:
            worker.send(signal.SIGCONT)
        go.touch()
        assert finish(scene, *fleet, patience=LONG_S).overrun == []
        app = scene.app()
        assert {(job.state, job.attempt) for job in map(app.job, ids)} == {("succeeded", 1)}
        app.close()
