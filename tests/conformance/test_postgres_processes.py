"""What real processes show of the PostgreSQL store: killed workers, and a server that restarts."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest

from tests.faults import workload
from treadle import JobState, Treadle
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import new_job
from treadle.testing.ledger import Ledger
from treadle.testing.servers import Postgres

pytestmark = pytest.mark.slow

ROOT: Final = Path(workload.__file__).parents[2]
WAIT_S: Final = 40.0
LOOK_S: Final = 0.02
QUICK: Final = {
    "TREADLE_LEASE": "1.5",
    "TREADLE_BEAT": "0.1",
    "TREADLE_SUSPECT_AFTER": "0.2",
    "TREADLE_POLL": "0.5",
}


class Scene:
    """A schema with its ledger and the workers on it."""

    def __init__(self, url: str, folder: Path) -> None:
        store = PostgresStore(url, "default", Settings())
        store.migrate_now()
        store.close_now()
        self.url = url
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.txt")
        self.app = workload.build(url, self.ledger)
        self.go = folder / "go"
        """The file until which the stubborn jobs go on."""
        self._logs: dict[int, Path] = {}

    @contextmanager
    def worker(self, settings: Mapping[str, str] = QUICK) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a worker process; it ends with the block at the latest."""
        log = self.folder / f"{uuid4().hex}.log"
        words = [sys.executable, workload.__file__, "worker", self.url, str(self.ledger.path)]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with log.open("wb") as sink:
            process = subprocess.Popen(
                words, cwd=ROOT, env=os.environ | settings | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip
        self._logs[process.pid] = log
        try:
            until(lambda: "is ready" in log.read_text() or process.poll() is not None)
            yield process
        finally:
            process.kill()
            process.wait(WAIT_S)

    def said(self, worker: "subprocess.Popen[bytes]") -> str:
        """Read what a worker has logged."""
        return self._logs[worker.pid].read_text()

    def count(self, word: str) -> Counter[str]:
        """Count the ledger's lines of a word, by key."""
        return Counter(e.key for e in self.ledger.entries() if e.word == word)

    def states(self, ids: list[str]) -> Counter[JobState]:
        """Count the jobs by state; while the server is away nothing is known of them."""
        try:
            return Counter(self.app.job(one).state for one in ids)
        except StoreUnavailable:
            return Counter()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something is true of other processes, bounded."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(LOOK_S)


@pytest.fixture
def scene(postgres_schema: str, tmp_path: Path) -> Iterator[Scene]:
    """Give a scene on the test's schema."""
    made = Scene(postgres_schema, tmp_path)
    yield made
    made.app.close()


def enqueue(app: Treadle, task: str, *calls: tuple[object, ...]) -> list[str]:
    """Enqueue a task's calls and return their ids."""
    return [job.id for job in app.named(task).enqueue_many(list(calls))]


def test_a_killed_workers_jobs_run_again_elsewhere(scene: Scene) -> None:
    """Those that ran when it was killed are taken over; each ends once, under one more attempt."""
    keys = [f"k{n}" for n in range(4)]
    ids = enqueue(scene.app, "stubborn", *((key, str(scene.go)) for key in keys))
    with scene.worker() as doomed:
        until(lambda: set(scene.count("START")) == set(keys))
        doomed.send_signal(signal.SIGKILL)
        doomed.wait(WAIT_S)
        scene.go.touch()
        with scene.worker():
            until(lambda: scene.states(ids)[JobState.SUCCEEDED] == len(ids))
    assert scene.count("END") == Counter(keys)
    assert {scene.app.job(one).attempt for one in ids} == {2}


def test_a_stopped_worker_hands_its_jobs_back(scene: Scene) -> None:
    """SIGTERM lets what runs end and leaves nothing running or lost."""
    ids = enqueue(scene.app, "slow", *((f"k{n}", 0.3) for n in range(8)))
    with scene.worker() as worker:
        until(lambda: len(scene.count("START")) > 0)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(WAIT_S) == 0
    left = scene.states(ids)
    assert left[JobState.SUCCEEDED] + left[JobState.READY] == len(ids)
    assert left[JobState.SUCCEEDED] == len(scene.count("END")) == len(scene.count("START"))


def test_a_paused_worker_is_fenced(scene: Scene) -> None:
    """One that sleeps past its lease finds its jobs done by another, and changes nothing."""
    [job] = enqueue(scene.app, "stubborn", ("k", str(scene.go)))
    with scene.worker() as sleeper:
        until(lambda: len(scene.count("START")) == 1)
        sleeper.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
        scene.go.touch()
        with scene.worker():
            until(lambda: scene.app.job(job).state is JobState.SUCCEEDED)
            before = scene.app.job(job)
            sleeper.send_signal(signal.SIGCONT)
            # Whether its code ends first or is told to, what it settles is refused.
            until(lambda: "came too late" in scene.said(sleeper))
        assert scene.app.job(job).finished_at == before.finished_at
        assert scene.app.job(job).attempt == before.attempt


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_restarts_under_load(tmp_path: Path, how: signal.Signals) -> None:
    """Workers wait for it and go on by themselves; what was acknowledged is there, and ends."""
    server = Postgres()
    with server:
        scene = Scene(server.url, tmp_path)
        keys = [f"k{n}" for n in range(600)]
        with scene.worker(QUICK | {"TREADLE_LEASE": "15"}):
            ids = enqueue(scene.app, "touch", *((key,) for key in keys))
            until(lambda: len(scene.count("END")) > 0)
            server.end(how)
            server.start()
            until(lambda: scene.states(ids)[JobState.SUCCEEDED] == len(ids))
        assert set(scene.count("END")) == set(keys)
        scene.app.close()


def test_a_server_that_stands_still_is_noticed_in_time(tmp_path: Path) -> None:
    """Its side of each connection is stopped: calls end in time, and go through once it goes on."""
    server = Postgres()
    with server:
        scene = Scene(f"{server.url}?application_name=stopped", tmp_path)
        store = PostgresStore(scene.url, "default", Settings(store_timeout=3.0))
        jobs = [new_job() for _ in range(3)]
        store.enqueue_now(new_id(), jobs[:1])
        with psycopg.connect(server.url, autocommit=True) as db:
            rows = db.execute(
                "select pid from pg_stat_activity where application_name = 'stopped'"
            ).fetchall()
        for (pid,) in rows:
            os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        request = new_id()
        with pytest.raises(StoreUnavailable, match="has not answered within 3 s"):
            store.enqueue_now(request, jobs[1:])
        assert time.monotonic() - begun < Settings().store_timeout
        for (pid,) in rows:
            os.kill(pid, signal.SIGCONT)
        store.enqueue_now(request, jobs[1:])
        assert None not in store.get_now([job.id for job in jobs])
        store.close_now()
        scene.app.close()
