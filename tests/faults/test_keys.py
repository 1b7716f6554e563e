"""Keys under real processes, on each store: who comes at once, and who is killed in between.

At all times a key has one active job at most and one that waits behind it, and in the end no key
is held by nothing.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults import keyed
from treadle import Treadle
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store

ROOT: Final = Path(keyed.__file__).parents[2]
WAIT_S: Final = 60.0
"""Eight programs start at once, on a machine that may be busy with others."""
LOOK_S: Final = 0.05
NAMES: Final = [f"unique:hold:k{n}" for n in range(keyed.NAMES)]
PRODUCER_POINTS: Final = ["enqueue.before_commit", "enqueue.after_commit"]
# Above the steps of a test together: each has a limit of its own, and says what it waited for.
pytestmark = pytest.mark.timeout(6 * WAIT_S)
WORKER_POINTS: Final = [
    *("claim.accepted", "execute.before_start", "execute.after_return"),
    *("exchange.settled", "exchange.before_commit", "exchange.after_commit"),
]


class Place:
    """A namespace of a store, and the programs that work on it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.namespace = f"keys_{secrets.token_hex(4)}"
        self.ledger = folder / "ledger.txt"
        self.app: Treadle = keyed.build(url, self.namespace, self.ledger)
        asyncio.run(self._migrate())

    def _store(self) -> Store:
        return open_store(self.url, self.namespace, Settings())

    async def _migrate(self) -> None:
        store = self._store()
        if self.url.startswith("postgresql"):
            await store.migrate()
        await store.open()
        await store.close()

    def start(self, role: str, *words: str, fault: str | None = None) -> "subprocess.Popen[str]":
        """Start a program, under a fault if one is named."""
        armed = [] if fault is None else ["-m", "treadle.testing.faults", fault, "--"]
        command = [sys.executable, *armed, keyed.__file__, role, self.url, self.namespace]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        return subprocess.Popen(
            [*command, str(self.ledger), *words], cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
            env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def active(self) -> Counter[str]:
        """Count the live jobs of each key, those that wait behind another one apart."""
        found: Counter[str] = Counter()
        for job in self.app.jobs(limit=1_000):
            if not job.is_terminal:
                found[f"{job.key} {'behind' if job.state == 'blocked' else 'active'}"] += 1
        return found

    def holders(self) -> list[str | None]:
        """Tell who holds each key, once upkeep has come by."""

        async def ask() -> list[str | None]:
            store = self._store()
            await store.open()
            await store.prune(500)
            found = await store.keys(NAMES)
            await store.close()
            return [None if one is None else one.job.hex() for one in found]

        return asyncio.run(ask())

    def work_off(self) -> None:
        """Let workers end everything; then nothing may hold a key."""
        if self.active():
            self._stay_until_all_ended()
        assert self.holders() == [None] * keyed.NAMES

    def _stay_until_all_ended(self) -> None:
        """Let a worker stay until what dead ones have left was taken over and ended."""
        worker = self.start("worker", "--stay")
        deadline = time.monotonic() + WAIT_S
        while self.active():
            assert time.monotonic() < deadline, f"still there: {self.active()}"
            time.sleep(LOOK_S)
        worker.send_signal(signal.SIGTERM)
        assert end(worker) == 0


def end(process: "subprocess.Popen[str]") -> int:
    """Wait for a program's end, which is its own or by SIGKILL; give its code."""
    try:
        said, _ = process.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[0]
        pytest.fail(f"{process.args!r} has not ended in {WAIT_S} s: {said!s}")
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give a namespace on each of the stores."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
    else:
        url = request.getfixturevalue(f"{request.param}_url")
    made = Place(url, tmp_path)
    yield made
    made.app.close()


@pytest.mark.slow
def test_one_of_eight_processes_has_a_key(place: Place) -> None:
    """Eight processes that want the same keys store one job for each, and no more."""
    producers = [place.start("producer", "--rounds", "20", "--ways", "1") for _ in range(8)]
    stored: list[str] = []
    for producer in producers:
        said, _ = producer.communicate(timeout=WAIT_S)
        assert producer.returncode == 0, said
        stored += said.split()
    jobs = place.app.jobs(limit=1_000)
    assert sorted(stored) == sorted(job.id for job in jobs)
    assert len(jobs) == keyed.NAMES
    assert set(place.holders()) == {job.id.replace("-", "") for job in jobs}


@pytest.mark.slow
def test_no_two_jobs_of_a_key_run_at_once(place: Place) -> None:
    """While producers enqueue and replace and workers end jobs, each job of a key runs alone."""
    producers = [place.start("producer", "--rounds", "25") for _ in range(3)]
    deadline = time.monotonic() + WAIT_S
    while any(producer.poll() is None for producer in producers):
        assert time.monotonic() < deadline, "the producers have not ended"
        # Nobody dies here, and a machine that stands still for a moment must not look like it.
        workers = [place.start("worker", "--lease", "30") for _ in range(2)]
        for worker in workers:
            assert end(worker) == 0
        for count in place.active().values():
            assert count == 1
    assert [end(producer) for producer in producers] == [0, 0, 0]
    place.work_off()
    running: set[str] = set()
    for line in place.ledger.read_text().splitlines():
        word, name = line.split()
        assert (name in running) == (word == "END"), f"{name} ran twice at once"
        running ^= {name}
    assert not running


@pytest.mark.slow
@pytest.mark.parametrize("point", PRODUCER_POINTS)
@pytest.mark.parametrize("nth", [1, 4])
def test_a_producer_killed_at(place: Place, point: str, nth: int) -> None:
    """No key is left with a job that is not there, and none has two."""
    killed = end(place.start("producer", fault=f"{point}:kill@{nth}")) == -signal.SIGKILL
    assert killed or point == "enqueue.before_commit", "only SQLite has that point"
    assert not [name for name, count in place.active().items() if count > 1]
    assert end(place.start("producer")) == 0
    assert not [name for name, count in place.active().items() if count > 1]
    place.work_off()


@pytest.mark.slow
@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_killed_at(place: Place, point: str) -> None:
    """The keys stay with their jobs, and go with their ends, under whichever worker those come."""
    assert end(place.start("producer", "--rounds", "1")) == 0
    before = place.active()
    killed = end(place.start("worker", fault=f"{point}:kill@2")) == -signal.SIGKILL
    assert killed or point in ("exchange.settled", "exchange.before_commit"), "SQLite's own points"
    assert end(place.start("producer", "--rounds", "1")) == 0
    assert not [name for name, count in place.active().items() if count > 1]
    assert before
    place.work_off()
