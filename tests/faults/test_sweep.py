"""SIGKILL at every fault point, for its first, second and last occurrence.

The points are found by reading the sources, so a new one is swept without a new test. Each
case kills a real worker (or producer) exactly there; a second worker finishes. Then every
job was executed at least once and settled exactly once, and none is lost.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark.structures import ParameterSet

from tests.faults.scene import Scene, check_batches, finish_crowd, kill_at, struck
from treadle.testing.faults import Spec, names_in, read_counts

NAMES: Final = sorted(names_in("sqlite"))
IN_STORE: Final = sorted(names_in("sqlite", inside=True))
BESIDE_THE_LINE: Final = ("note.", "prune.", "register.", "stage.")
"""Verbs that are swept up to their commit by default, and behind it with the slow tests."""


def swept(names: list[str]) -> list[ParameterSet]:
    """Mark the slow ones of these points."""
    late = {n for n in names if n.startswith(BESIDE_THE_LINE) and n.endswith("after_commit")}
    return [pytest.param(n, marks=[pytest.mark.slow] if n in late else []) for n in names]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Make the scene that every case copies: work of each kind, and two dead workers' jobs."""
    with Scene(tmp_path_factory.mktemp("sweep") / "template") as scene:
        scene.prepare()
        for n in range(2):
            scene.enqueue("bounded", *(f"bounded.orphan{n}.{i}" for i in range(2)))
            scene.enqueue("touch", *(f"orphan{n}.{i}" for i in range(4)))
            dead = scene.worker(fault=f"execute.before_start:kill@{n + 2}")
            assert dead.wait() == -signal.SIGKILL
        scene.enqueue("touch", *(f"touch{i}" for i in range(6)))
        scene.enqueue("touch_in_thread", *(f"thread{i}" for i in range(6)))
        scene.enqueue("bounded", *(f"bounded{n}" for n in range(6)))
        scene.enqueue("flaky", "flaky0", "flaky1")
        scene.enqueue("nap", "nap0", rest=(0.05,))
        scene.enqueue("nap", "nap1", rest=(0.2,))
        scene.enqueue("spawn", "spawn0", "spawn1", "spawn2")
        scene.enqueue("slow", "slow0", rest=(0.3,))
        scene.enqueue("sell", *(f"sell{n}" for n in range(4)))
        scene.enqueue("sell_in_thread", *(f"thread_sell{n}" for n in range(4)))
        [long] = scene.enqueue("slow", "slow1", rest=(0.3,))
        scene.schedule("plain", "tick0")
        scene.schedule("cancelling", "tick1", cancels=long)
        # Added last, because the dead workers would have pruned them.
        scene.add_old_records(2)
        yield scene


@pytest.fixture(scope="module")
def counts(template: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Count how often a worker that is left alone reaches each point."""
    with template.copy_to(tmp_path_factory.mktemp("sweep") / "counted") as scene:
        file = scene.folder / "counts"
        finish_crowd(scene, fault=f"count:{file}")
        return read_counts(file)


@pytest.fixture(scope="module")
def producer_counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Count how often a producer reaches each point."""
    with Scene(tmp_path_factory.mktemp("sweep") / "producer").prepare() as scene:
        file = scene.folder / "counts"
        assert scene.start("producer", fault=f"count:{file}").wait() == 0
        return read_counts(file)


def back(nth: int) -> Iterator[int]:
    """Go from the nth occurrence back to the first, in steps of a quarter at least."""
    while nth > 1:
        yield nth
        nth = min(nth - 1, nth * 3 // 4)
    yield 1


def occurrences(count: int) -> list[int]:
    """Give the first, second and last of so many."""
    return sorted({1, min(2, count), count})


def case(template: Scene, folder: Path, spec: Spec) -> bool:
    """Run one case of a worker's sweep; tell whether the fault has struck."""
    with template.copy_to(folder) as scene:
        return kill_at(scene, spec)


def sweep(template: Scene, folder: Path, name: str, counted: int) -> dict[int, bool]:
    """Run the cases of one point side by side; tell which of them struck."""

    def one(nth: int) -> bool:
        # How many there are is a run's own, and on a busy machine far fewer: look earlier then.
        return any(
            case(template, folder / f"{nth}-{at}", Spec(name, "kill", at)) for at in back(nth)
        )

    with ThreadPoolExecutor(3) as pool:
        wanted = occurrences(counted)
        return dict(zip(wanted, pool.map(one, wanted), strict=True))


def test_every_point_is_reached(counts: dict[str, int], producer_counts: dict[str, int]) -> None:
    """No point stands where no workload comes: it would never be swept."""
    assert set(NAMES) - counts.keys() - producer_counts.keys() == set()


@pytest.mark.parametrize("name", swept(NAMES))
def test_a_worker_killed_at(
    name: str, template: Scene, counts: dict[str, int], tmp_path: Path
) -> None:
    """A worker that dies at this point loses nothing and settles nothing twice."""
    if name not in counts:
        pytest.skip(f"a worker does not come to {name}; a producer does")
    met = sweep(template, tmp_path, name, counts[name])
    assert all(met.values()), f"{name} was not reached for the nth time: {met}"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("enqueue.")])
def test_a_producer_killed_at(name: str, producer_counts: dict[str, int], tmp_path: Path) -> None:
    """What a producer was told is stored is there once; a batch is there whole or not at all."""
    for nth in occurrences(producer_counts[name]):
        # Enqueues that share a write make it come to the point less often, and on a busy machine
        # more of them do.
        earlier = range(nth, 0, -1)
        assert any(
            producer_case(tmp_path / f"{nth}-{at}", Spec(name, "kill", at)) for at in earlier
        )


def producer_case(folder: Path, spec: Spec) -> bool:
    """Run one case of a producer's sweep; tell whether the fault has struck."""
    with Scene(folder).prepare() as scene:
        producer = scene.start("producer", fault=str(spec))
        met = producer.wait() == -signal.SIGKILL
        assert struck(producer, spec) == met, producer.said
        check_batches(scene)
        finish_crowd(scene)
        return met


@pytest.mark.parametrize("name", swept(IN_STORE))
def test_an_answer_that_is_lost_at(
    name: str, template: Scene, counts: dict[str, int], tmp_path: Path
) -> None:
    """When the store fails at this point, the worker asks again and nothing is done twice."""
    if name not in counts or name.startswith("register."):
        pytest.skip(f"a worker that has started does not come to {name}")
    with template.copy_to(tmp_path / "scene") as scene:
        spec = Spec(name, "error", 1)
        worker = scene.worker(fault=str(spec))
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said
        assert struck(worker, spec), worker.said
        account = scene.account()
        assert account.sound, account
