"""Transactional work under faults: what was written is what succeeded, whatever dies when.

The sweep kills at each fault point around the transaction; here workers die at random, or
stand still for longer than their lease, before the transaction or with the lock in their hands.
"""

import random
import secrets
import signal
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import FarScene
from tests.faults.scene import QUICK, Process, Scene, struck
from treadle.testing.faults import Spec

SETTINGS: Final = QUICK | {
    # These deaths are nobody's fault, so a job may meet more of them than usual.
    "TREADLE_MAX_CRASHES": "100",
}
ASKED_EVERY: Final = 50
BYTES_A_JOB: Final = 240
"""About what a job adds to the ledger."""


def crash_run(scene: Scene, jobs: int, kills: int, patience: float) -> None:
    """Let two workers work, and kill one of them again and again; say how a failure is replayed."""
    seed = secrets.randbits(32)
    try:
        _crash_run(scene, seed, jobs, kills, patience)
    except BaseException as error:
        error.add_note(f"seed {seed}; replay: give it to _crash_run in {__file__}")
        raise


def _crash_run(scene: Scene, seed: int, jobs: int, kills: int, patience: float) -> None:
    draw = random.Random(seed)  # noqa: S311 -- the seed is what replays the run
    with scene.prepare():

        def worker() -> Process:
            return scene.worker("--slots", str(draw.choice([1, 3, 16])))

        def goes_on(size: int, looks: Iterator[int]) -> bool:
            if scene.ledger.path.stat().st_size >= size:
                return True
            # To ask the store is dear, and only at the very end of the run it is needed.
            return next(looks) % ASKED_EVERY == 0 and not scene.unfinished()

        scene.enqueue("sell", *(f"loop{n}" for n in range(jobs // 2)))
        scene.enqueue("sell_in_thread", *(f"thread{n}" for n in range(jobs // 2)))
        cast = [worker(), worker()]
        for _ in range(kills):
            more = draw.randint(0, 2 * BYTES_A_JOB * jobs // kills)
            size = scene.ledger.path.stat().st_size + more
            scene.until(partial(goes_on, size, count(1)), "the work goes on", patience)
            place = draw.choice([0, 1])
            cast[place].kill()
            cast[place] = worker()
        scene.until_done(patience)
        for one in cast:
            assert scene.stop(one) == 0, one.said
        account = scene.account()
        assert account.sound, account
        assert {job.state for job in scene.stored()} == {"succeeded"}


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    """Give a scene on the store that the test names."""
    if request.param == "sqlite":
        return Scene(tmp_path, SETTINGS)
    return FarScene(tmp_path, request.getfixturevalue("postgres_url"), SETTINGS)


@pytest.mark.parametrize(
    "scene", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)
def test_kills_at_random(scene: Scene) -> None:
    """Effects are successes, once each, after ten deaths."""
    crash_run(scene, jobs=300, kills=10, patience=60)


@pytest.mark.crash
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("scene", ["sqlite", "postgres"], indirect=True)
def test_ten_thousand_jobs_and_five_hundred_kills(scene: Scene) -> None:
    """The same, for as long as it takes."""
    crash_run(scene, jobs=10_000, kills=500, patience=600)


def test_a_worker_that_was_rescued_meanwhile_commits_nothing(tmp_path: Path) -> None:
    """It stood still before it began; the job has run elsewhere, and its fence refuses the rest."""
    with Scene(tmp_path, SETTINGS).prepare() as scene:
        scene.enqueue("sell", "late")
        spec = Spec("transaction.before_begin", "stop")
        first = scene.worker(fault=str(spec))
        scene.until(lambda: struck(first, spec), "it stands still")
        second = scene.worker()
        scene.until_done()
        assert scene.stop(second) == 0, second.said
        first.send(signal.SIGCONT)
        scene.until(lambda: "came too late and was refused" in first.said, "it is refused")
        assert scene.stop(first) == 0, first.said
        account = scene.account()
        assert account.sound, account
        assert scene.started("late") == 2


@pytest.mark.parametrize("task", ["sell", "sell_in_thread"])
def test_a_worker_that_stands_still_with_the_lock_keeps_its_claim(
    tmp_path: Path, task: str
) -> None:
    """Nobody can rescue what it holds, so that it ends as it began: nothing is done twice."""
    with Scene(tmp_path, SETTINGS | {"TREADLE_STORE_TIMEOUT": "0.5"}).prepare() as scene:
        spec = Spec("transaction.before_commit", "stop")
        cast = [scene.worker(fault=str(spec)) for _ in range(2)]
        scene.until(lambda: all(worker.ready for worker in cast), "both are ready")
        scene.enqueue(task, "slow")
        scene.until(lambda: any(struck(worker, spec) for worker in cast), "one stands still")
        cast.sort(key=lambda worker: struck(worker, spec))
        scene.until(lambda: "rescue failed" in cast[0].said, "the other one feels the lock")
        cast[1].send(signal.SIGCONT)
        scene.until_done()
        assert [scene.stop(worker) for worker in cast] == [0, 0]
        account = scene.account()
        assert account.sound, account
        assert scene.started("slow") == 1
