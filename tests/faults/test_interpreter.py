"""C code that keeps Python's interpreter lock: no thread of its worker runs, the lease's neither.

A task opens a pipe through `ctypes.PyDLL`, which keeps the lock, and nobody has the other end.
"""

import errno
import os
from functools import partial
from pathlib import Path

import pytest

from tests.faults.far import EACH_STORE, scene_on
from tests.faults.scene import Scene, finish

GRIPS: tuple[str, ...] = ("grip", "grip_in_thread")


def let_go(pipe: Path, nth: int) -> bool:
    """Open the pipe of the nth attempt for it; False while it does not stand there yet."""
    try:
        os.close(os.open(f"{pipe}.{nth}", os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    """Give a scene on the store that the test names."""
    return scene_on(request.param, tmp_path / "scene", request)


@pytest.mark.parametrize("task", GRIPS)
@pytest.mark.parametrize("scene", EACH_STORE, indirect=True)
def test_a_lock_kept_for_longer_than_the_lease_settles_nothing_twice(
    tmp_path: Path, scene: Scene, task: str
) -> None:
    """The job runs elsewhere; what its first worker settles is LOST, and that one says why."""
    pipe = tmp_path / "pipe"
    os.mkfifo(f"{pipe}.1")
    with scene:
        scene.enqueue(task, "held", rest=(str(pipe),))
        first = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "it is started")
        second = scene.worker()
        scene.until(lambda: scene.started("held") == 2, "it is started elsewhere")
        scene.until_done()
        scene.until(lambda: let_go(pipe, 1), "the first attempt goes on")
        scene.until(lambda: "came too late" in first.said, "its settlement is LOST")
        scene.until(lambda: "it goes on as" in first.said, "the first worker begins anew")
        scene.until(lambda: "no thread of this worker ran for" in first.said, "it says why")
        assert f"At work: {task} (job " in first.said
        assert finish(scene, first, second).overrun == ["held"]
        assert {job.state for job in scene.stored()} == {"succeeded"}


@pytest.mark.parametrize("scene", EACH_STORE, indirect=True)
def test_a_job_that_always_keeps_the_lock_buries_itself_alone(tmp_path: Path, scene: Scene) -> None:
    """After three leases it is a dead letter that does not speak of deaths; the rest is done."""
    pipe = tmp_path / "pipe"
    for nth in (1, 2, 3):
        os.mkfifo(f"{pipe}.{nth}")
    with scene:
        [id_] = scene.enqueue("grip", "bad", rest=(str(pipe),))
        scene.enqueue("slow", *(f"good{n}" for n in range(6)), rest=(0.1,))
        cast = [scene.worker(), scene.worker()]

        def has_started(times: int) -> bool:
            return scene.started("bad") == times

        for nth in (1, 2):
            scene.until(partial(has_started, nth), "it is started")
            scene.until(partial(has_started, nth + 1), "and elsewhere")
            scene.until(partial(let_go, pipe, nth), "that attempt goes on")
        scene.until_done()
        scene.until(lambda: let_go(pipe, 3), "the last one goes on")
        finish(scene, *cast)
        states = {job.key: job.state for job in scene.stored()}
        assert states.pop("bad") == "failed"
        assert set(states.values()) == {"succeeded"}
        app = scene.app()
        bad = app.job(id_)
        assert bad.reason == "poison"
        assert "stood still for longer than its lease" in str(bad.error)
        app.close()
