"""A bound holds over a fleet that is being killed: never more than it allows, nothing left held."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults import clocks, workload
from tests.faults.far import EACH_STORE, scene_on
from tests.faults.scene import PATIENT, check_crowd, finish

WORKERS = 8
JOBS = 60
KILLED = 3
WINDOWED = 50


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", EACH_STORE)
def test_eight_workers_never_overrun_a_bound_while_some_are_killed(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Three of eight die as they run bounded jobs; the others end all, two at a time."""
    # One job may be what each of them runs as it dies, and is not to be taken for poison then.
    allowed = str(KILLED + 1)
    with scene_on(store, tmp_path / "scene", request) as scene:
        scene.settings |= PATIENT | {"TREADLE_MAX_CRASHES": allowed}
        scene.enqueue("bounded", *(f"bounded{n}" for n in range(JOBS)))
        doomed = [scene.worker(fault="execute.after_return:kill@3") for _ in range(KILLED)]
        # Each of them comes to its turn: what a dead one held is freed by the next one's rescue.
        scene.until(lambda: all(worker.ended for worker in doomed), "the doomed have died", 60)
        crew = [scene.worker() for _ in range(WORKERS - KILLED)]
        finish(scene, *crew, patience=90)
        check_crowd(scene.ledger.entries())
        assert scene.places("bounded") == (0, 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", EACH_STORE)
def test_a_pause_of_a_task_outlives_the_workers_that_meet_it(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Workers are killed as they park its jobs: none starts, none is lost, and resume runs all."""
    faults = ["exchange.after_commit:kill@1"]
    if store == "sqlite":
        faults.append("exchange.before_commit:kill@1")
    with scene_on(store, tmp_path / "scene", request) as scene:
        app = scene.app()
        app.tasks.pause("tiny", note="till the crews have come and gone")
        app.close()
        keys = [f"tiny{n}" for n in range(JOBS)]
        scene.enqueue("tiny", *keys)
        for fault in reversed(faults):
            assert scene.worker(fault=fault).wait() == -signal.SIGKILL
        crew = scene.worker()
        scene.until(lambda: scene.places("task:tiny")[1] == JOBS, "all are parked")
        assert scene.stop(crew) == 0, crew.said
        assert not any(scene.started(key) for key in keys)
        app = scene.app()
        assert app.tasks.resume("tiny")
        app.close()
        finish(scene, scene.worker(), patience=60)
        assert all(scene.started(key) == 1 for key in keys)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", EACH_STORE)
def test_no_second_sees_more_starts_than_a_window_allows(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """One dies with its window half used, one in the midst, two are an hour ahead: exact."""
    with scene_on(store, tmp_path / "scene", request) as scene:
        ahead = {} if clocks.library() is None else clocks.fixed(3_600)
        scene.enqueue("windowed", *(f"windowed{n}" for n in range(WINDOWED)))
        # Alone, for nothing says how many of a window's places one of several workers gets.
        assert scene.worker(fault="execute.after_return:kill@5").wait() == -signal.SIGKILL
        crew = [scene.worker(), scene.worker(**ahead), scene.worker(**ahead)]
        victim = scene.worker()
        scene.until(lambda: scene.unfinished() <= WINDOWED // 2, "half of them have ended", 60)
        victim.kill()
        scene.until_done(60)
        for worker in crew:
            assert scene.stop(worker) == 0, worker.said
        app = scene.app()
        jobs = app.jobs(task="windowed", limit=2 * WINDOWED)
        app.close()
        starts = sorted(job.started_at for job in jobs if job.started_at is not None)
        assert len(starts) == WINDOWED
        spans = [b - a for a, b in zip(starts, starts[workload.WINDOW :], strict=False)]
        assert min(spans) >= timedelta(seconds=1)
