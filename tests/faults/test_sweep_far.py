"""SIGKILL at every fault point of a worker on PostgreSQL and on Redis.

As the sweep on a file: each case ends a real worker (or producer) exactly there, for the first
and a later time, or loses the answer of the verb; a second worker finishes. Then every job was
executed at least once and settled exactly once, and what transactions wrote is what succeeded.
"""

import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import FarScene
from tests.faults.scene import QUICK, check_batches, finish_crowd, kill_at, struck
from tests.faults.test_seeded import SETTINGS
from treadle.testing.faults import Spec, names_in, read_counts

pytestmark = pytest.mark.slow

STORES: Final = ("postgres", "redis")
LATER: Final = 3
"""The second case of a point: what is reached that often is in the midst of its work."""
PRODUCERS_POINT: Final = "enqueue.after_commit"
CASES: Final = [
    pytest.param(store, name, id=f"{store}-{name}")
    for store in STORES
    for name in sorted(names_in(store))
    if store == "postgres" or not name.startswith("transaction.")
]
LOST: Final = [
    pytest.param(store, name, id=f"{store}-{name}")
    for store in STORES
    for name in sorted(names_in(store, inside=True))
    # A worker that cannot register does not start, and says so; the last word is nobody's to ask.
    if not name.startswith(("register.", "leave."))
]


def url_of(request: pytest.FixtureRequest, store: str) -> str:
    """Give the URL of the session's server."""
    return str(request.getfixturevalue(f"{store}_url"))


def stage(folder: Path, url: str) -> FarScene:
    """Make work of each kind, and a dead worker whose jobs are to be rescued."""
    scene = FarScene(folder, url, SETTINGS).prepare()
    scene.enqueue("bounded", "bounded.orphan0", "bounded.orphan1")
    scene.enqueue("slow", "orphan0", "orphan1", rest=(0.1,))
    dead = scene.worker(fault="execute.before_start:kill@2")
    assert dead.wait() == -signal.SIGKILL, dead.said
    scene.enqueue("touch", *(f"touch{n}" for n in range(6)))
    scene.enqueue("touch_in_thread", *(f"thread{n}" for n in range(6)))
    scene.enqueue("bounded", *(f"bounded{n}" for n in range(6)))
    scene.enqueue("flaky", "flaky0", "flaky1")
    scene.enqueue("nap", "nap0", rest=(0.2,))
    scene.enqueue("spawn", "spawn0", "spawn1", "spawn2")
    scene.enqueue("slow", "slow0", rest=(0.3,))
    if scene.sells:
        scene.enqueue("sell", *(f"sell{n}" for n in range(4)))
        scene.enqueue("sell_in_thread", *(f"thread_sell{n}" for n in range(4)))
    [long] = scene.enqueue("slow", "slow1", rest=(0.3,))
    scene.schedule("plain", "tick0")
    scene.schedule("cancelling", "tick1", cancels=long)
    return scene


def case(folder: Path, url: str, spec: Spec) -> bool:
    """Run one case; tell whether the fault has struck."""
    with stage(folder, url) as scene:
        return kill_at(scene, spec)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("store", "name"), CASES)
def test_a_worker_killed_at(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, name: str
) -> None:
    """A worker that dies at this point loses nothing and settles nothing twice."""
    url = url_of(request, store)
    wanted = [Spec(name, "kill", 1), Spec(name, "kill", LATER)]
    with ThreadPoolExecutor(len(wanted)) as pool:
        met = list(pool.map(lambda one: case(tmp_path / str(one.nth), url, one), wanted))
    assert met[0], f"a worker on {store} does not come to {name}"


@pytest.mark.parametrize(("store", "name"), LOST)
def test_an_answer_that_is_lost_at(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, name: str
) -> None:
    """When the answer does not arrive, the worker asks again and nothing is done twice."""
    with stage(tmp_path, url_of(request, store)) as scene:
        spec = Spec(name, "error", 1)
        worker = scene.worker(fault=str(spec))
        scene.until_done()
        assert scene.stop(worker) == 0, worker.said
        assert struck(worker, spec), worker.said
        account = scene.account()
        assert account.sound, account


@pytest.fixture(params=STORES)
def producers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FarScene]:
    """Give a scene without work on each store."""
    with FarScene(tmp_path, url_of(request, request.param), QUICK).prepare() as scene:
        yield scene


@pytest.mark.timeout(240)
def test_a_producer_killed_at_its_points(producers: FarScene) -> None:
    """What it was told is stored is there once; a batch is there whole or not at all."""
    scene = producers
    counted = scene.folder / f"counts-{secrets.token_hex(4)}"
    assert scene.start("producer", "whole", fault=f"count:{counted}").wait() == 0
    often = read_counts(counted)[PRODUCERS_POINT]
    for nth in sorted({1, 2, often // 2}):
        spec = Spec(PRODUCERS_POINT, "kill", nth)
        producer = scene.start("producer", f"p{nth}", fault=str(spec))
        assert producer.wait() == -signal.SIGKILL, producer.said
        assert struck(producer, spec)
    check_batches(scene)
    finish_crowd(scene)
