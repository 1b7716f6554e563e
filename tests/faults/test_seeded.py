"""Seeded crash runs: workers and producers die at random, and every job is accounted for.

A run draws everything from its seed; the moments are counted in lines of the ledger, not in
seconds, so that a run is much the same on any machine. A failure prints how to replay it.
"""

import random
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scene import QUICK, Process, Scene

RUNS: Final = 8
LONG_RUNS: Final = 100
KILLS: Final = 5
SETTINGS: Final = QUICK | {
    # These deaths are nobody's fault, so a job may meet more of them than usual.
    "TREADLE_MAX_CRASHES": "50",
}


class Run:
    """One run: two workers and a producer, some of which die."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.draw = random.Random(seed)  # noqa: S311 -- the seed is what replays the run
        self.producers = 0

    def producer(self) -> Process:
        """Start a producer under a new name."""
        self.producers += 1
        return self.scene.start("producer", f"p{self.producers}", str(self.draw.randint(1, 6)))

    def worker(self) -> Process:
        """Start a worker with some number of slots."""
        return self.scene.worker("--slots", str(self.draw.choice([1, 3, 16])))

    def go(self) -> None:
        """Let them work and die, then let a last worker finish."""
        scene, draw = self.scene, self.draw
        scene.enqueue("flaky", *(f"flaky{n}" for n in range(6)))
        scene.enqueue("spawn", *(f"spawn{n}" for n in range(6)))
        scene.enqueue("reject", "reject0")
        scene.enqueue("slow", *(f"slow{n}" for n in range(4)), rest=(0.1,))
        cast = [self.worker(), self.worker(), self.producer()]
        for _ in range(KILLS):
            self.until_more(draw.randint(1, 200))
            place = draw.choice([0, 0, 1, 1, 2])
            cast[place].kill()
            cast[place] = self.producer() if place == 2 else self.worker()
        scene.until(lambda: cast[2].ended, "the last producer is done")
        scene.until_done()
        for worker in cast[:2]:
            assert scene.stop(worker) == 0, worker.said

    def until_more(self, lines: int) -> None:
        """Wait for so many lines in the ledger, or until nothing is left that would add one."""
        wanted = len(self.scene.ledger.entries()) + lines
        self.scene.until(
            lambda: (
                len(self.scene.ledger.entries()) >= wanted
                or (self.scene.processes[-1].ended and self.scene.unfinished() == 0)
                or self.scene.unfinished() == 0
            ),
            f"{lines} more lines in the ledger",
        )


def run(folder: Path, seed: int) -> None:
    """Carry out one run and call every job to account."""
    with Scene(folder, SETTINGS).prepare() as scene:
        try:
            Run(scene, seed).go()
            account = scene.account()
            assert account.sound, account
        except BaseException as error:
            error.add_note(
                f"seed {seed}; replay: make test "
                f'ARGS=\'-m "" "tests/faults/test_seeded.py::test_crash_run[{seed}]"\''
            )
            raise


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=[] if seed < RUNS else [pytest.mark.crash])
        for seed in range(LONG_RUNS)
    ],
)
def test_crash_run(tmp_path: Path, seed: int) -> None:
    """Every job ran at least once and was settled exactly once; none is lost or invented."""
    run(tmp_path, seed)
