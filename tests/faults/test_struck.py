"""An error that strikes a thread in the midst of an enqueue: Ctrl-C, or a task's soft timeout."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from tests.faults.far import EACH_STORE
from treadle import Settings
from treadle.store.postgres.store import PostgresStore

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 240
"""How long all strikes may take on a busy machine."""


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("store", EACH_STORE)
def test_a_thread_that_an_error_has_struck_in_an_enqueue_enqueues_again(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Wherever it was struck: nothing that it has left behind stands in its own way."""
    namespace = f"n{uuid4().hex[:8]}"
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if store != "sqlite":
        url = str(request.getfixturevalue(f"{store}_url"))
    if store == "postgres":
        made = PostgresStore(url, namespace, Settings())
        made.migrate_now()
        made.close_now()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.faults.struck", url, namespace],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["refused"] == []
    assert said["stored"] == said["places"] > 100
