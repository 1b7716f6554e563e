"""The file of who is overdue: nothing that others do to it, or put there, harms a store."""

import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.frozen import freeze
from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.sqlite.engine.overdue import LATE_NS, Overdue

PATIENCE_S = 60
VICTIM = b"somebody's file, longer than any mark is"
PROCESSES, THREADS, WRITES = 4, 5, 4
# Far above what any of them waits, far below what the unlucky waited before there was a line.
WAIT_MAX_S = 8.0
# Marks itself overdue, does what it is told to the file, and goes on as before.
ABUSED = """
import os, resource, signal, sys
from pathlib import Path
from treadle.store.sqlite.engine.overdue import LATE_NS, Overdue

how, database = sys.argv[1], Path(sys.argv[2])
database.touch()
mark, path = Overdue(), Path(f"{database}-next")
mark.open(database)
late = mark.now() - LATE_NS
mark.pause(late, 0.0)
assert mark.marked
if how == "cut to nothing":
    os.truncate(path, 0)
if how == "cut short":
    os.truncate(path, 5)
if how == "removed":
    path.unlink()
if how == "grown":
    path.write_bytes(b"x" * 100_000)
if how == "no room":
    os.truncate(path, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
assert not mark.before(late - 1)
mark.pause(late, 0.0)
mark.done(late)
assert not mark.before(mark.now())
"""
# Several threads that write to one file all the time; prints the longest wait of each.
WRITERS = f"""
import sys, threading, time
from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.settings import Settings
from treadle.store.open import open_store

store = open_store(f"sqlite:///{{sys.argv[1]}}", "default", Settings())
store.open_now()
print("ready", flush=True)
sys.stdin.readline()

def write():
    longest = 0.0
    for _ in range({WRITES}):
        begun = time.monotonic()
        job = NewJob(new_id(), "shop.mail", b"[1,[]]")
        store.enqueue_now(job.id, [job])
        longest = max(longest, time.monotonic() - begun)
    print(longest, flush=True)

threads = [threading.Thread(target=write) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def enqueue(path: Path) -> None:
    """Open a store as any producer would, and store a job."""
    store = open_store(f"sqlite:///{path}", "default", Settings())
    store.open_now()
    try:
        job = NewJob(new_id(), "shop.mail", b"[1,[]]")
        assert len(store.enqueue_now(job.id, [job])) == 1
    finally:
        store.close_now()


@pytest.mark.parametrize(
    "how", ["cut to nothing", "cut short", "removed", "grown", "no room", "left alone"]
)
def test_what_others_do_to_the_file_ends_no_process(tmp_path: Path, how: str) -> None:
    """A copy onto it, a hand that empties it or a full disk costs a mark, and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", ABUSED, how, str(tmp_path / "jobs.db")],
        check=False,
        timeout=PATIENCE_S,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


# A worker and a producer in one process, whose bells are cut short while somebody listens.
RUNG = """
import asyncio, os, sys
from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.settings import Settings
from treadle.store.open import open_store

async def main():
    store = open_store(f"sqlite:///{sys.argv[1]}", "default", Settings())
    await store.open()
    for _ in range(3):
        for kind in ("bell", "ends"):
            os.truncate(f"{sys.argv[1]}-{kind}", int(sys.argv[2]))
        job = NewJob(new_id(), "shop.mail", b"[1,[]]")
        await store.enqueue(job.id, [job])
        assert await store.wait(work=True, ends=False, timeout=20.0)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("left", [0, 5])
def test_bells_that_are_cut_short_end_no_process(tmp_path: Path, left: int) -> None:
    """Neither who rings nor who listens; the bell is made whole, and heard."""
    done = subprocess.run(
        [sys.executable, "-c", RUNG, str(tmp_path / "jobs.db"), str(left)],
        check=False,
        timeout=PATIENCE_S,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _second_name(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _: Path) -> None:
    path.mkdir()


def _database(path: Path, _: Path) -> None:
    enqueue(path)


@pytest.mark.parametrize("plant", [_link, _second_name, _pipe, _folder, _database])
def test_what_lies_in_its_place_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, plant: Callable[[Path, Path], None]
) -> None:
    """Nothing is written into it; the store says so and does without."""
    victim, path = tmp_path / "victim", tmp_path / "jobs.db-next"
    victim.write_bytes(VICTIM[:10])
    plant(path, victim)
    before = path.read_bytes() if path.is_file() else b""
    with caplog.at_level(logging.WARNING, "treadle.store"):
        enqueue(tmp_path / "jobs.db")
    [said] = caplog.messages
    assert str(path) in said
    assert "cannot be used" in said
    assert victim.read_bytes() == VICTIM[:10]
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_database_of_that_name_keeps_its_locks(tmp_path: Path) -> None:
    """A process that has both open does not lose the lock of the one by opening the other."""
    held = sqlite3.connect(tmp_path / "jobs.db-next", isolation_level=None)
    held.execute("create table kept (name)")
    held.execute("begin immediate")
    enqueue(tmp_path / "jobs.db")
    asked = subprocess.run(
        [sys.executable, "-c", LOCKED, str(tmp_path / "jobs.db-next")],
        check=True,
        timeout=PATIENCE_S,
        capture_output=True,
        text=True,
    )
    assert asked.stdout == "database is locked\n"
    held.close()


LOCKED = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("begin immediate")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_the_files_beside_it_have_the_rights_of_the_database(tmp_path: Path) -> None:
    """Who may write the one may write the others, whoever made them: SQLite's rule for its log."""
    path = tmp_path / "jobs.db"
    path.touch()
    path.chmod(0o660)
    owner = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    enqueue(path)
    for kind in ("next", "bell", "ends"):
        made = Path(f"{path}-{kind}").stat()
        assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o660, *owner)


