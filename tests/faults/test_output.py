"""Output at fault: nobody reads it, its disk is full, or there is none.

What a worker says is for whoever looks; what it does is its jobs.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TextIO, cast

import pytest

from tests.e2e.cli_kit import command, environment, write_project
from tests.faults.scene import WAIT_S
from treadle import Job, Treadle
from treadle.cli.logs import unheard

JOBS: Final = 20
NO_OUTPUT: Final = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh"]

TALKS: Final = """
import sys

@app.task
def talk() -> str:
    for stream in (sys.stdout, sys.stderr):
        print("x" * 100_000, file=stream, flush=True)
    return "said"
"""

Begin = Callable[[list[str], Path], "subprocess.Popen[bytes]"]


def begin(words: list[str], folder: Path, out: int) -> "subprocess.Popen[bytes]":
    """Start a command with this descriptor as its output."""
    return subprocess.Popen(
        words, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
    )


def unread(words: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start it with a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return begin(words, folder, writer)
    finally:
        os.close(writer)


def left(words: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start it with a pipe whose reader goes away once it has read the first words."""
    reader, writer = os.pipe()
    process = begin(words, folder, writer)
    os.close(writer)
    assert os.read(reader, 1)
    os.close(reader)
    return process


def full(words: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start it with its output on a disk without room."""
    with Path("/dev/full").open("wb") as disk:
        return begin(words, folder, disk.fileno())


def closed(words: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start it without any output."""
    return begin([*NO_OUTPUT, *words], folder, subprocess.DEVNULL)


@contextmanager
def started(start: Begin, folder: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a command of treadle's; it ends with the block."""
    process = start(command(*words), folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_S)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("form", ["auto", "json"])
@pytest.mark.parametrize("start", [unread, left, full, closed])
def test_a_worker_whose_output_fails_does_its_work(tmp_path: Path, start: Begin, form: str) -> None:
    """It starts, runs every job, and stops cleanly with 0."""
    write_project(tmp_path)
    app = Treadle(f"sqlite:///{tmp_path / 'jobs.db'}")
    jobs: list[Job[object]] = [app.enqueue("app.add", n) for n in range(JOBS)]
    with started(start, tmp_path, "worker", "--log-format", form) as worker:
        assert [job.result(timeout=WAIT_S) for job in jobs] == [n + 1 for n in range(JOBS)]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(WAIT_S) == 0
    app.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("start", [unread, full])
def test_a_job_that_prints_where_nobody_reads_succeeds(tmp_path: Path, start: Begin) -> None:
    """What it says is lost, on standard output and error, and the job is not."""
    write_project(tmp_path)
    with (tmp_path / "app.py").open("a", encoding="utf-8") as source:
        source.write(TALKS)
    with closing(Treadle(f"sqlite:///{tmp_path / 'jobs.db'}")) as app:
        job: Job[object] = app.enqueue("app.talk")
        with started(start, tmp_path, "worker"):
            assert job.result(timeout=WAIT_S) == "said"
        assert job.attempt == 1


class Tee:
    """What a program may put in the place of its output: a file, and little more."""

    def __init__(self, file: TextIO) -> None:
        self.write, self.flush, self.fileno = file.write, file.flush, file.fileno


def test_an_output_that_a_program_has_put_in_the_place_of_pythons_own_stays(tmp_path: Path) -> None:
    """Its writes are its own; nothing is asked of it that it may not have."""
    before = sys.stdout
    with (tmp_path / "out.txt").open("w+", encoding="utf-8") as file:
        sys.stdout = cast("TextIO", Tee(file))
        try:
            with unheard():
                print("said")  # noqa: T201 -- as a job does
        finally:
            sys.stdout = before
        file.seek(0)
        assert file.read() == "said\n"
