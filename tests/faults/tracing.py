"""strace beside a process that runs: it notes its system calls, or lets them fail."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.scene import WAIT_S


@contextmanager
def traced(pid: int, words: Sequence[str]) -> Iterator[None]:
    """Run a command of strace on a process, from when it has it until the block or that ends."""
    tracer = subprocess.Popen([*words, "-p", str(pid)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + WAIT_S
        while "TracerPid:\t0\n" in Path("/proc", str(pid), "status").read_text():
            if tracer.poll() is not None:
                _, said = tracer.communicate()
                pytest.skip(f"a process cannot be traced here: {said.decode().strip()}")
            assert time.monotonic() < deadline, "strace did not take the process"
            time.sleep(0.01)
        yield
    finally:
        # It lets the process go, unhurt.
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=WAIT_S)
