"""Tasks and hooks that turn on their own worker: they hurt themselves, and nobody else.

Each worker is a real process with the tasks below, started again when it dies, as a
supervisor does.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scene import QUICK, SOURCES, Process, Scene

GOOD: Final = 30
RESTARTS_MAX: Final = 6
MAX_CRASHES: Final = 3

PROGRAM: Final = """
import asyncio, logging, sys
from treadle import Treadle, Worker

logging.basicConfig(level=logging.INFO)
app = Treadle(sys.argv[1])

@app.task(name="good", retry=1)
async def good(n: int) -> int:
    await asyncio.sleep(0.005)
    return n

@app.task(name="cancel_all", retry=1)
async def cancel_all() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()

@app.task(name="stop_the_loop", retry=1)
async def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(60)

@app.task(name="exit_beside", retry=1)
async def exit_beside() -> None:
    async def leave() -> None:
        raise SystemExit(4)
    beside = asyncio.create_task(leave())
    await asyncio.sleep(60)

@app.task(name="close_the_app", retry=1)
def close_the_app() -> None:
    app.close()

@app.task(name="aclose_the_app", retry=1)
async def aclose_the_app() -> None:
    await app.aclose()

if sys.argv[2:] == ["waits"]:
    @app.on_startup
    async def wait_for_ever() -> None:
        print("the hook waits", flush=True)
        await asyncio.Event().wait()

sys.exit(Worker(app, concurrency=4).run())
"""


def start(scene: Scene, *words: str) -> Process:
    """Start a worker that knows the hostile tasks."""
    log = scene.logs / f"{len(scene.processes)}-hostile.log"
    process = Process(
        [sys.executable, "-c", PROGRAM, scene.url, *words],
        os.environ | {"PYTHONPATH": SOURCES} | QUICK,
        log,
    )
    scene.processes.append(process)
    return process


def supervise(scene: Scene) -> int:
    """Start the worker again each time it dies, until every job has ended; count the deaths."""
    for deaths in range(RESTARTS_MAX):
        worker = start(scene)
        scene.until(
            lambda: worker.ended or scene.unfinished() == 0,  # noqa: B023 -- used at once
            "the worker dies or every job has ended",
        )
        if not worker.ended:
            scene.stop(worker)
            return deaths
    said = scene.processes[-1].said[-3_000:]
    raise AssertionError(f"{RESTARTS_MAX} workers were not enough\n{said}")


@pytest.mark.parametrize("task", ["cancel_all", "stop_the_loop", "exit_beside"])
def test_a_job_that_breaks_its_workers_loop_is_buried_alone(tmp_path: Path, task: str) -> None:
    """It counts as a crash each time, although the process could still clean up after itself.

    Handed back unspent, it would break one worker after the other for ever.
    """
    with Scene(tmp_path).prepare() as scene:
        app = scene.app()
        app.named("good").enqueue_many([(n,) for n in range(GOOD // 2)])
        app.enqueue(task)
        app.named("good").enqueue_many([(n,) for n in range(GOOD // 2)])
        app.close()
        assert supervise(scene) == MAX_CRASHES
        assert scene.query("select task, state, reason, count(*) from treadle_jobs group by 1, 2, 3"
                           " order by state") == [
            (task, "failed", "poison", 1), ("good", "succeeded", None, GOOD)
        ]  # fmt: skip


@pytest.mark.parametrize("task", ["close_the_app", "aclose_the_app"])
def test_a_job_cannot_close_the_application_under_its_worker(tmp_path: Path, task: str) -> None:
    """The call is an error that says why; the worker goes on and stops cleanly."""
    with Scene(tmp_path).prepare() as scene:
        app = scene.app()
        app.enqueue(task)
        app.named("good").enqueue_many([(n,) for n in range(GOOD)])
        app.close()
        worker = start(scene)
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said
        [(state, error)] = scene.query("select state, error from treadle_jobs where task = ?", task)
        assert state == "failed"
        assert b"a worker of this process works on it" in error
        assert scene.query("select distinct state from treadle_jobs where task = 'good'") == [
            ("succeeded",)
        ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_signals_end_a_worker_that_waits_in_a_hook(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A start-up hook that waits for what never comes can be stopped without SIGKILL."""
    with Scene(tmp_path).prepare() as scene:
        worker = start(scene, "waits")
        scene.until(lambda: "the hook waits" in worker.said, "the hook waits")
        worker.send(number)
        scene.until(lambda: "a second signal stops at once" in worker.said, "it is heard")
        worker.send(number)
        assert worker.wait() in {0, 1}, worker.said
        assert "Traceback" not in worker.said
        assert scene.query("select * from treadle_workers") == []
