"""Standing still: a process stopped by SIGSTOP, and with a file's write lock out of its hands."""

import contextlib
import os
import signal
import sqlite3
from pathlib import Path
from subprocess import Popen
from typing import Any, Final

_LOCK_S: Final = 0.5
_FREEZES_MAX: Final = 20


def freeze(child: "Popen[Any]") -> None:
    """Stop a process with SIGSTOP, and wait until all of it stands still."""
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)


def freeze_beside(child: "Popen[Any]", file: Path) -> None:
    """Stop a process in a moment in which it does not hold the file's write lock.

    With the lock in its hands it would keep everybody from the file, and nobody could take over
    what it holds.
    """
    for _ in range(_FREEZES_MAX):
        freeze(child)
        if _is_free(file):
            return
        child.send_signal(signal.SIGCONT)
    raise AssertionError(f"{_FREEZES_MAX} times the process stood still with the file locked")


def _is_free(file: Path) -> bool:
    """Tell whether the file's write lock can be had."""
    with contextlib.closing(sqlite3.connect(file, timeout=_LOCK_S, isolation_level=None)) as db:
        try:
            db.execute("begin immediate")
        except sqlite3.OperationalError:
            return False
        db.execute("rollback")
        return True
