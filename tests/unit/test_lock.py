"""The lock of `app.lock`: one holder over threads, loops and processes, for as long as it lives."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.frozen import freeze_beside
from treadle import LockLost, LockTimeout, Treadle

HOLDER: Final = """
import sys, time
from treadle import Treadle
app = Treadle(sys.argv[1])
lock = app.lock("report", lease=1.5)
lock.acquire()
print(lock.fence, flush=True)
time.sleep(60)
"""
WAIT_S: Final = 40.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Name a store in a file."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def app(url: str) -> Iterator[Treadle]:
    """Give an application on it."""
    made = Treadle(url)
    yield made
    made.close()


def test_a_lock_is_held_in_its_block(app: Treadle) -> None:
    """Nobody else has it meanwhile, whoever comes next has it after, under a higher number."""
    with app.lock("report") as lock:
        first = lock.fence
        assert lock.is_held
        with pytest.raises(LockTimeout, match="'report' was not to be had within 0") as caught:
            app.lock("report", timeout=0.05).acquire()
        assert isinstance(caught.value, TimeoutError)
        with app.lock("other"):
            lock.check()
    with app.lock("report", timeout=0) as later:
        assert later.fence > first
    with pytest.raises(LockLost, match="does not hold it"):
        lock.check()


def test_an_async_block_holds_the_same_lock(app: Treadle) -> None:
    """The loop goes on while a lock is waited for, and has it when the thread gives it up."""

    async def wait_for_it(holder: threading.Event) -> int:
        asyncio.get_running_loop().call_later(0.05, holder.set)
        async with app.lock("report", timeout=WAIT_S) as lock:
            return lock.fence

    with app.lock("report") as lock:
        first, over, release = lock.fence, threading.Event(), threading.Event()
        found: list[int] = []

        def run() -> None:
            found.append(asyncio.run(wait_for_it(release)))
            over.set()

        other = threading.Thread(target=run)
        other.start()
        assert release.wait(WAIT_S)
        assert not over.is_set()
    assert over.wait(WAIT_S)
    other.join(WAIT_S)
    assert found[0] > first


def test_many_threads_hold_a_lock_one_at_a_time(app: Treadle) -> None:
    """No two of them are inside at once, and the numbers come in order."""
    inside: list[int] = []
    fences: list[int] = []

    def work() -> None:
        for _ in range(3):
            with app.lock("report", timeout=WAIT_S) as lock:
                inside.append(1)
                fences.append(lock.fence)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert fences == sorted(set(fences))
    assert len(fences) == 12


def test_who_is_interrupted_as_he_takes_it_does_not_have_it(app: Treadle) -> None:
    """An interrupt, or a soft time limit, comes when the store has just said yes: it is free."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    lock = app.lock("report")
    # Not by a trace or profile function: one that raises can hang the interpreter (3.11).
    with pytest.MonkeyPatch.context() as at_once:
        at_once.setattr(type(lock), "_took", interrupt)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire()
    app.lock("report", timeout=0).acquire().release()


@pytest.mark.slow
def test_a_lock_outlives_its_lease_while_its_holder_lives(app: Treadle) -> None:
    """A thread prolongs it."""
    with app.lock("report", lease=6) as lock:
        held_until = time.monotonic() + 7.2
        while time.monotonic() < held_until:
            with pytest.raises(LockTimeout):
                app.lock("report", timeout=0.2).acquire()
        lock.check()


@pytest.mark.slow
def test_a_lock_falls_with_its_holder(app: Treadle, url: str) -> None:
    """Whoever holds it is killed; the next one has it once the lease has ended, not before."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        first = int(holder.stdout.readline())
        with pytest.raises(LockTimeout):
            app.lock("report", timeout=0.1).acquire()
        holder.kill()
    with app.lock("report", timeout=WAIT_S) as lock:
        assert lock.fence > first


@pytest.mark.slow
def test_a_holder_that_was_stopped_learns_that_it_lost_the_lock(
    app: Treadle, url: str, tmp_path: Path
) -> None:
    """Its check and its release are errors, and the new holder keeps the lock."""
    program = HOLDER.replace("time.sleep(60)", "input()\nprint(lock.is_held, flush=True)") + (
        "try:\n    lock.release()\nexcept Exception as error:\n    print(type(error).__name__)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        first = int(holder.stdout.readline())
        freeze_beside(holder, tmp_path / "jobs.db")
        with app.lock("report", timeout=WAIT_S) as lock:
            assert lock.fence > first
            os.kill(holder.pid, signal.SIGCONT)
            said, _ = holder.communicate("\n", WAIT_S)
            assert said.split() == ["False", "LockLost"]
            lock.check()


def test_what_is_not_held_is_not_released(app: Treadle) -> None:
    """Neither by one who never had it, nor twice, nor is it taken twice by one holder."""
    lock = app.lock("report")
    for use in (lock.release, lock.check, lambda: lock.fence):
        with pytest.raises(LockLost, match="does not hold it"):
            use()
    lock.acquire()
    with pytest.raises(RuntimeError, match="would wait for itself"):
        lock.acquire()
    with pytest.raises(LockLost):
        app.lock("report").release()
    lock.release()
    with pytest.raises(LockLost):
        lock.release()


def test_an_error_of_the_block_is_the_one_that_is_raised(app: Treadle) -> None:
    """The lock is given up, and the error goes on."""
    with pytest.raises(ValueError, match="mine"), app.lock("report"):
        raise ValueError("mine")
    with app.lock("report", timeout=0):
        pass


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
def test_a_name_that_is_none_is_a_value_error(app: Treadle, name: str) -> None:
    """It is said when the lock is made, before anything is waited for."""
    with pytest.raises(ValueError, match="1 to 200 printable characters"):
        app.lock(name)


def test_a_lease_and_a_timeout_have_bounds(app: Treadle) -> None:
    """A lease below a second could not be prolonged in time."""
    with pytest.raises(ValueError, match="at least 1 s"):
        app.lock("report", lease=0.5)
    with pytest.raises(ValueError, match="above zero"):
        app.lock("report", lease=0)
    with pytest.raises(ValueError, match="timeout"):
        app.lock("report", timeout=-1)
