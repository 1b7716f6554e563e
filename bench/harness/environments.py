"""Environments: which interpreter runs which peer, and what each process is told.

Peers live in `.venv-bench`, made here from `requirements/bench.txt` and made again when that
file changes; treadle runs in the environment that runs the suite. So no peer's dependencies
meet treadle's. What a peer says of itself is in `systems.py`.
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
PEERS_ENVIRONMENT = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "requirements" / "bench.txt"
OURS = "treadle"
_SETUP_LIMIT_S = 600.0
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")


def is_ours(module: str) -> bool:
    """Say whether a peer file measures treadle itself."""
    return module.startswith(OURS)


def interpreter(module: str) -> Path:
    """Return the interpreter that has this peer's library."""
    return Path(sys.executable) if is_ours(module) else PEERS_ENVIRONMENT / "bin" / "python"


def environment(store: Path, marks: Path) -> dict[str, str]:
    """Return this process's environment plus where the store and the marks are."""
    return {
        **os.environ,
        STORE_VARIABLE: str(store),
        MARKS_VARIABLE: str(marks),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }


def make_peers_environment() -> None:
    """Make `.venv-bench` with the pinned peers, unless it is already as pinned.

    Raises:
        BenchError: pip failed; the end of its output is in the message.
    """
    stamp = PEERS_ENVIRONMENT / "treadle-bench-requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    python = str(PEERS_ENVIRONMENT / "bin" / "python")
    commands = (
        [sys.executable, "-m", "venv", "--clear", str(PEERS_ENVIRONMENT)],
        [python, *_PIP, "--requirement", str(REQUIREMENTS)],
    )
    with tempfile.TemporaryDirectory(prefix="treadle-bench-setup-") as scratch:
        for number, command in enumerate(commands):
            log = Path(scratch) / f"{number}.log"
            run_to_end(command, env=os.environ, cwd=ROOT, log=log, timeout_s=_SETUP_LIMIT_S)
    stamp.write_text(wanted)
