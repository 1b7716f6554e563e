"""An error that strikes a thread in the midst of an enqueue: Ctrl-C, or a task's soft timeout."""

from pathlib import Path

import pytest

from tests.faults.far import EACH_STORE
from tests.faults.programs import PATIENCE_S, place_on, said_by


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("store", EACH_STORE)
def test_a_thread_that_an_error_has_struck_in_an_enqueue_enqueues_again(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Wherever it was struck: nothing that it has left behind stands in its own way."""
    said = said_by("tests.faults.struck", *place_on(store, request, tmp_path))
    assert said["refused"] == []
    assert said["stored"] == said["places"] > 100
