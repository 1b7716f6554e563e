"""Signals: the first stops a worker gracefully, the second at once, and no job pays for it."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scene import Process, Scene

STORM: Final = 200
GRACE: Final = ("--grace", "60")
"""Far longer than a test waits for the end of a worker that is to stop at once."""


def busy_worker(scene: Scene, go: Path, jobs: int, *options: str) -> Process:
    """Start a worker that runs jobs which end when a file appears."""
    keys = [f"busy{n}" for n in range(jobs)]
    scene.enqueue("stubborn", *keys, rest=(str(go),))
    worker = scene.worker(*options)
    # Not when they are claimed: what a signal finds claimed and not begun is handed back.
    scene.until(lambda: all(scene.started(key) for key in keys), f"{jobs} jobs run")
    return worker


@contextlib.contextmanager
def handed_down(number: signal.Signals, action: signal.Handlers) -> Iterator[None]:
    """Let processes started within the block inherit this for a signal, whatever ours is."""
    before = signal.signal(number, action)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_lets_running_jobs_end(tmp_path: Path, number: signal.Signals) -> None:
    """What runs ends and is settled, nothing new starts, and the worker exits with 0."""
    go = tmp_path / "go"
    with Scene(tmp_path / "scene").prepare() as scene, handed_down(number, signal.SIG_DFL):
        worker = busy_worker(scene, go, 4, *GRACE)
        scene.enqueue("touch", "later")
        worker.send(number)
        scene.until(lambda: "a second signal stops at once" in worker.said, "it stops claiming")
        assert not worker.ended
        go.touch()
        assert worker.wait() == 0, worker.said
        assert scene.query("select distinct state from treadle_jobs where task = 'stubborn'") == [
            ("succeeded",)
        ]
        assert scene.query("select state, attempt from treadle_jobs where task = 'touch'") == [
            ("ready", 0)
        ]
        assert scene.query("select * from treadle_workers") == []


def test_a_closed_terminal_does_not_stop_a_worker_under_nohup(tmp_path: Path) -> None:
    """A worker that was started with SIGHUP ignored works on, and stops by the other signals."""
    with Scene(tmp_path / "scene").prepare() as scene:
        with handed_down(signal.SIGHUP, signal.SIG_IGN):
            worker = scene.worker()
        scene.until(lambda: worker.ready, "the worker is ready")
        worker.send(signal.SIGHUP)
        scene.enqueue("touch", "later")
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said


def test_a_second_signal_hands_running_jobs_back_unspent(tmp_path: Path) -> None:
    """The worker ends at once with 1; its jobs are ready for the next one, no attempt spent."""
    go = tmp_path / "go"
    with Scene(tmp_path / "scene").prepare() as scene:
        worker = busy_worker(scene, go, 4, *GRACE)
        worker.send(signal.SIGTERM)
        scene.until(lambda: "a second signal" in worker.said, "the first one is heard")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 1, worker.said
        rows = scene.query("select distinct state, attempt, crashes from treadle_jobs")
        assert rows == [("ready", 0, 0)]
        go.touch()
        second = scene.worker()
        scene.until_done()
        assert scene.stop(second) == 0
        account = scene.account()
        assert account.sound, account


def test_the_end_of_the_grace_hands_running_jobs_back(tmp_path: Path) -> None:
    """Jobs that do not end in time go back unspent, and the worker exits with 1."""
    with Scene(tmp_path / "scene").prepare() as scene:
        worker = busy_worker(scene, tmp_path / "never", 2, "--grace", "0.3")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 1, worker.said
        assert scene.query("select distinct state, attempt, crashes from treadle_jobs") == [
            ("ready", 0, 0)
        ]


def test_a_storm_of_signals_changes_nothing(tmp_path: Path) -> None:
    """Hundreds of signals end the worker as two do; every job is there and runs later."""
    go = tmp_path / "go"
    with Scene(tmp_path / "scene").prepare() as scene:
        worker = busy_worker(scene, go, 4, *GRACE)
        scene.enqueue("touch", *(f"touch{n}" for n in range(50)))
        for n in range(STORM):
            if worker.ended:
                break
            worker.send(signal.SIGTERM if n % 2 else signal.SIGINT)
        assert worker.wait() in {0, 1, -signal.SIGTERM, -signal.SIGINT}, worker.said
        go.touch()
        second = scene.worker()
        scene.until_done()
        assert scene.stop(second) == 0, second.said
        account = scene.account()
        assert account.sound, account


def test_a_stop_while_jobs_are_claimed_spends_no_attempt(tmp_path: Path) -> None:
    """Stopped at random moments amid tiny jobs, workers hand back what they had not begun."""
    with Scene(tmp_path / "scene").prepare() as scene:
        scene.enqueue("tiny", *(f"tiny{n}" for n in range(1_000)))
        for stop in range(4):
            worker = scene.worker("--slots", "3")
            done = stop * 60
            scene.until(
                lambda: len(scene.ledger.entries()) > 2_000 + done,  # noqa: B023 -- used at once
                "some jobs have run",
            )
            assert scene.stop(worker) == 0, worker.said
        last = scene.worker()
        scene.until_done()
        assert scene.stop(last) == 0, last.said
        account = scene.account()
        assert account.sound, account
        assert account.overrun == []
        assert scene.query("select distinct attempt from treadle_jobs") == [(1,)]
