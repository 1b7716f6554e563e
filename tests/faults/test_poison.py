"""A job that kills its worker: it alone becomes a dead letter, whoever ran beside it."""

from pathlib import Path
from typing import Final

import pytest

from tests.faults.scene import Scene
from treadle import JobState

GOOD: Final = 1_000
RESTARTS_MAX: Final = 12
MAX_CRASHES: Final = 3


def supervise(scene: Scene, *options: str) -> int:
    """Start a worker again each time it dies, until every job has ended; count the deaths."""
    for deaths in range(RESTARTS_MAX):
        worker = scene.worker(*options)
        scene.until(
            lambda: worker.ended or scene.unfinished() == 0,  # noqa: B023 -- used at once
            "the worker dies or every job has ended",
        )
        if not worker.ended:
            assert scene.stop(worker) == 0, worker.said
            return deaths
    raise AssertionError(f"{RESTARTS_MAX} workers were not enough: {scene.account()}")


@pytest.mark.parametrize(
    ("good", "poison"),
    [
        pytest.param("touch", "die_async", id="async"),
        pytest.param("touch_in_thread", "die_in_thread", id="thread"),
        pytest.param("tiny", "die_async", id="buffered"),
        pytest.param("tiny", "die_in_thread", id="thread-among-buffered"),
    ],
)
def test_a_poison_job_is_buried_alone(tmp_path: Path, good: str, poison: str) -> None:
    """After three crashes it is a dead letter; of 1,000 good ones none fails or is lost.

    The good ones have one attempt each, so a single one spent on a crash would bury them.
    """
    with Scene(tmp_path).prepare() as scene:
        scene.enqueue(good, *(f"a{n}" for n in range(GOOD // 2)))
        [id_] = scene.enqueue(poison, "poison")
        scene.enqueue(good, *(f"b{n}" for n in range(GOOD - GOOD // 2)))
        deaths = supervise(scene, "--slots", "16")
        account = scene.account()
        assert account.sound, account
        ends = {job.key: job.state for job in scene.stored()}
        assert [key for key, state in ends.items() if state != JobState.SUCCEEDED] == ["poison"]
        [dead] = scene.query("select id, state, reason, crashes from treadle_jobs "
                             "where state = 'failed'")  # fmt: skip
        assert dead == (bytes.fromhex(id_.replace("-", "")), "failed", "poison", MAX_CRASHES)
        assert deaths == MAX_CRASHES
        assert scene.started("poison") == MAX_CRASHES


def test_two_poison_jobs_do_not_hide_each_other(tmp_path: Path) -> None:
    """Each is found out by itself, because a suspect runs alone."""
    with Scene(tmp_path).prepare() as scene:
        scene.enqueue("die_async", "poison0", "poison1")
        scene.enqueue("touch", *(f"good{n}" for n in range(40)))
        deaths = supervise(scene, "--slots", "4")
        states = {job.key: job.state for job in scene.stored()}
        assert states.pop("poison0") == states.pop("poison1") == JobState.FAILED
        assert set(states.values()) == {JobState.SUCCEEDED}
        assert deaths <= 2 * MAX_CRASHES
