"""Environments: which interpreter runs which peer, and what each process is told.

Peers live in `.venv-bench`, made here from `requirements/bench.txt` and made again when that
file changes; a peer whose versions do not go with the others' has `requirements/bench-<peer>.txt`
and an environment of that name. treadle runs in the environment that runs the suite. So no
peer's dependencies meet treadle's. What a peer says of itself is in `systems.py`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from bench.harness.marks import MARKS_VARIABLE
from bench.harness.processes import run_to_end
from bench.peers.base import STORE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
OURS = "treadle"
_REQUIREMENTS = ROOT / "requirements"
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
        BenchError: pip failed; the end of its output is in the message.
    """
    python = _python(pins)
    folder = python.parents[1]
    stamp = folder / "treadle-bench-requirements.sha256"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    commands = (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), *_PIP, "--requirement", str(pins)],
    )
    with tempfile.TemporaryDirectory(prefix="treadle-bench-setup-") as scratch:
        for number, command in enumerate(commands):
            log = Path(scratch) / f"{number}.log"
            run_to_end(command, env=os.environ, cwd=ROOT, log=log, timeout_s=_SETUP_LIMIT_S)
    stamp.write_text(wanted)


def _python(pins: Path) -> Path:
    return ROOT / f".venv-{pins.stem}" / "bin" / "python"
