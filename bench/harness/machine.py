"""The machine: what the numbers were measured on, without its name.

Reads `/proc`, so it describes Linux; what cannot be read is left empty rather than guessed.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from pathlib import Path

from bench.harness.environments import ROOT


def describe_machine(directory: Path) -> dict[str, object]:
    """Return processor, memory, kernel, Python, SQLite and the file system under `directory`."""
    return {
        "processor": _labelled(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _labelled(Path("/proc/meminfo"), "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "file_system": file_system(directory),
        "load_average_before": [round(one, 2) for one in os.getloadavg()],
    }


def file_system(directory: Path) -> str:
    """Return the type of the file system that holds `directory`, such as `ext4`."""
    mounts = [line.split() for line in _text(Path("/proc/mounts")).splitlines()]
    target = directory.resolve()
    holding = [(len(mount[1]), mount[2]) for mount in mounts if target.is_relative_to(mount[1])]
    return max(holding, default=(0, ""))[1]


def commit() -> dict[str, object]:
    """Return the checkout's commit id, and whether files differ from it."""
    head = _git("rev-parse", "HEAD")
    return {"id": head or "none", "changed": bool(_git("status", "--porcelain"))}


def _git(*words: str) -> str:
    """Return what git says, or nothing where there is no git or no commit."""
    program = shutil.which("git")
    if program is None:
        return ""
    answer = subprocess.run(  # noqa: S603 -- fixed words
        [program, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _labelled(path: Path, label: str) -> str:
    """Return the value of the first `label: value` line of a file in `/proc`."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == label:
            return value.strip()
    return ""


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
