"""`treadle worker` as a real process: what it prints, how it stops, its exit codes."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.cli_kit import (
    PROCESS_S,
    command,
    environment,
    invoke,
    read_until,
    run,
    write_project,
)
from treadle import Treadle


@contextmanager
def _worker(folder: Path, *args: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker; end it whatever happens."""
    process = subprocess.Popen(
        command("worker", *args),
        cwd=folder,
        env=environment(**variables),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PROCESS_S)


def _enqueue(folder: Path, task: str, *values: object, queue: str = "default") -> str:
    app = Treadle(f"sqlite:///{folder / 'jobs.db'}")
    try:
        return app.named(task).using(queue=queue).enqueue(*values).id
    finally:
        app.close()


def _state(folder: Path, job: str) -> str:
    app = Treadle(f"sqlite:///{folder / 'jobs.db'}")
    try:
        return str(app.job(job).state)
    finally:
        app.close()


def test_a_burst_runs_what_is_ready_and_ends(tmp_path: Path) -> None:
    """The banner says what the worker is, the summary what it did; the exit code is 0."""
    write_project(tmp_path)
    job = _enqueue(tmp_path, "app.add", 1)
    done = run(tmp_path, "worker", "--burst", "--concurrency", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    banner = [line.split(maxsplit=1) for line in done.stderr.splitlines()[1:7]]
    assert [key for key, _ in banner] == ["worker", "app", "store", "queues", "slots", "tasks"]
    assert [text for _, text in banner[1:]] == [
        "app:app", "sqlite:///jobs.db", "all", "3", "3: app.add, app.fail, app.hold",
    ]  # fmt: skip
    assert "Stopped (nothing is left to do): 1 attempt in " in done.stderr
    assert _state(tmp_path, job) == "succeeded"


def test_queues_are_chosen(tmp_path: Path) -> None:
    """A worker leaves the jobs of other queues alone and says which it takes."""
    write_project(tmp_path)
    job = _enqueue(tmp_path, "app.add", 1)
    done = run(tmp_path, "worker", "app:app", "--burst", "--queues", "slow=3,other=1")
    assert "queues  slow=3, other=1" in done.stderr
    assert _state(tmp_path, job) == "ready"


def test_slots_are_reserved(tmp_path: Path) -> None:
    """A queue that is reserved and not named is served, and the worker says so."""
    write_project(tmp_path)
    job = _enqueue(tmp_path, "app.add", 1, queue="mail")
    words = ("--burst", "--queues", "other", "--concurrency", "3", "--reserve", "mail=2")
    done = run(tmp_path, "worker", "app:app", *words)
    assert "slots   3, reserved: mail=2" in done.stderr
    assert _state(tmp_path, job) == "succeeded"


def test_more_reserved_slots_than_there_are_are_refused(tmp_path: Path) -> None:
    """With exit code 2, and both numbers."""
    write_project(tmp_path)
    done = run(tmp_path, "worker", "--concurrency", "3", "--reserve", "a=2,b=2")
    assert done.returncode == 2
    assert "a=2, b=2 reserves 4 slots, and there are 3" in done.stderr


def test_json_lines_are_one_object_each(tmp_path: Path) -> None:
    """Each record is an object, from the start of the worker to its end."""
    write_project(tmp_path)
    job = _enqueue(tmp_path, "app.fail", "a\nbad {day}")
    done = run(tmp_path, "worker", "--burst", "--log-format", "json")
    rows = [json.loads(line) for line in done.stderr.splitlines()]
    mine = [(row["event"], row["attempt"]) for row in rows if row.get("job") == job]
    assert mine == [("started", 1), ("ended", 1)]
    assert any(row.get("error") == "ConnectionError: a\nbad {day}" for row in rows)


def test_a_level_leaves_lines_out(tmp_path: Path) -> None:
    """At `error` only the dead letter is told of."""
    write_project(tmp_path)
    _enqueue(tmp_path, "app.add", 1)
    run(tmp_path, "enqueue", "app.fail", "why")
    done = run(tmp_path, "worker", "--burst", "--log-level", "error", "--log-format", "json")
    rows = [json.loads(line) for line in done.stderr.splitlines()]
    assert [row["task"] for row in rows] == ["app.fail"]


def test_sigterm_lets_running_jobs_end(tmp_path: Path) -> None:
    """The first signal stops gracefully: what runs ends, and the exit code is 0."""
    write_project(tmp_path)
    job = _enqueue(tmp_path, "app.hold", 0.3, queue="slow")
    with _worker(tmp_path, "--log-format", "text") as process:
        read_until(process, "started app.hold")
        process.send_signal(signal.SIGTERM)
        rest = read_until(process, "Stopped")
        assert process.wait(PROCESS_S) == 0
    assert "Stopped (received SIGTERM): 1 attempt in " in rest
    assert _state(tmp_path, job) == "succeeded"


def test_a_job_that_is_cut_off_makes_the_exit_code_one(tmp_path: Path) -> None:
    """When the grace is over the job is handed back, counted and said."""
    write_project(tmp_path)
    job = _enqueue(tmp_path, "app.hold", 60, queue="slow")
    with _worker(tmp_path, "--grace", "100ms", "--log-format", "text") as process:
        read_until(process, "started app.hold")
        process.send_signal(signal.SIGINT)
        rest = read_until(process, "Stopped")
        assert process.wait(PROCESS_S) == 1
    assert "1 job cut off and handed back" in rest
    assert _state(tmp_path, job) == "ready"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--queues", "a=1,b"], "give every queue a weight or none"),
        (["--queues", "a,a"], "named twice"),
        (["--reserve", "mail"], "reserves nothing; write for example mail=2"),
        (["--reserve", "mail=0"], "must be a number from 1"),
        (["--concurrency", "0"], "0 is not in the range"),
        (["--grace", "long"], "is no duration"),
        (["--reload", "--burst"], "do not go together"),
        (["--log-level", "loud"], "'loud' is not one of"),
    ],
)
def test_wrong_options_are_refused(words: list[str], said: str) -> None:
    """A mistake on the command line ends with exit code 2 before any code is imported."""
    result = invoke("worker", *words)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import missing_library\n", "No module named 'missing_library'"),
        ("from treadle import Treadle\napp = Treadle('ftp://x')\n", "is not a store"),
        (
            "from treadle import Treadle\napp = Treadle('sqlite:///no/such/folder/jobs.db')\n",
            "no/such/folder/jobs.db cannot be made",
        ),
    ],
)
def test_a_worker_that_cannot_start_exits_with_two(tmp_path: Path, text: str, said: str) -> None:
    """What hinders the start is said without treadle's own traceback."""
    write_project(tmp_path, text)
    done = run(tmp_path, "worker", "--burst")
    assert done.returncode == 2
    assert said in done.stderr
    assert "treadle/cli" not in done.stderr


