"""What the tests of the command line share: a project on disk, and ways to run a command.

`run` starts a real process, as a user does; `invoke` calls the command in this process, where
no code of a project is imported. Nothing here asserts what treadle does.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result

from treadle import Context, Job, Reject, Retry, Treadle, Worker, context
from treadle.cli.main import cli

PROCESS_S: Final = 60.0
"""How long a started command may take."""

PROJECT: Final = '''
"""A project as a user writes one."""

import time
from treadle import Retry, Treadle

app = Treadle("sqlite:///jobs.db")

@app.task
async def add(left: int, right: int = 1) -> int:
    return left + right

@app.task(queue="slow", retry=Retry(attempts=1))
def hold(seconds: float) -> str:
    open("held", "w").close()
    time.sleep(seconds)
    return "held"

@app.task(retry=Retry(attempts=1))
def fail(why: str) -> None:
    raise ConnectionError(why)
'''


def write_project(folder: Path, text: str = PROJECT, name: str = "app.py") -> None:
    """Put a project's module into a folder."""
    (folder / name).write_text(text, encoding="utf-8")


def environment(**more: str) -> dict[str, str]:
    """Give the environment of a child: this one's, with the package's sources in reach."""
    return os.environ | {"PYTHONWARNINGS": "error", "COLUMNS": "120"} | more


def command(*args: str) -> list[str]:
    """Write the words that start a command in a process of its own."""
    return [sys.executable, "-m", "treadle", *args]


def run(
    folder: Path, *args: str, answer: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process, in this folder, and wait for its end."""
    return subprocess.run(
        command(*args),
        cwd=folder,
        env=environment(**variables),
        input=answer,
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )


def invoke(*args: str, answer: str | None = None) -> Result:
    """Call a command in this process."""
    return CliRunner().invoke(cli, args, input=answer, prog_name="treadle")


def store_url(folder: Path) -> str:
    """Name the store that `fill` makes."""
    return f"sqlite:///{folder / 'jobs.db'}"


def fill(folder: Path, calls: Sequence[tuple[str, Any]]) -> list[Job[Any]]:
    """Enqueue a call of one argument each to the tasks `ok`, `broken`, `reject`; run them all."""
    app = Treadle(store_url(folder))

    @app.task(name="ok")
    async def ok(value: object, ctx: Context = context()) -> object:  # noqa: B008 -- a marker
        ctx.log(f"got {value}")
        return value

    @app.task(name="broken", retry=Retry(attempts=1))
    def broken(value: object) -> None:
        raise ValueError(value)

    @app.task(name="reject", queue="cards")
    async def reject(value: object) -> None:
        raise Reject(str(value))

    try:
        jobs = [app.enqueue(name, value) for name, value in calls]
        asyncio.run(Worker(app, burst=True).arun())
        return [job.refresh() for job in jobs]
    finally:
        app.close()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Read the worker's lines until one holds these words; the test's time limit bounds it."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"the worker ended before it said {words!r}:\n{seen}")
