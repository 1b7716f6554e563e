"""A disk that reports errors: writes, and what makes them last, fail under a SQLite file.

Real processes, whose system calls strace lets fail for a while (the option `inject`).
"""

import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scene import Process, Scene, finish
from tests.faults.tracing import traced

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace here"),
]

FAILS_S: Final = 1.0
"""Longer than several tries of a worker's, shorter than its lease of 1.5 s."""
CALLS: Final = pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
PRODUCER: Final = """
import sys
from pathlib import Path
from tests.faults import workload
from treadle import StoreUnavailable
from treadle.testing.ledger import Ledger

url, ledger, go_on = sys.argv[1:]
ledger = Ledger(Path(ledger))
app = workload.build(url, ledger)
n = 0
while Path(go_on).exists():
    key = f"k{n}"
    n += 1
    ledger.write("TRY", key)
    try:
        app.enqueue("touch", key)
    except StoreUnavailable as error:
        print(error, flush=True)
    else:
        ledger.write("OK", key)
app.close()
"""


def failing(process: Process, call: str) -> AbstractContextManager[None]:
    """Let a system call of a process end with an input/output error, until the block ends."""
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    return traced(process.child.pid, [*words, "-e", f"inject={call}:error=EIO"])


@CALLS
def test_no_acknowledged_job_is_missing_after_errors_of_the_disk(tmp_path: Path, call: str) -> None:
    """A write that cannot be made to last is refused; the next ones go, and the file is whole."""
    go_on, program = tmp_path / "go_on", tmp_path / "producer.py"
    go_on.touch()
    program.write_text(PRODUCER)
    with Scene(tmp_path / "scene").prepare() as scene:
        producer = scene.program(program, str(go_on))

        def stored() -> int:
            return sum(entry.word == "OK" for entry in scene.ledger.entries())

        scene.until(lambda: stored() > 0, "it produces")
        with failing(producer, call):
            scene.until(lambda: "the disk reported an error" in producer.said, "one is refused")
        before = stored()
        scene.until(lambda: stored() > before, "it goes on by itself")
        producer.kill()  # With whatever it had under way.
        finish(scene, scene.worker())


@CALLS
def test_a_worker_goes_on_after_errors_of_the_disk(tmp_path: Path, call: str) -> None:
    """Its settlements wait until the disk is well; no job is lost, and none runs twice."""
    with Scene(tmp_path / "scene").prepare() as scene:
        worker = scene.worker()
        scene.until(lambda: worker.ready, "the worker is ready")
        scene.enqueue("slow", *(f"s{n}" for n in range(40)), rest=(0.05,))
        scene.enqueue("sell", *(f"e{n}" for n in range(10)))
        scene.until(lambda: scene.started("s2"), "it works")
        with failing(worker, call):
            scene.until(lambda: "the disk reported an error" in worker.said, "it meets an error")
            time.sleep(FAILS_S)  # What passes are tries of a real worker.
        account = finish(scene, worker)
        assert account.overrun == []