def test_an_application_without_tasks_is_pointed_out(tmp_path: Path) -> None:
    """A worker that knows no task runs nothing; the banner asks the likely question."""
    write_project(tmp_path, "from treadle import Treadle\napp = Treadle('sqlite:///jobs.db')\n")
    done = run(tmp_path, "worker", "--burst")
    assert "none: is the module that defines them imported?" in done.stderr


WAITING_APP = """
import pathlib, time
from treadle import Treadle
app = Treadle("sqlite:///jobs.db")

@app.task
def wait() -> None:
    for _ in range(10_000):
        if pathlib.Path("go").exists():
            return
        time.sleep(0.01)
"""


def test_a_settlement_that_comes_too_late_is_said(tmp_path: Path) -> None:
    """A job that was cancelled while it ran, and ended before its worker knew, is counted."""
    write_project(tmp_path, WAITING_APP)
    job = _enqueue(tmp_path, "app.wait")
    with _worker(tmp_path, "--log-format", "text", TREADLE_BEAT="5") as process:
        read_until(process, "started app.wait")
        assert run(tmp_path, "jobs", "cancel", job).returncode == 0
        (tmp_path / "go").touch()
        read_until(process, "came too late")
        process.send_signal(signal.SIGTERM)
        assert "1 settlement LOST" in read_until(process, "Stopped")
    assert _state(tmp_path, job) == "cancelled"


LOOP_APP = """
import asyncio
from treadle import Treadle
app = Treadle("sqlite:///jobs.db")

@app.task
async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__
"""


@pytest.mark.parametrize(
    ("stand_in", "module"),
    [(None, "uvloop"), ("raise ImportError('not installed')\n", "asyncio.unix_events")],
)
def test_uvloop_is_taken_when_it_is_there(
    tmp_path: Path, stand_in: str | None, module: str
) -> None:
    """With the extra `fast` the worker runs on uvloop, without it on asyncio's own loop."""
    pytest.importorskip("uvloop")
    write_project(tmp_path, LOOP_APP)
    if stand_in is not None:
        write_project(tmp_path, stand_in, "uvloop.py")
    job = _enqueue(tmp_path, "app.loop")
    assert run(tmp_path, "worker", "--burst").returncode == 0
    shown = invoke("jobs", "show", job, "--json", "--store", f"sqlite:///{tmp_path}/jobs.db")
    assert json.loads(shown.stdout)["result"] == module
