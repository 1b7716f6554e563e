"""`treadle worker --reload`: a change of the code starts the worker anew."""

import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.e2e.cli_kit import PROCESS_S, PROJECT, command, environment, write_project
from treadle.cli import reload
from treadle.cli.reload import files_below, folder_of

Expect = Callable[[str], str]


def _pass_on(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)


@contextmanager
def _reloading(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Expect]]:
    """Start a reloading worker; give a function that waits for words in its output."""
    process = subprocess.Popen(
        command("worker", "--reload", "--log-format", "text"),
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    stream = process.stderr
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_pass_on, args=(stream, lines))
    reader.start()

    def expect(words: str) -> str:
        seen = ""
        while words not in seen:
            seen += lines.get(timeout=PROCESS_S)
        return seen

    try:
        yield process, expect
    finally:
        # SIGTERM goes through to the child; a killed parent would leave it behind.
        process.terminate()
        process.wait(PROCESS_S)
        reader.join(PROCESS_S)
        stream.close()


def test_a_change_starts_a_fresh_worker(tmp_path: Path) -> None:
    """A changed file stops the child and starts one that knows the new code."""
    write_project(tmp_path)
    with _reloading(tmp_path) as (process, expect):
        expect("is ready")
        write_project(tmp_path, PROJECT + "\n@app.task\ndef new() -> None: ...\n")
        seen = expect("is ready")
        assert "app.py changed: starting anew" in seen
        assert "Stopped (received SIGTERM)" in seen
        assert "app.new" in seen
        process.send_signal(signal.SIGINT)
        expect("Stopped (received SIGINT)")
        assert process.wait(PROCESS_S) == 0


def test_broken_code_waits_for_its_mending(tmp_path: Path) -> None:
    """A mistake in the code ends the child, not the watch."""
    write_project(tmp_path, "def broken(:\n")
    with _reloading(tmp_path) as (_, expect):
        assert "SyntaxError" in expect("ended with exit code 2; waiting for a change")
        write_project(tmp_path)
        expect("is ready")


def test_what_is_watched(tmp_path: Path) -> None:
    """Hidden folders, caches and virtual environments are left out."""
    for name in ("app.py", "shop/a.py", ".git/b.py", "__pycache__/c.py", "env/lib/d.py", "e.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    watched = sorted(str(Path(path).relative_to(tmp_path)) for path in files_below(tmp_path))
    assert watched == ["app.py", "shop/a.py"]


def test_the_watch_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many files only the first ones are looked at."""
    monkeypatch.setattr(reload, "FILES_MAX", 3)
    for number in range(5):
        (tmp_path / f"m{number}.py").touch()
    assert len(files_below(tmp_path)) == 3


def test_a_changed_size_or_time_is_seen(tmp_path: Path) -> None:
    """A file written twice within one tick of its time still differs by its size."""
    write_project(tmp_path, "a = 1\n")
    before = files_below(tmp_path)
    write_project(tmp_path, "a = 10\n")
    assert files_below(tmp_path) != before


def test_the_folder_of_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package is watched by itself, a module with everything below its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    assert folder_of("shop.jobs:app") == tmp_path / "shop"
    assert folder_of("app:app") == tmp_path
    assert folder_of(None) == tmp_path
