"""A signal handler that enqueues, whatever line of treadle's own code it interrupts."""

import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.far import EACH_STORE
from tests.faults.programs import PATIENCE_S, place_on, said_by
from tests.faults.striking import CALLS, HANG_S, Striker, handling, opened


@pytest.fixture(params=["memory", *EACH_STORE])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Give the URL of each store, and a namespace there."""
    return place_on(request.param, request, tmp_path)


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("call", CALLS)
def test_a_handler_that_interrupts_treadle_enqueues_or_is_refused_at_once(
    place: tuple[str, str], call: str
) -> None:
    """At every line of a call: neither waits for the other, and both are stored or refused."""
    said = said_by("tests.faults.striking", *place, call)
    assert said["slowest"] < HANG_S
    assert all("a signal handler" in error for error in said["refused"]), said["refused"]
    assert said["refused"] or call == "lists"
    assert said["stored"] > 0
    assert said["others"] == []


def test_a_handler_is_refused_while_its_thread_waits_for_the_write_of_another(
    tmp_path: Path,
) -> None:
    """It need not wait until the writer, whom the thread joined, is given up for lost."""
    file = tmp_path / "jobs.db"
    with closing(opened(f"sqlite:///{file}")) as app:
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
    assert striker.slowest < HANG_S
    assert len(striker.refused) == 1
