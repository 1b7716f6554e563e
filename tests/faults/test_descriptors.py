"""File descriptors at fault: a job has taken all that the worker's process may have."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.faults import leaking
from tests.faults.far import EACH_STORE, LONG_S, FarScene, scene_on
from tests.faults.scene import Process, Scene
from treadle import JobState, StoreUnavailable
from treadle.testing.proxy import Proxy

JOBS: Final = 20
WATCHED_S: Final = 3.0
BUSY: Final = 0.6
"""Of a processor: far over what a worker takes that waits, far under one that spins beside one."""


def spent(process: Process) -> float:
    """Read the processor time that a process has taken, s; proc(5) tells of the fields."""
    said = Path(f"/proc/{process.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def cuttable(scene: Scene) -> Iterator[Callable[[], None]]:
    """Give what resets the connections of a scene's processes to its server; a file has none."""
    if not isinstance(scene, FarScene):
        yield lambda: None
        return
    port = urlsplit(scene.direct).port
    assert port is not None, scene.direct
    with Proxy(port) as proxy:
        scene.url = scene.direct.replace(f":{port}", f":{proxy.port}")
        yield proxy.reset


@contextmanager
def all_taken() -> Iterator[Callable[[], None]]:
    """Leave this process no descriptor, until what is given is called or the block ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def give_back() -> None:
        while taken:
            os.close(taken.pop())
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    leaking.bind()
    leaking.take_all(taken)
    try:
        yield give_back
    finally:
        give_back()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("store", EACH_STORE)
def test_a_worker_without_a_free_descriptor_waits_and_goes_on(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Its connections are cut meanwhile, too; no job fails or runs twice, and it does not spin."""
    go = tmp_path / "go"
    with scene_on(store, tmp_path / "scene", request) as scene, cuttable(scene) as cut:
        worker = scene.program(Path(leaking.__file__))
        scene.until(lambda: worker.ready, "the worker is ready", LONG_S)
        ids = scene.enqueue("leak", "leak0", rest=(str(go),))
        scene.until(lambda: leaking.ALL_TAKEN in worker.said, "all are taken", LONG_S)
        cut()
        ids += scene.enqueue("on_loop", *(f"l{n}" for n in range(JOBS)))
        ids += scene.enqueue("in_thread", *(f"t{n}" for n in range(JOBS)))
        before = spent(worker)
        time.sleep(WATCHED_S)  # What is measured is the processor time of this while.
        assert spent(worker) - before < BUSY * WATCHED_S, worker.said
        assert not worker.ended, worker.said
        go.touch()
        scene.until_done(LONG_S)
        assert scene.stop(worker) == 0, worker.said
        app = scene.app()
        ended = [app.job(id_) for id_ in ids]
        app.close()
        assert {(job.state, job.attempt) for job in ended} == {(JobState.SUCCEEDED, 1)}


@pytest.mark.parametrize("store", EACH_STORE)
def test_a_producer_without_a_free_descriptor_is_told_so(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The error names what is lacking, not the store; with one free again the same call goes."""
    with scene_on(store, tmp_path / "scene", request) as scene, all_taken() as give_back:
        app = scene.app()
        with pytest.raises(StoreUnavailable, match="no file descriptor free"):
            app.enqueue("touch", "refused")
        give_back()
        assert app.enqueue("touch", "stored").state is JobState.READY
        app.close()