def test_all_names_of_a_database_share_what_lies_beside_it(tmp_path: Path) -> None:
    """Who opens it by a link has the same mark and bells, beside the file that is linked to."""
    real, link = tmp_path / "data", tmp_path / "app"
    real.mkdir()
    link.mkdir()
    enqueue(real / "jobs.db")
    (link / "jobs.db").symlink_to(real / "jobs.db")
    enqueue(link / "jobs.db")
    assert [one.name for one in link.iterdir()] == ["jobs.db"]


def test_a_child_shares_the_mark_of_its_parent(tmp_path: Path) -> None:
    """After a fork both are two processes with one file; a child that ends leaves it open."""
    (tmp_path / "jobs.db").touch()
    mark = Overdue()
    mark.open(tmp_path / "jobs.db")
    late = mark.now() - LATE_NS
    child = os.fork()
    if child == 0:
        mark.pause(late, 0.03)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert mark.marked
    mark.done(late)
    assert not mark.marked


def test_one_that_is_stopped_with_its_mark_stops_nobody(tmp_path: Path) -> None:
    """Its mark ends while it stands still, and it is served when it goes on."""
    path = tmp_path / "jobs.db"
    enqueue(path)
    mark = Overdue()
    mark.open(path)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("begin immediate")
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        while not mark.before(mark.now()):
            os.sched_yield()
        freeze(other)
        foreign.execute("commit")
        enqueue(path)
        other.send_signal(signal.SIGCONT)
        assert len(other.stdout.readlines()) == THREADS
    [(stored,)] = foreign.execute("select count(*) from treadle_jobs").fetchall()
    assert stored == 2 + THREADS * WRITES
    foreign.close()


def test_a_crowd_of_overdue_writers_is_served_to_the_last(tmp_path: Path) -> None:
    """Twenty threads in four processes, and the lock held by turns: none waits without end."""
    path = tmp_path / "jobs.db"
    enqueue(path)
    foreign = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_S)
    foreign.execute("begin immediate")
    others = [
        subprocess.Popen(
            [sys.executable, "-c", WRITERS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for one in others:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    waits = [_go(one) for one in others]
    until = time.monotonic() + 0.5
    while time.monotonic() < until:  # All of them are overdue when the lock is free.
        threading.Event().wait(0.05)
    foreign.execute("commit")
    longest = [float(line) for wait in waits for line in wait()]
    assert len(longest) == PROCESSES * THREADS
    assert max(longest) < WAIT_MAX_S
    [(stored,)] = foreign.execute("select count(*) from treadle_jobs").fetchall()
    assert stored == 1 + PROCESSES * THREADS * WRITES
    foreign.close()


def _go(process: subprocess.Popen[str]) -> Callable[[], list[str]]:
    """Let a process write; give what waits for its end."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()

    def wait() -> list[str]:
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        return said.splitlines()

    return wait
