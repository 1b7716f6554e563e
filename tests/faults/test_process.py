"""What happens to a process around treadle: fork, the end of the interpreter, no threads.

Each scenario is a small program in a process of its own, run in development mode with every
warning an error. What it prints is what it has to say; anything on its standard error fails.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scene import SOURCES, Scene

PROGRAM_S: Final = 25.0
"""How long a program may take in all; far below any wait that would hang it."""

# Newer Pythons warn of a fork beside threads; a pre-forking server does just that.
FORK_IS_MEANT: Final = ("-W", "ignore:This process:DeprecationWarning")

BEGIN: Final = """
import asyncio, atexit, multiprocessing, os, resource, signal, sys, threading, time
from treadle import StoreUnavailable, Treadle, Worker
app = Treadle(sys.argv[1])

@app.task(name="noop")
def noop(n: int) -> int:
    return n
"""


def run(scene: Scene, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program on the scene's file, strictly."""
    strictly = ["-X", "dev", "-W", "error", *FORK_IS_MEANT]
    return subprocess.run(
        [sys.executable, *strictly, "-c", BEGIN + textwrap.dedent(program), scene.url],
        env=os.environ | {"PYTHONPATH": SOURCES},
        check=False,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )


def run_well(scene: Scene, program: str) -> str:
    """Run a program that must end well and quietly; return what it printed."""
    done = run(scene, program)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Make a file."""
    return Scene(tmp_path).prepare()


FORKED: Final = {
    "os.fork": """
        pid = os.fork()
        work()
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """,
    "multiprocessing": """
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        work()
        child.join()
        assert child.exitcode == 0
    """,
}


@pytest.mark.parametrize("fork", FORKED)
def test_a_fork_after_use_works_on_both_sides(scene: Scene, fork: str) -> None:
    """Parent and child go on to enqueue, each with connections of its own; none is lost."""
    run_well(
        scene,
        textwrap.dedent("""
        async def many():
            await asyncio.gather(*(noop.aenqueue(n) for n in range(50)))

        def work():
            for n in range(300):
                noop.enqueue(n)
            asyncio.run(many())
            assert len(app.jobs(limit=5)) == 5

        work()
        """)
        + textwrap.dedent(FORKED[fork]),
    )
    assert scene.unfinished() == 3 * 350
    assert scene.query("pragma integrity_check") == [("ok",)]


def test_a_child_opens_the_file_for_itself(scene: Scene) -> None:
    """It never uses a connection of its parent, whose locks it does not hold."""
    run_well(
        scene,
        """
        def files():
            names = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
            return sum(os.readlink(n).endswith("jobs.db") for n in names if os.path.islink(n))
        noop.enqueue(0)
        pid = os.fork()
        before = files()
        noop.enqueue(1)
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert files() == before
        else:
            assert files() == before + 1, (before, files())
        """,
    )
    assert scene.unfinished() == 3


def test_children_of_children_work_too(scene: Scene) -> None:
    """A pre-forking server forks once it is in use, and its children fork again."""
    run_well(
        scene,
        """
        noop.enqueue(0)
        first = os.fork()
        noop.enqueue(1)
        second = os.fork()
        noop.enqueue(2)
        if second:
            os.waitpid(second, 0)
        if first and second:
            os.waitpid(first, 0)
        """,
    )
    assert scene.unfinished() == 1 + 2 + 4


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("noop.enqueue(1)", id="enqueue"),
        pytest.param("app.jobs(); noop.enqueue(1).explain()", id="background-loop"),
        pytest.param(
            "asyncio.run(noop.aenqueue(1)); sys.exit(0)",
            id="async-then-exit",
        ),
        pytest.param("noop.enqueue(1); app.close(); app.close()", id="closed-twice"),
        pytest.param("atexit.register(noop.enqueue, 1)", id="enqueue-at-exit"),
        pytest.param(
            "noop.enqueue(1); Worker(app, burst=True).run(); noop.enqueue(2)", id="worker"
        ),
        pytest.param(
            "noop.enqueue(1)\n"
            "def wait():\n"
            "    try: noop.enqueue(2).wait(60)\n"
            "    except StoreUnavailable as error: print(error)\n"
            "threading.Thread(target=wait, daemon=True).start()\n"
            "time.sleep(0.2)",
            id="a-daemon-thread-waits",
        ),
    ],
)
def test_the_interpreter_ends_quietly(scene: Scene, program: str) -> None:
    """Without a `close` nothing hangs, and no warning or unfinished task is reported."""
    run_well(scene, program)
    assert scene.unfinished() >= 1


def test_an_enqueue_after_the_interpreter_began_to_end_is_an_error(scene: Scene) -> None:
    """What needs a thread that can no longer start says so, and does not hang."""
    done = run(
        scene,
        """
        class Last:
            def __del__(self):
                try:
                    app.jobs()
                except RuntimeError as error:
                    print("refused:", error)
        keep = Last()
        sys.modules["keep_until_the_end"] = keep
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "refused: treadle cannot start its thread" in done.stdout, done.stdout + done.stderr
    assert "the interpreter is shutting down" in done.stdout


NO_THREADS: Final = """
import _thread
if os.getuid() == 0:  # root is bound by no limit of processes.
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    pass
else:
    print("threads start all the same")
"""


def test_a_process_without_threads_says_so(tmp_path: Path) -> None:
    """Where no thread can start jobs are stored; a call that needs one is an error that says so."""
    done = run(
        Scene(tmp_path),
        "app = Treadle('memory://'); noop = app.task(name='noop')(lambda n: n)\n"
        + NO_THREADS
        + textwrap.dedent("""
        job = noop.enqueue(1)
        try:
            job.cancel()
        except RuntimeError as error:
            print("refused:", error)
        """),
    )
    if "threads start all the same" in done.stdout:
        pytest.skip("this system does not bind threads by RLIMIT_NPROC")
    assert done.returncode == 0, done.stderr
    assert "refused: treadle cannot start its thread" in done.stdout
    assert "raise its limit" in done.stdout
