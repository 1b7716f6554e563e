"""`treadle worker --reload`: start the worker anew whenever its code changes.

For development. The parent imports none of the user's code, so that a mistake in it cannot end the
watch: it looks at the .py files below the application's folder twice a second, and runs the worker
as a child in a fresh interpreter. A change stops the child gracefully and starts another; a child
that ends by itself waits for the next change.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from treadle.cli.view.text import listed, plural

LOOK_S: Final = 0.5
FILES_MAX: Final = 5_000
"""Files that are looked at; more are left aside, and a line says so."""
_GRACE_S: Final = 30.0
_MARGIN_S: Final = 5.0
_KILL_WAIT_S: Final = 5.0
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})

Seen = dict[str, tuple[int, int]]


def reload_worker(name: str | None, arguments: list[str], *, grace: float | None) -> int:
    """Run `treadle worker` with these arguments until a signal; give its last exit code."""
    folder = folder_of(name)
    seen = files_below(folder)
    most = " (the first ones)" if len(seen) >= FILES_MAX else ""
    _say(f"watching {plural(len(seen), '.py file')}{most} below {folder}")
    child = _Child(arguments, patience=(_GRACE_S if grace is None else grace) + _MARGIN_S)
    with child.stopped_by_signals():
        child.start()
        while not child.stopping.wait(LOOK_S):
            now = files_below(folder)
            if now != seen:
                changed = sorted({path for path, _ in set(seen.items()) ^ set(now.items())})
                seen = now
                _say(f"{_names(changed, folder)} changed: starting anew")
                child.stop(signal.SIGTERM)
                child.start()
            elif child.has_ended():
                _say(f"the worker ended with exit code {child.code}; waiting for a change")
        return child.wait()


class _Child:
    """The worker's process, at most one at a time."""

    def __init__(self, arguments: list[str], *, patience: float) -> None:
        self._command = [sys.executable, "-m", "treadle", "worker", *arguments]
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._told = True
        self.stopping = threading.Event()
        self.code = 0

    def start(self) -> None:
        """Start the worker in a process group of its own, so that only the parent signals it."""
        if self.stopping.is_set():
            return
        self._told = False
        self._process = subprocess.Popen(  # noqa: S603 -- this interpreter and this package
            self._command, stdin=subprocess.DEVNULL, process_group=0
        )
        if self.stopping.is_set():
            # The signal came between the look above and the start: pass it on now.
            self._process.send_signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Tell, once, that the child has ended by itself."""
        if self._told or self._process is None or self._process.poll() is None:
            return False
        self.code = self._process.returncode
        self._told = True
        return True

    def stop(self, number: int) -> None:
        """Ask the child to stop and wait until it has."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
        self.wait()

    def wait(self) -> int:
        """Wait for the child's end, as long as its grace lasts, then end it; give its code."""
        if self._process is None:
            return self.code
        try:
            self.code = self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            _say("the worker does not stop within its grace and is killed")
            self._process.kill()
            self.code = self._process.wait(_KILL_WAIT_S)
        return self.code

    def stopped_by_signals(self) -> _Forwarding:
        """Pass SIGINT and SIGTERM on to the child for the length of a block."""
        return _Forwarding(self)

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on; the first stops gracefully, the second at once, as without reload."""
        self.stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


class _Forwarding:
    """The signal handlers of the parent, put back at the end."""

    def __init__(self, child: _Child) -> None:
        self._child = child
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._child.on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def folder_of(name: str | None) -> Path:
    """Find the folder to watch without importing anything: the top package, or this folder."""
    here = Path.cwd()
    top = "" if name is None else name.partition(":")[0].partition(".")[0]
    package = here / top
    return package if top and (package / "__init__.py").is_file() else here


def files_below(folder: Path) -> Seen:
    """Give the .py files below a folder with the time and size of each.

    Hidden folders, caches and virtual environments are left out.
    """
    seen: Seen = {}
    for path in _walk(folder):
        try:
            status = path.stat()
        except OSError:
            # It has gone since the folder was listed: the next look compares without it.
            continue
        seen[str(path)] = (status.st_mtime_ns, status.st_size)
        if len(seen) >= FILES_MAX:
            break
    return seen


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".")
            and each not in _SKIPPED
            and not Path(root, each, "pyvenv.cfg").exists()
        )
        yield from (Path(root, each) for each in sorted(files) if each.endswith(".py"))


def _names(paths: list[str], folder: Path) -> str:
    return listed((str(Path(path).relative_to(folder)) for path in paths), 3)


def _say(text: str) -> None:
    click.echo(f"reload: {text}", err=True)
