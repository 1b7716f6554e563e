"""An error that strikes a thread in the midst of an enqueue: Ctrl-C, or a task's soft timeout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dis import opname
from pathlib import Path
from types import FrameType
from typing import Any, Final
from uuid import uuid4

import pytest

import treadle
from tests.faults.far import EACH_STORE
from treadle import Settings, StoreError, Treadle
from treadle.store.postgres.store import PostgresStore

SOURCES: Final = str(Path(treadle.__file__).parent)
CHECKED: Final = ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD")
"""After these Python looks whether there is a signal, or an error for the thread, and at no other
instruction; so a lock that `with` has taken is always given back."""


class Struck(BaseException):
    """What strikes."""


class Striker:
    """Raises an error at one of the places of treadle's code at which Python may."""

    def __init__(self) -> None:
        self.at = 0
        self.places = 0
        self.struck = ""
        self._last: dict[FrameType, str] = {}

    def trace(self, frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401
        """Count the places, and strike at one."""
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            last = self._last.get(frame, "RESUME")
            self._last[frame] = opname[frame.f_code.co_code[frame.f_lasti]]
            self.places += last in CHECKED
            if last in CHECKED and self.places == self.at:
                self.struck = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise Struck
        return self.trace

    @contextmanager
    def armed(self, at: int) -> Iterator[None]:
        """Strike at this place of the block."""
        self.at, self.places, self.struck = at, 0, ""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        except Struck:
            assert self.struck
        finally:
            sys.settrace(before)
            self._last.clear()


@pytest.fixture(params=EACH_STORE)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on each store."""
    namespace = f"n{uuid4().hex[:8]}"
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_url")
    if request.param == "postgres":
        store = PostgresStore(url, namespace, Settings())
        store.migrate_now()
        store.close_now()
    app = Treadle(url, namespace=namespace)
    app.task(name="touch")(touch)
    yield app
    app.close()


def touch(key: str) -> None:
    """Do nothing."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_thread_that_an_error_has_struck_in_an_enqueue_enqueues_again(app: Treadle) -> None:
    """Wherever it was struck: nothing that it has left behind stands in its own way."""
    app.enqueue("touch", "first")
    # One that is struck as it hands its turn on is given up for lost after that time.
    app.link.writer._patience = 0.1  # noqa: SLF001
    striker = Striker()
    with striker.armed(0):
        app.enqueue("touch", "counts")
    places = striker.places
    assert places > 100
    later = []
    for at in range(1, places + 1):
        with striker.armed(at):
            app.enqueue("touch", "struck")
        try:
            later.append(app.enqueue("touch", "later"))
        except StoreError as error:
            pytest.fail(f"after an error at {striker.struck}: {error}")
    found = [job.refresh().args for job in later]
    assert found == [("later",)] * places
