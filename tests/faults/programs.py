"""Programs of the fault tests that strike at one application: where, and what became of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from treadle import Settings
from treadle.store.postgres.store import PostgresStore

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 240
"""How long all strikes may take on a busy machine."""


def place_on(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Give the URL of a store that is there, and a namespace of its own."""
    namespace = f"n{uuid4().hex[:8]}"
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'jobs.db'}"}
    url = urls.get(store) or str(request.getfixturevalue(f"{store}_url"))
    if store == "postgres":
        made = PostgresStore(url, namespace, Settings())
        made.migrate_now()
        made.close_now()
    return url, namespace


def said_by(module: str, *words: str) -> Any:  # noqa: ANN401 -- whatever it has printed
    """Run a program to its end and read what it has printed, as JSON."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
