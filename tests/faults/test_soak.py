"""A worker that goes on and on: what it needs does not grow with what it has done."""

from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import EACH_STORE, LONG_S, scene_on
from tests.faults.scene import Process, Scene, finish

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is read in /proc"),
]

JOBS: Final = 1_500
ROUNDS: Final = 4
GROWS_KIB: Final = 1_500
"""Far over an allocator's whims (some 100 here); half a kilobyte a job of the later rounds."""


def needs(process: Process) -> tuple[int, int, int]:
    """Read memory (KiB), threads and descriptors of a process; proc(5) tells of the fields."""
    of = Path("/proc", str(process.child.pid))
    said = dict(line.split(":", 1) for line in (of / "status").read_text().splitlines())
    return int(said["VmRSS"].split()[0]), int(said["Threads"]), len(list((of / "fd").iterdir()))


def one_round(scene: Scene, number: int) -> None:
    """Let jobs of several kinds run: in a thread, failing at first, with log lines, in turns."""
    for task, rest in (("touch", ()), ("touch_in_thread", ()), ("flaky", ()), ("slow", (0.0,))):
        keys = (f"{task}{number}-{n}" for n in range(JOBS // 4))
        scene.enqueue(task, *keys, rest=rest)
    scene.until_done(LONG_S)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", EACH_STORE)
def test_a_worker_needs_no_more_after_many_jobs_than_after_some(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Memory, threads and descriptors stay what they were once it had warmed up."""
    with scene_on(store, tmp_path / "scene", request) as scene:
        worker = scene.worker()
        seen = []
        for number in range(ROUNDS):
            one_round(scene, number)
            seen.append(needs(worker))
        (memory, threads, files), (last, more_threads, more_files) = seen[1], seen[-1]
        assert last - memory < GROWS_KIB, seen
        assert more_threads <= threads + 1, seen
        assert more_files <= files + 2, seen
        finish(scene, worker)
