"""Environments: which interpreter runs which peer, and what each process is told.

Peers live in `.venv-bench`, made here from `requirements/bench.txt` and made again when that
file changes; a peer whose versions do not go with the others' has `requirements/bench-<peer>.txt`
and an environment of that name. treadle runs in the environment that runs the suite. So no
peer's dependencies meet treadle's. What a peer says of itself is in `systems.py`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.harness.marks import MARKS_VARIABLE
from bench.harness.processes import BenchError, run_to_end
from bench.peers.base import STORE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
OURS = "treadle"
_REQUIREMENTS = ROOT / "requirements"
_NEEDS_PYTHON: Final = {"bench-oban": (3, 12)}
"""The oldest minor version of Python for pins that the one which runs the suite may not do for."""
_PYTHONS_TRIED: Final = 8
_SETUP_LIMIT_S = 600.0
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")


def is_ours(module: str) -> bool:
    """Say whether a peer file measures treadle itself."""
    return module.startswith(OURS)


def interpreter(module: str) -> Path:
    """Return the interpreter that has this peer's library."""
    return Path(sys.executable) if is_ours(module) else _python(requirements(module))


def requirements(module: str) -> Path:
    """Return the pins that this peer file is measured with: its peer's own, or the common ones."""
    own = _REQUIREMENTS / f"bench-{module.partition('_')[0]}.txt"
    return own if own.exists() else _REQUIREMENTS / "bench.txt"


def environment(store: str, marks: Path) -> dict[str, str]:
    """Return this process's environment plus the store's URL and where the marks are."""
    return {
        **os.environ,
        STORE_VARIABLE: store,
        MARKS_VARIABLE: str(marks),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }


def make_environment(pins: Path) -> None:
    """Make the environment of these pins, unless it is already as pinned.

    Raises:
        BenchError: pip failed, with the end of its output, or no Python is new enough.
    """
    python = _python(pins)
    folder = python.parents[1]
    stamp = folder / "treadle-bench-requirements.sha256"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    commands = (
        [_creator(pins), "-m", "venv", "--clear", str(folder)],
        [str(python), *_PIP, "--requirement", str(pins)],
    )
    with tempfile.TemporaryDirectory(prefix="treadle-bench-setup-") as scratch:
        for number, command in enumerate(commands):
            log = Path(scratch) / f"{number}.log"
            run_to_end(command, env=os.environ, cwd=ROOT, log=log, timeout_s=_SETUP_LIMIT_S)
    stamp.write_text(wanted)


def _python(pins: Path) -> Path:
    return ROOT / f".venv-{pins.stem}" / "bin" / "python"


def _creator(pins: Path) -> str:
    """Return the interpreter that makes an environment: this one, or one that is new enough.

    Raises:
        BenchError: there is none on the PATH or among pyenv's versions.
    """
    oldest = _NEEDS_PYTHON.get(pins.stem, (3, 11))
    if sys.version_info[:2] >= oldest:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(oldest[1], oldest[1] + _PYTHONS_TRIED):
        inside = sorted(str(one) for one in pyenv.glob(f"3.{minor}.*/bin/python"))
        found = inside[-1] if inside else shutil.which(f"python3.{minor}")
        if found is not None:
            return found
    raise BenchError(f"{pins.name} needs Python 3.{oldest[1]} or later, and there is none here")
