"""Transactional work under faults: what was written is what succeeded, whatever dies when.

The sweep kills once at each fault point; here workers die at them one after another under load,
or stand still for longer than their lease, before the transaction or with the lock in their hands.
"""

import secrets
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.faults.deaths import Deaths
from tests.faults.far import FarScene
from tests.faults.scene import QUICK, Scene, struck
from treadle.testing.faults import Spec

SETTINGS: Final = QUICK | {
    # These deaths are nobody's fault, so a job may meet more of them than usual.
    "TREADLE_MAX_CRASHES": "100",
}
PIECES: Final = 10
PATIENCE_S: Final = 120.0
"""How long a wait for a busy machine's workers may take."""


def crash_run(scene: Scene, seed: int, *, jobs: int, kills: int) -> None:
    """Let workers sell and die; print what was counted, or how a failure is replayed."""
    run = Deaths(scene.prepare(), seed, jobs=jobs, kills=kills)
    try:
        with scene:
            account = run.go(PATIENCE_S)
            print(run.told(account))  # noqa: T201 -- the count is what the run is for
            if kills > 2 * len(run.points):
                assert run.places.keys() >= set(run.points), run.told(account)
    except BaseException as error:
        error.add_note(f"seed {seed}: give it to crash_run in {__file__}")
        raise


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
    crash_run(scene, secrets.randbits(32), jobs=300, kills=10)


@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(PIECES))
@pytest.mark.parametrize("scene", ["sqlite", "postgres"], indirect=True)
def test_ten_thousand_jobs_and_five_hundred_kills(scene: Scene, seed: int) -> None:
    """The same in pieces that can be run apart; all seeds of a store together are the title."""
    crash_run(scene, seed, jobs=10_000 // PIECES, kills=500 // PIECES)


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
