"""Faults of a fleet on PostgreSQL and Redis: dead workers, poison, servers that go away.

Real workers as processes, a real server, a network between them that fails. What SQLite's
own fault tests assert holds here just the same: no job is lost, none is settled twice, and
nobody pays for another's crash.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.faults.far import FarScene, away
from tests.faults.scene import PATIENT, QUICK, finish
from tests.faults.test_poison import MAX_CRASHES, supervise
from tests.faults.test_seeded import SETTINGS, Run
from treadle import JobState
from treadle.testing.proxy import Proxy
from treadle.testing.servers import Postgres, Redis

pytestmark = pytest.mark.slow

STORES: Final = ("redis", "postgres")
SEEDS: Final = (1, 2)
GOOD: Final = 300
AWAY_S: Final = 3.5
"""Over twice the lease of a scene."""
FLOW: Final = 400
STREAM: Final = 1_600
"""More than a worker holds."""
RESTARTS: Final = 3
LONG_S: Final = 60.0
IMPATIENT: Final = {"TREADLE_STORE_TIMEOUT": "1"}


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of each server store in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest) -> Iterator[Postgres | Redis]:
    """Give a server of this test's own, which it may kill, that keeps what it acknowledged."""
    made = Redis("--appendfsync", "always") if request.param == "redis" else Postgres()
    with made:
        yield made


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_and_producers_that_die_lose_nothing(tmp_path: Path, url: str, seed: int) -> None:
    """Every acknowledged job runs to its end, whoever is killed meanwhile."""
    with FarScene(tmp_path, url, SETTINGS).prepare() as scene:
        Run(scene, seed).go()
        account = scene.account()
        assert account.sound, account


@pytest.mark.parametrize(
    ("good", "poison"), [("touch", "die_async"), ("tiny", "die_in_thread")], ids=["async", "thread"]
)
def test_a_poison_job_is_buried_alone(tmp_path: Path, url: str, good: str, poison: str) -> None:
    """After three crashes it is a dead letter; its neighbours, with one attempt each, succeed."""
    with FarScene(tmp_path, url).prepare() as scene:
        scene.enqueue(good, *(f"a{n}" for n in range(GOOD // 2)))
        scene.enqueue(poison, "poison")
        scene.enqueue(good, *(f"b{n}" for n in range(GOOD // 2)))
        assert supervise(scene, "--slots", "16") == MAX_CRASHES
        account = scene.account()
        assert account.sound, account
        dead = [job for job in scene.stored() if job.state is not JobState.SUCCEEDED]
        assert [(job.key, job.state) for job in dead] == [("poison", JobState.FAILED)]


def test_a_worker_stopped_for_longer_than_its_lease_comes_too_late(
    tmp_path: Path, url: str
) -> None:
    """Its job is another's by then: what it settles is LOST, and it goes on as a new worker."""
    go = tmp_path / "go"
    with FarScene(tmp_path / "scene", url).prepare() as scene:
        scene.enqueue("stubborn", "held", rest=(str(go),))
        first = scene.worker()
        scene.until(lambda: scene.started("held") == 1, "the first worker runs the job")
        first.send(signal.SIGSTOP)
        second = scene.worker()
        scene.until(lambda: scene.started("held") == 2, "the second worker has taken over")
        first.send(signal.SIGCONT)
        scene.until(lambda: "came too late" in first.said, "its settlement is LOST")
        scene.until(lambda: "it goes on as" in first.said, "the first worker begins anew")
        go.touch()
        scene.until_done()
        assert scene.stop(second) == scene.stop(first) == 0
        account = scene.account()
        assert account.sound, account


@pytest.mark.timeout(240)
@pytest.mark.parametrize("nth", [3, 5])
def test_a_worker_killed_as_an_exchange_comes_back_loses_nothing(
    tmp_path: Path, url: str, nth: int
) -> None:
    """Jobs that ran beside that exchange are settled or run again, and none is settled twice."""
    with FarScene(tmp_path, url).prepare() as scene:
        scene.enqueue("tiny", *(f"tiny{n}" for n in range(STREAM)))
        dead = scene.worker("--slots", "16", fault=f"exchange.after_commit:kill@{nth}")
        assert dead.wait() == -signal.SIGKILL, dead.said
        assert 0 < scene.unfinished() < STREAM
        last = scene.worker("--slots", "16")
        scene.until_done(LONG_S)
        assert scene.stop(last) == 0, last.said
        account = scene.account()
        assert account.sound, account


@pytest.mark.timeout(240)
def test_a_server_that_is_killed_under_load_loses_nothing(
    tmp_path: Path, server: Postgres | Redis
) -> None:
    """Killed and started again, again and again: the workers stay, and every job is settled."""
    with FarScene(tmp_path, server.url, SETTINGS | IMPATIENT | PATIENT).prepare() as scene:
        workers = [scene.worker("--slots", "8") for _ in range(2)]
        scene.until(lambda: all(worker.ready for worker in workers), "the workers are ready")
        for n in range(RESTARTS):
            scene.enqueue("slow", *(f"slow{n}-{i}" for i in range(FLOW // 10)), rest=(0.05,))
            scene.enqueue("touch", *(f"touch{n}-{i}" for i in range(FLOW)))
            server.kill()
            server.start()
        finish(scene, *workers, patience=LONG_S)


def test_a_server_away_for_longer_than_the_lease_doubles_nothing(
    tmp_path: Path, server: Postgres | Redis
) -> None:
    """Jobs that run meanwhile end and are settled: none runs twice, none gets a crash."""
    with FarScene(tmp_path, server.url, QUICK | IMPATIENT | PATIENT).prepare() as scene:
        away(scene, server, AWAY_S, jobs=6)


def test_a_worker_cut_off_from_the_others_loses_its_jobs_to_them(tmp_path: Path, url: str) -> None:
    """It starts nothing new; its jobs run again elsewhere; what it settles late is LOST."""
    go = tmp_path / "go"
    port = urlsplit(url).port
    assert port is not None
    with Proxy(port) as proxy, FarScene(tmp_path / "scene", url).prepare() as scene:
        scene.enqueue("stubborn", "held", rest=(str(go),))
        scene.url = url.replace(f":{port}", f":{proxy.port}")
        alone = scene.worker(**IMPATIENT)
        scene.until(lambda: scene.started("held") == 1, "the first worker runs the job")
        proxy.swallow()
        scene.enqueue("touch", *(f"touch{n}" for n in range(20)))
        scene.url = url
        other = scene.worker()
        scene.until(lambda: scene.started("held") == 2, "the job runs again elsewhere")
        scene.until(lambda: "nothing new is started" in alone.said, "it says so")
        go.touch()
        scene.until_done()
        proxy.heal()
        scene.until(lambda: "came too late" in alone.said, "its settlement is LOST")
        scene.enqueue("touch", "after")
        scene.until_done()
        assert scene.stop(alone) == scene.stop(other) == 0
        account = scene.account()
        assert account.sound, account
        entries = [e for e in scene.ledger.entries() if e.pid == alone.child.pid]
        assert {e.key for e in entries} <= {"held", "after"}
