"""Exit codes: what a supervisor reads from a worker that cannot go on, or from its child."""

import os
import sys
from pathlib import Path
from typing import Final

from tests.faults.scene import QUICK, SOURCES, Process, Scene

DRAINED_STUCK: Final = 3
FORKED: Final = 70
JOBS_STUCK: Final = 3

PROGRAM: Final = """
import logging, os, sys, time
from treadle import Treadle, Worker

logging.basicConfig(level=logging.INFO)
app = Treadle(sys.argv[1], settings={"stuck_max": 1})

@app.task(name="stuck", retry=1, timeout=0.2)
def stuck() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

@app.task(name="forks", retry=1)
def forks() -> int:
    child = os.fork()
    if child == 0:
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

sys.exit(Worker(app, concurrency=4).run())
"""


def start(scene: Scene) -> Process:
    """Start a worker that knows both tasks."""
    process = Process(
        [sys.executable, "-c", PROGRAM, scene.url],
        os.environ | {"PYTHONPATH": SOURCES} | QUICK,
        scene.logs / f"{len(scene.processes)}-exits.log",
    )
    scene.processes.append(process)
    return process


def test_too_many_stuck_threads_end_the_worker_for_its_supervisor(tmp_path: Path) -> None:
    """Above `stuck_max` it drains and exits with a code of its own; the jobs are settled."""
    with Scene(tmp_path).prepare() as scene:
        app = scene.app()
        for _ in range(JOBS_STUCK):
            app.enqueue("stuck")
        app.close()
        worker = start(scene)
        assert worker.wait() == DRAINED_STUCK, worker.said
        assert "does not end although it was told to" in worker.said
        assert scene.query("select distinct state, attempt from treadle_jobs") == [("failed", 1)]
        assert scene.query("select * from treadle_workers") == []


def test_a_child_that_comes_back_from_a_task_ends_itself(tmp_path: Path) -> None:
    """A task that forks without exec must not leave a second worker that settles its job."""
    with Scene(tmp_path).prepare() as scene:
        app = scene.app()
        app.enqueue("forks")
        app.close()
        worker = start(scene)
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said
        assert scene.query("select state, attempt, cast(result as text) from treadle_jobs") == [
            ("succeeded", 1, str(FORKED))
        ]
