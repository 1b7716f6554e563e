"""A signal handler that enqueues, whatever line of treadle's own code it interrupts."""

import asyncio
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final
from uuid import uuid4

import pytest

import treadle
from tests.faults.far import EACH_STORE
from treadle import Settings, StoreUnavailable, Treadle
from treadle.store.postgres.store import PostgresStore

SOURCES: Final = str(Path(treadle.__file__).parent)
HANG_S: Final = 10.0
"""After how long a call counts as one that waits for itself; that would be for 20 s."""
Call = Callable[[Treadle], object]


class Striker:
    """Sends this process a signal at one line of treadle's code; its handler enqueues."""

    def __init__(self, app: Treadle) -> None:
        self.app = app
        self.at = 0
        self.lines = 0
        self.struck = ""
        self.refused: list[str] = []
        self.stored: list[str] = []
        self.slowest = 0.0

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Enqueue, as a user's handler does."""
        begun = time.monotonic()
        try:
            self.stored.append(self.app.enqueue("touch", "handler").id)
        except StoreUnavailable as error:
            self.refused.append(str(error))
        self.slowest = max(self.slowest, time.monotonic() - begun)

    def hangs(self, _number: int, _frame: FrameType | None) -> None:
        """End a call that waits for itself."""
        raise AssertionError(f"it waits for itself, interrupted at {self.struck}")

    def trace(self, frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401
        """Count the lines of treadle's code, and strike at one."""
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                self.struck = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                signal.raise_signal(signal.SIGUSR1)
        return self.trace

    @contextmanager
    def armed(self, at: int) -> Iterator[None]:
        """Strike at this line of the block, and end it when it hangs."""
        self.at, self.lines, self.struck = at, 0, ""
        before = sys.gettrace()
        signal.setitimer(signal.ITIMER_REAL, HANG_S)
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def handling(striker: Striker) -> Iterator[None]:
    """Set the handlers of a striker."""
    before = signal.signal(signal.SIGUSR1, striker.handle)
    alarm = signal.signal(signal.SIGALRM, striker.hangs)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGALRM, alarm)


@pytest.fixture(params=["memory", *EACH_STORE])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on each store, with one job in it."""
    namespace = f"n{uuid4().hex[:8]}"
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'jobs.db'}"}
    url = urls.get(request.param) or request.getfixturevalue(f"{request.param}_url")
    if request.param == "postgres":
        store = PostgresStore(url, namespace, Settings())
        store.migrate_now()
        store.close_now()
    app = Treadle(url, namespace=namespace, settings={"store_timeout": 20})
    app.task(name="touch")(touch)
    yield app
    app.close()


def touch(key: str) -> None:
    """Do nothing."""


def enqueue(app: Treadle) -> object:
    """Enqueue one job."""
    return app.enqueue("touch", "main")


def enqueue_many(app: Treadle) -> object:
    """Enqueue two at once."""
    return app.named("touch").enqueue_many([("main",), ("main",)])


def look(app: Treadle) -> object:
    """Read a job."""
    return app.job(app.enqueue("touch", "main").id).refresh()


def lists(app: Treadle) -> object:
    """Ask through the background loop."""
    return app.jobs(limit=1)


def on_a_loop(app: Treadle) -> object:
    """Enqueue from a coroutine."""

    async def both() -> None:
        await app.aenqueue("touch", "main")
        await app.named("touch").aenqueue_many([("main",), ("main",)])

    return asyncio.run(both())


@pytest.mark.filterwarnings("ignore:.*with a running event loop")
@pytest.mark.parametrize("call", [enqueue, enqueue_many, look, lists, on_a_loop])
def test_a_handler_that_interrupts_treadle_enqueues_or_is_refused_at_once(
    app: Treadle, call: Call
) -> None:
    """At every line of a call: neither waits for the other, and both are stored or refused."""
    call(app)
    striker = Striker(app)
    with handling(striker):
        with striker.armed(0):
            call(app)
        for at in range(1, striker.lines + 1):
            with striker.armed(at):
                call(app)
    assert striker.slowest < HANG_S / 2
    assert all("a signal handler" in error for error in striker.refused), striker.refused
    assert striker.refused or call is lists
    assert striker.stored
    assert [app.job(id_).args for id_ in striker.stored] == [("handler",)] * len(striker.stored)


def test_a_handler_is_refused_while_its_thread_waits_for_the_write_of_another(
    tmp_path: Path,
) -> None:
    """It need not wait until the writer, whom the thread joined, is given up for lost."""
    file = tmp_path / "jobs.db"
    with closing(Treadle(f"sqlite:///{file}", settings={"store_timeout": 20})) as app:
        app.task(name="touch")(touch)
        app.enqueue("touch", "first")
        striker = Striker(app)
        with (
            closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other,
            handling(striker),
        ):
            other.execute("begin immediate")
            leader = threading.Thread(target=app.enqueue, args=("touch", "leads"))
            leader.start()
            main = threading.get_ident()

            def strike() -> None:
                # Not before the main thread stands behind the leader.
                while not app.link.writer._queue:  # noqa: SLF001
                    time.sleep(0.001)
                signal.pthread_kill(main, signal.SIGUSR1)
                while not striker.refused and not striker.stored and not late.is_set():
                    time.sleep(0.001)
                other.rollback()

            late = threading.Event()
            timer = threading.Timer(15, late.set)
            helper = threading.Thread(target=strike)
            for thread in (timer, helper):
                thread.start()
            app.enqueue("touch", "follows")
            timer.cancel()
            for thread in (leader, helper, timer):
                thread.join()
    assert striker.slowest < HANG_S / 2
    assert len(striker.refused) == 1
