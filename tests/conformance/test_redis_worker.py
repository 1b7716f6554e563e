"""Whole workers on Redis: killed, stopped, silenced, and left without a server for a while."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.own_redis import needs_program
from tests.faults import workload
from tests.faults.scene import PROGRAM, QUICK, SOURCES, WAIT_S, Process
from treadle import Job, JobState, Treadle
from treadle.testing.ledger import Ledger
from treadle.testing.servers import Redis

pytestmark = [needs_program, pytest.mark.slow]


class Fleet:
    """Workers as real processes on one server, with their ledger."""

    def __init__(self, folder: Path, server: Redis) -> None:
        self.folder = folder
        self.server = server
        self.ledger = Ledger(folder / "ledger.txt")
        self.app: Treadle = workload.build(server.url, self.ledger)
        self.processes: list[Process] = []

    def worker(
        self, *options: str, ready: bool = True, fault: str = "", lease: str = "1.5"
    ) -> Process:
        """Start a worker, and wait until it has."""
        armed = ["-m", "treadle.testing.faults", fault, "--"] if fault else []
        command = [sys.executable, *armed, str(PROGRAM), "worker", self.server.url]
        command += [str(self.ledger.path), *options]
        outside = {k: v for k, v in os.environ.items() if not k.startswith("TREADLE_")}
        environ = {**outside, "PYTHONPATH": SOURCES, "TREADLE_STORE_TIMEOUT": "2", **QUICK}
        environ["TREADLE_LEASE"] = lease
        log = self.folder / f"{len(self.processes)}.log"
        process = Process(command, environ, log)
        self.processes.append(process)
        if ready:
            self.until(lambda: process.ready or process.ended, "the worker is ready")
        return process

    def until(self, happened: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
        """Wait until something is true."""
        deadline = time.monotonic() + seconds
        while not happened():
            logs = "\n".join(process.said[-2_000:] for process in self.processes)
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{logs}"
            time.sleep(0.02)

    def started(self, *keys: str) -> bool:
        """Tell whether the code of these jobs has begun."""
        return {e.key for e in self.ledger.entries() if e.word == "START"} >= set(keys)

    def starts(self) -> Counter[str]:
        """Count how often each job's code has begun."""
        return Counter(e.key for e in self.ledger.entries() if e.word == "START")

    def have_ended(self, *jobs: Job[object]) -> Callable[[], bool]:
        """Make the question whether these jobs have ended."""
        return lambda: all(self.app.job(job.id).is_terminal for job in jobs)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give a server of the test's own and no workers yet."""
    with Redis("--appendfsync", "always") as server:
        fleet = Fleet(tmp_path, server)
        yield fleet
        for process in fleet.processes:
            process.kill()
            process.wait()
        fleet.app.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_jobs_of_a_worker_that_is_gone_run_elsewhere(
    fleet: Fleet, number: signal.Signals
) -> None:
    """Killed in mid-job, or stopped past its lease: its jobs run again, counted as crashed."""
    slow = [fleet.app.named("slow").enqueue(f"k{n}", 60) for n in range(3)]
    first = fleet.worker()
    fleet.until(lambda: fleet.started("k0", "k1", "k2"), "the jobs run")
    first.send(number)
    fleet.worker()
    fleet.until(lambda: fleet.starts()["k0"] > 1, "a job runs again")
    fleet.until(lambda: fleet.app.job(slow[1].id).record().crashes == 1, "the others wait alone")
    for job in slow:
        job.cancel()
    if number is signal.SIGSTOP:
        first.send(signal.SIGCONT)
        fleet.until(lambda: "rescued" in first.said or "anew" in first.said, "it learns of it")
    touched = [fleet.app.named("touch").enqueue(f"t{n}") for n in range(20)]
    fleet.until(fleet.have_ended(*touched), "the line goes on")
    assert {fleet.app.job(job.id).state for job in slow} == {JobState.CANCELLED}


def test_a_worker_that_is_stopped_hands_back_what_it_did_not_start(fleet: Fleet) -> None:
    """SIGTERM: it ends well, no attempt is lost, and the rest runs on the next worker."""
    jobs = [fleet.app.named("slow").enqueue(f"s{n}", 0.3) for n in range(12)]
    first = fleet.worker("--slots", "4")
    fleet.until(lambda: fleet.started("s0"), "the first runs")
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    fleet.worker("--slots", "4")
    fleet.until(fleet.have_ended(*jobs), "all have run")
    assert set(fleet.starts().values()) == {1}
    assert {fleet.app.job(job.id).attempt for job in jobs} == {1}


def test_workers_outlive_a_server_that_restarts(fleet: Fleet) -> None:
    """Killed twice under load: nobody exits, nothing is lost, nothing that ran is run again."""
    # A lease longer than the outage: what this is about is the outage alone.
    workers = [fleet.worker("--slots", "8", lease="30") for _ in range(2)]
    jobs: list[Job[object]] = []
    for _ in range(2):
        jobs += [fleet.app.named("touch").enqueue(f"j{len(jobs) + n}") for n in range(1)]
        jobs += fleet.app.named("slow").enqueue_many(
            [(f"j{len(jobs) + n}", 0.2) for n in range(60)]
        )
        fleet.until(partial(fleet.started, f"j{len(jobs) - 40}"), "the batch runs")
        fleet.server.kill()
        time.sleep(0.5)
        fleet.server.start()
    fleet.until(fleet.have_ended(*jobs), "all have ended")
    assert {fleet.app.job(job.id).state for job in jobs} == {JobState.SUCCEEDED}
    assert not any(worker.ended for worker in workers)
    assert set(fleet.starts().values()) == {1}


def test_a_worker_without_a_server_says_so(fleet: Fleet) -> None:
    """One that cannot open its store at the start says so in plain words, and waits for it."""
    fleet.server.kill()
    worker = fleet.worker(ready=False)
    fleet.until(lambda: "cannot be reached" in worker.said, "the worker has said what it waits for")
    fleet.server.start()
    [job] = fleet.app.named("touch").enqueue_many([("after",)])
    fleet.until(fleet.have_ended(job), "the job has run")


@pytest.mark.parametrize(
    # Forty jobs on four slots may be claimed in two exchanges, and are settled by a third.
    ("point", "nth"),
    [("exchange.after_commit", 3), ("claim.accepted", 2), ("rescue.after_commit", 1)],
)
def test_a_worker_killed_between_two_steps_loses_nothing(
    fleet: Fleet, point: str, nth: int
) -> None:
    """SIGKILL right behind a script's answer: every job ends, and is settled once."""
    jobs = fleet.app.named("touch_in_thread").enqueue_many([(f"p{n}",) for n in range(40)])
    if point.startswith("rescue"):
        fleet.app.named("slow").enqueue("dead", 60)
        killed = fleet.worker()
        fleet.until(lambda: fleet.started("dead"), "a job runs that will need a rescue")
        killed.kill()
    armed = fleet.worker(fault=f"{point}:kill@{nth}", ready=False)
    assert armed.wait() == -signal.SIGKILL, armed.said
    fleet.worker()
    fleet.until(fleet.have_ended(*jobs), "all have ended")
    states = Counter(fleet.app.job(job.id).state for job in jobs)
    # A job whose code had begun when its worker died has one more start, and no more.
    assert set(states) == {JobState.SUCCEEDED}
    assert max(fleet.starts()[f"p{n}"] for n in range(40)) <= 2
