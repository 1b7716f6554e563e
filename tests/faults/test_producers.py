"""Producers that die, and one bad job among good ones: what was acknowledged is stored."""

import asyncio
import random
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import FarScene
from tests.faults.scene import Scene, check_batches
from treadle.core.ids import new_id
from treadle.core.job import Fate, NewJob

ROUNDS: Final = 6
LONG_ROUNDS: Final = 200
COMPANY: Final = 50


Make = Callable[[Path], Scene]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Make:
    """Make scenes on the store that the test names."""
    if request.param == "sqlite":
        return Scene
    url = str(request.getfixturevalue(f"{request.param}_url"))
    return lambda folder: FarScene(folder, url)


def kill_one(scene: Scene, seed: int) -> None:
    """Kill a producer at a random moment and call what it had enqueued to account."""
    lines = random.Random(seed).randrange(1, 300)  # noqa: S311 -- a place in a run, no secret
    with scene.prepare():
        producer = scene.start("producer", "p", "10000")
        scene.until(lambda: len(scene.ledger.entries()) >= lines, f"{lines} lines in the ledger")
        producer.kill()
        account = scene.account()
        assert account.lost == account.unexpected == account.doubled == [], (seed, account)
        check_batches(scene)


def kill_many(make: Make, folder: Path, rounds: Sequence[int]) -> None:
    """Run rounds side by side."""
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seed: kill_one(make(folder / str(seed)), seed), rounds))


@pytest.mark.parametrize(
    "make",
    [
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("redis", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_a_killed_producer_loses_nothing(tmp_path: Path, make: Make) -> None:
    """Every acknowledged job is there once, and every batch whole or not at all."""
    kill_many(make, tmp_path, range(ROUNDS))


@pytest.mark.crash
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("make", ["sqlite", "postgres", "redis"], indirect=True)
def test_two_hundred_killed_producers_lose_nothing(tmp_path: Path, make: Make) -> None:
    """The same, 200 times."""
    kill_many(make, tmp_path, range(LONG_ROUNDS))


def job(id_: bytes | None = None) -> NewJob:
    """Make a job; one whose id is no id is refused by the file itself."""
    return NewJob(id_ or new_id(), "touch", b'[1,["a"]]')


def test_one_bad_job_fails_alone_among_async_ones(tmp_path: Path) -> None:
    """Of 50 enqueues that share writes, 49 are stored and the bad one raises."""
    scene = Scene(tmp_path).prepare()
    app = scene.app()

    async def enqueue_all() -> list[Fate | BaseException]:
        writer = (await app.alink()).writer
        jobs = [job(b"bad" if n == COMPANY // 2 else None) for n in range(COMPANY)]
        return await asyncio.gather(*(writer.awrite(one) for one in jobs), return_exceptions=True)

    answers = asyncio.run(enqueue_all())
    app.close()
    refused = [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert refused == [COMPANY // 2]
    assert scene.unfinished() == COMPANY - 1


def test_one_bad_job_fails_alone_among_threads(tmp_path: Path) -> None:
    """The same for sync enqueues of 50 threads while the file is busy."""
    scene = Scene(tmp_path).prepare()
    app = scene.app()

    def enqueue_one(n: int) -> bool:
        try:
            app.link.writer.write(job(b"bad" if n == 0 else None))
        except Exception:  # noqa: BLE001 -- whichever error, its job alone is refused
            return False
        return True

    with ThreadPoolExecutor(COMPANY) as pool:
        stored = list(pool.map(enqueue_one, range(COMPANY)))
    app.close()
    assert stored == [False] + [True] * (COMPANY - 1)
    assert scene.unfinished() == COMPANY - 1


def test_a_producer_stopped_by_a_signal_it_handles_ends_at_once(tmp_path: Path) -> None:
    """SIGINT in the middle of enqueues ends the program; what was acknowledged is there."""
    with Scene(tmp_path).prepare() as scene:
        producer = scene.start("producer", "p", "10000")
        scene.until(lambda: len(scene.ledger.entries()) > 100, "the producer is at work")
        producer.send(signal.SIGINT)
        assert producer.wait() == -signal.SIGINT, producer.said
        account = scene.account()
        assert account.lost == account.unexpected == account.doubled == [], account
