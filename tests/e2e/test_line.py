"""The whole line with real processes: enqueue here, run in another process, result back here."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.shop import Receipt, make
from tests.faults.scene import SOURCES, Process
from treadle import Job, JobCancelled, JobFailed, JobState, Treadle

WAIT_S: Final = 20.0
CANCEL_S: Final = 15.0
"""A cancel is carried by the next beat, one a second."""
WAKE_S: Final = 15.0
"""A sanity bound, below the 5 s of a poll: wake-ups take about a millisecond; the benchmark
measures them."""

StartWorker = Callable[..., Process]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Treadle]:
    """Make the application on a file of the test's own."""
    app = make(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield app
    app.close()


@pytest.fixture
def worker(tmp_path: Path, app: Treadle) -> Iterator[StartWorker]:
    """Give a function that starts `treadle worker` and waits until it is ready."""
    processes: list[Process] = []

    def start(*options: str) -> Process:
        command = [sys.executable, "-m", "treadle", "worker", "tests.e2e.shop:app", *options]
        environ = os.environ | {
            "E2E_STORE": app.settings.store,
            "PYTHONPATH": SOURCES,
            "TREADLE_POLL": "60",
        }
        process = Process(command, environ, tmp_path / f"worker{len(processes)}.log")
        processes.append(process)
        until(lambda: process.ready or process.ended, f"the worker is ready: {process.said}")
        return process

    yield start
    for process in processes:
        process.kill()


def until(true: Callable[[], object], what: str, timeout: float = WAIT_S) -> float:
    """Wait until something is true; return how long it took (seconds)."""
    begun = time.monotonic()
    while not true():
        waited = time.monotonic() - begun
        assert waited < timeout, f"not within {timeout:g} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - begun


def test_a_result_comes_back_from_another_process(app: Treadle, worker: StartWorker) -> None:
    """Arguments and result keep their types on the way there and back."""
    at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    job = app.named("order").enqueue(7, [1.5, 2.0], at)
    assert job.state == JobState.READY
    process = worker()
    assert job.result(timeout=WAIT_S) == Receipt(7, 3.5, at)
    elsewhere = app.named("where").enqueue().result(timeout=WAIT_S)
    assert elsewhere == process.child.pid != os.getpid()


def test_what_is_stored_before_a_worker_lives_runs_when_one_comes(
    app: Treadle, worker: StartWorker
) -> None:
    """Jobs outlive the process that enqueued them, and wait for a worker."""
    jobs = app.named("where").enqueue_many([()] * 50)
    app.close()
    worker("--burst")
    until(lambda: all(job.refresh().is_terminal for job in jobs), "all have run")
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}


@pytest.mark.parametrize("task", ["endless", "endless_in_thread"])
def test_a_cancel_reaches_a_running_job(
    app: Treadle, worker: StartWorker, tmp_path: Path, task: str
) -> None:
    """The task in the other process learns within a beat that its job was cancelled."""
    file = tmp_path / "running"
    job = app.named(task).enqueue(str(file))
    worker()
    until(file.exists, "the job runs")
    assert job.cancel()
    until(Path(f"{file}.cancelled").exists, "the task is told", CANCEL_S)
    with pytest.raises(JobCancelled):
        job.result(timeout=WAIT_S)


def test_a_hard_time_limit_ends_each_attempt(app: Treadle, worker: StartWorker) -> None:
    """A task that does not end in time is ended, retried by its policy and then dead."""
    job = app.named("too_long").enqueue()
    worker()
    with pytest.raises(JobFailed, match=r"0\.3 s"):
        job.result(timeout=WAIT_S)
    assert [attempt.outcome for attempt in job.attempts()] == ["timed_out", "timed_out"]


def test_a_failing_job_is_tried_again(app: Treadle, worker: StartWorker) -> None:
    """It fails twice, waits each time, and succeeds at its third attempt."""
    jobs: list[Job[int]] = [app.named("flaky").enqueue(n) for n in (2, 3)]
    worker()
    assert jobs[0].result(timeout=WAIT_S) == 3
    with pytest.raises(JobFailed, match="attempt 3 fails"):
        jobs[1].result(timeout=WAIT_S)
    assert len(jobs[1].attempts()) == 3


def test_two_workers_share_the_work(app: Treadle, worker: StartWorker) -> None:
    """Each takes a good part of the jobs, and every job runs once."""
    pids = {worker("--concurrency", "2").child.pid, worker("--concurrency", "2").child.pid}
    jobs = app.named("pause").enqueue_many([(0.2,)] * 40)
    ran = [job.result(timeout=WAIT_S) for job in jobs]
    assert set(ran) == pids
    assert all(ran.count(pid) >= 4 for pid in pids)
    assert {job.attempt for job in jobs} == {1}


def test_priorities_and_order_hold(app: Treadle, worker: StartWorker, tmp_path: Path) -> None:
    """With one slot jobs run by priority, highest first, then as they were enqueued."""
    file = tmp_path / "notes"
    for priority in (0, -100, 100):
        note = app.named("note").using(priority=priority)
        for n in range(3):
            note.enqueue(str(file), f"{priority}/{n}")
    worker("--concurrency", "1", "--burst").wait(WAIT_S)
    assert file.read_text(encoding="utf-8").split() == [
        f"{priority}/{n}" for priority in (100, 0, -100) for n in range(3)
    ]


def test_a_delayed_job_starts_in_time(app: Treadle, worker: StartWorker) -> None:
    """It starts not before its time, and not long after."""
    worker()
    due = datetime.now(UTC) + timedelta(seconds=0.6)
    late: Job[float] = app.named("clock").using(at=due).enqueue()
    delayed: Job[float] = app.named("clock").using(delay=0.4).enqueue()
    assert late.state == delayed.state == JobState.SCHEDULED
    assert late.run_at == due
    for job in (late, delayed):
        assert 0 <= job.result(timeout=WAIT_S) - job.run_at.timestamp() < WAKE_S


def test_an_idle_worker_wakes_up_at_once(app: Treadle, worker: StartWorker) -> None:
    """A job enqueued in this process starts in the other one without waiting for a poll."""
    worker()
    clock = app.named("clock")
    clock.enqueue().result(timeout=WAIT_S)
    waited = []
    for _ in range(10):
        begun = time.time()
        waited.append(clock.enqueue().result(timeout=WAIT_S) - begun)
    assert statistics.median(waited) < WAKE_S / 4
    assert max(waited) < WAKE_S


def test_queues_are_kept_apart(app: Treadle, worker: StartWorker) -> None:
    """A worker takes only from the queues it was given."""
    mine = app.named("where").using(queue="mail").enqueue()
    other = app.named("where").using(queue="bulk").enqueue()
    process = worker("--queues", "mail")
    assert mine.result(timeout=WAIT_S) == process.child.pid
    assert other.refresh().state == JobState.READY
