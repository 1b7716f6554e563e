"""Whose write is next on a SQLite file: who has waited too long for its lock."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from treadle.core.clock import SystemClock
from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.sqlite.engine.clock import StoreClock
from treadle.store.sqlite.engine.overdue import LATE_NS, LONGEST_NS, Overdue
from treadle.store.sqlite.engine.pool import Pool
from treadle.store.sqlite.engine.runner import Pauses, Runner

BEGUN_NS = 10**12
ROUNDS = 5
PATIENCE_S = 20
# Another process: it stores one job, and says when it has done so.
PRODUCER = """
import sys
from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.settings import Settings
from treadle.store.open import open_store

store = open_store(f"sqlite:///{sys.argv[1]}", "default", Settings())
store.open_now()
job = NewJob(new_id(), "shop.mail", b"[1,[]]")
store.enqueue_now(job.id, [job])
print("stored", flush=True)
"""

Write = Callable[["Yard", Runner, str], Pauses[None]]


class Yard:
    """One file, writers that have nothing in common but the file, and a clock that is moved."""

    def __init__(self, folder: Path) -> None:
        self.now = BEGUN_NS
        self.order: list[str] = []
        self.folder = folder
        self.foreign = sqlite3.connect(folder / "jobs.db", isolation_level=None)
        self.foreign.execute("pragma journal_mode = wal")
        self.foreign.execute("create table wrote (name)")
        self.foreign.execute("begin immediate")
        self._pools: list[Pool] = []

    def runner(self) -> Runner:
        """Make a runner that shares nothing with others, like that of another process."""
        pool = Pool(self.folder / "jobs.db")
        self._pools.append(pool)
        runner = Runner(pool, StoreClock(SystemClock(), "t_"), name="the file", timeout=PATIENCE_S)
        runner.overdue = Overdue(lambda: self.now)
        runner.overdue.open(self.folder / "jobs.db")
        return runner

    def write(self, runner: Runner, name: str) -> Pauses[None]:
        """Begin to write by a transaction."""
        return runner.write(lambda db, _: self._put(db, name), clocked=False)

    def one(self, runner: Runner, name: str) -> Pauses[None]:
        """Begin to write by a single statement."""
        return runner.one(lambda db, _: self._put(db, name), 0)

    def _put(self, db: sqlite3.Connection, name: str) -> None:
        db.execute("insert into wrote values (?)", (name,))
        self.order.append(name)

    def waiting(self, write: Pauses[None]) -> bool:
        """Take one step of a write; tell whether it still waits."""
        return next(write, None) is not None

    def close(self) -> None:
        """Close all that is open on the file."""
        self.foreign.close()
        for pool in self._pools:
            pool.close()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """Give a file whose lock somebody else holds."""
    yard = Yard(tmp_path)
    yield yard
    yard.close()


@pytest.mark.parametrize("kind", [Yard.write, Yard.one], ids=["transaction", "statement"])
@pytest.mark.parametrize("apart", [True, False], ids=["two processes", "one process"])
def test_who_has_waited_too_long_is_next(yard: Yard, kind: Write, *, apart: bool) -> None:
    """However often who drains asks for the free lock, an overdue write has it first."""
    drainer = yard.runner()
    late = kind(yard, yard.runner() if apart else drainer, "late")
    assert yard.waiting(late)
    yard.now += LATE_NS
    assert yard.waiting(late)
    yard.foreign.execute("commit")
    rounds = [yard.write(drainer, f"drain {n}") for n in range(ROUNDS)]
    assert all(yard.waiting(one) for one in rounds)
    assert not yard.waiting(late)
    assert not any(yard.waiting(one) for one in rounds)
    assert yard.order == ["late", *(f"drain {n}" for n in range(ROUNDS))]


def test_who_has_waited_a_little_has_no_claim_to_the_lock(yard: Yard) -> None:
    """Below the bound the lock is for whoever comes: no hand-over slows a fleet down."""
    late = yard.write(yard.runner(), "late")
    assert yard.waiting(late)
    yard.now += LATE_NS - 1
    assert yard.waiting(late)
    yard.foreign.execute("commit")
    assert not yard.waiting(yard.write(yard.runner(), "drain"))
    assert not yard.waiting(late)


def test_in_memory_the_only_connection_goes_by_the_same_rule(yard: Yard) -> None:
    """Where there is no file, who has waited too long for the connection has it first."""
    pool = Pool(None)
    runner = Runner(pool, StoreClock(SystemClock(), "t_"), name="memory", timeout=PATIENCE_S)
    runner.overdue = Overdue(lambda: yard.now)
    held = pool.take()
    assert held is not None
    held.execute("create table wrote (name)")
    late = yard.write(runner, "late")
    assert yard.waiting(late)
    yard.now += LATE_NS
    assert yard.waiting(late)
    pool.give(held)
    rounds = [yard.write(runner, f"drain {n}") for n in range(ROUNDS)]
    assert all(yard.waiting(one) for one in rounds)
    assert not yard.waiting(late)
    assert not any(yard.waiting(one) for one in rounds)
    assert yard.order == ["late", *(f"drain {n}" for n in range(ROUNDS))]
    pool.close()


def test_of_several_the_one_who_waits_longest_is_next(yard: Yard) -> None:
    """Overdue writes go in the order in which they came, not in that in which they look."""
    first = yard.write(yard.runner(), "first")
    assert yard.waiting(first)
    yard.now += 1
    second = yard.write(yard.runner(), "second")
    assert yard.waiting(second)
    yard.now += LATE_NS
    assert yard.waiting(second)
    assert yard.waiting(first)
    assert yard.waiting(second)
    yard.foreign.execute("commit")
    drain = yard.write(yard.runner(), "drain")
    assert yard.waiting(second)
    assert yard.waiting(drain)
    assert not yard.waiting(first)
    assert not yard.waiting(second)
    assert not yard.waiting(drain)
    assert yard.order == ["first", "second", "drain"]


@pytest.mark.parametrize("gone", [True, False], ids=["given up", "standing still"])
def test_a_mark_without_its_writer_stops_nobody(yard: Yard, *, gone: bool) -> None:
    """A write that is given up takes its mark away; one that stands still loses it."""
    late = yard.write(yard.runner(), "late")
    assert yard.waiting(late)
    yard.now += LATE_NS
    assert yard.waiting(late)
    yard.foreign.execute("commit")
    if gone:
        late.close()
    else:
        yard.now += LONGEST_NS
    assert not yard.waiting(yard.write(yard.runner(), "drain"))


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (BEGUN_NS, BEGUN_NS + LONGEST_NS + 1),
        (BEGUN_NS + 1, BEGUN_NS + 2),
        (-1, -1),
        (2**62, 2**62),
    ],
    ids=["too long", "not yet begun", "negative", "far away"],
)
def test_a_mark_that_nobody_can_have_put_is_ignored(yard: Yard, since: int, until: int) -> None:
    """What an earlier boot or a foreign hand left in the file holds up no write."""
    runner = yard.runner()
    (yard.folder / "jobs.db-next").write_bytes(
        since.to_bytes(8, sys.byteorder, signed=True)
        + until.to_bytes(8, sys.byteorder, signed=True)
    )
    yard.foreign.execute("commit")
    assert not yard.waiting(yard.write(runner, "drain"))


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "alive"])
def test_an_overdue_process_is_served_or_forgotten(tmp_path: Path, *, killed: bool) -> None:
    """A process marks itself while it waits; alive it stores its job, killed it stops nobody."""
    path = tmp_path / "jobs.db"
    store = open_store(f"sqlite:///{path}", "default", Settings())
    store.open_now()
    seen = Overdue()
    seen.open(path)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("begin immediate")
    with subprocess.Popen(
        [sys.executable, "-c", PRODUCER, str(path)], stdout=subprocess.PIPE, text=True
    ) as producer:
        assert producer.stdout is not None
        while not seen.before(seen.now()):
            assert producer.poll() is None
            os.sched_yield()
        if killed:
            producer.kill()
            producer.wait(PATIENCE_S)
        foreign.execute("commit")
        job = NewJob(new_id(), "shop.mail", b"[1,[]]")
        assert len(store.enqueue_now(job.id, [job])) == 1
        assert producer.stdout.readline() == ("" if killed else "stored\n")
    [(stored,)] = foreign.execute("select count(*) from treadle_jobs").fetchall()
    assert stored == (1 if killed else 2)
    foreign.close()
    store.close_now()
