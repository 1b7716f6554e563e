"""A terminal for one command: what would a person see who typed it?

The command gets a pseudo-terminal of 120 columns, because programs print otherwise into a pipe
(no colours, whole rows, logs for machines). A thread reads what it prints, so that it never has
to wait for its reader. Every wait ends at the deadline that the page was given.
"""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_ROWS, _COLUMNS = 40, 120
_READ_BYTES = 65_536


class Terminal:
    """One command in a folder, from its start to its end; use it as a context manager.

    Args:
        command: a line for the shell.
        folder: where it runs.
        deadline: monotonic seconds after which nothing is waited for any more.
    """

    def __init__(self, command: str, folder: Path, deadline: float) -> None:
        self._command = command
        self._folder = folder
        self._deadline = deadline
        self._printed: list[bytes] = []
        self._master: int
        self._process: subprocess.Popen[bytes]
        self._reader: threading.Thread

    def __enter__(self) -> Self:
        """Start the command in a session of its own, so that all it starts can be ended."""
        self._master, slave = pty.openpty()
        size = struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                cwd=self._folder,
                env=surroundings(),
                stdin=subprocess.DEVNULL,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        except OSError:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing behind: not the command, nor what it started, nor the thread."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        os.close(self._master)

    def end(self) -> tuple[int | None, str]:
        """Wait for the end; return the exit code (None: it did not end in time) and the print."""
        try:
            code: int | None = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None, self._text()
        # What was printed last may still be on its way; nobody else holds the terminal now.
        self._reader.join(max(0.0, self._deadline - time.monotonic()))
        return code, self._text()

    def stop(self) -> tuple[int | None, str]:
        """Ask the command to stop with SIGTERM, then do as `end`."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        return self.end()

    def _text(self) -> str:
        return b"".join(self._printed).decode("utf-8", "replace")

    def _read(self) -> None:
        """Read until the last holder of the terminal has closed it."""
        while True:
            try:
                part = os.read(self._master, _READ_BYTES)
            except OSError:
                # Linux says so (EIO) when the other end is closed; other systems give no bytes.
                return
            if not part:
                return
            self._printed.append(part)


def surroundings() -> dict[str, str]:
    """Make the environment of a command: this interpreter's programs first, no settings.

    Warnings are errors, but for the one that Python itself leaves off unless it is asked for:
    a script that ends need not close its application. No byte code is kept, because a page may
    write a file anew within the second that tells versions of it apart.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TREADLE_", "PYTEST_", "COV_"))
    }
    programs = str(Path(sys.executable).parent)
    return kept | {
        "PATH": f"{programs}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "TERM": "xterm",
        "COLUMNS": str(_COLUMNS),
    }
