"""Clocks that differ by an hour: a fleet's, a producer's, and the server's own that jumps.

A store on a server goes by the server's clock, so nothing starts early, expires early or changes
hands because a machine is wrong about the time; and when the server's own clock jumps, a rescue
takes two looks, the second by the rescuer's monotonic clock.
"""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
import redis

from tests.faults import clocks
from tests.faults.far import FarScene
from tests.faults.scene import PATIENT, QUICK, Process, finish
from tests.faults.test_servers import STORES, url
from treadle import JobState
from treadle.testing.servers import Postgres, Redis

__all__ = ["url"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        clocks.library() is None, reason="there is no libfaketime for this platform"
    ),
]

HOUR_S: Final = 3_600.0
DELAY_S: Final = 2.0
EARLY_MS: Final = 5
"""What the ledger's and the store's clock may differ by in the run of a test."""
LATE_MS: Final = 60_000
LONGER: Final = {"TREADLE_LEASE": "6", "TREADLE_SUSPECT_AFTER": "12"}
LOOK_S: Final = 2.0
LONG_S: Final = 40.0
JOBS: Final = 30
PRODUCER: Final = f"""
import sys
from pathlib import Path
from tests.faults import workload
from treadle.testing.ledger import Ledger
ledger = Ledger(Path(sys.argv[2]))
app = workload.build(sys.argv[1], ledger)
later = app.named("touch").using(delay={DELAY_S}, expires=60)
for n in range({JOBS}):
    key = f"{{sys.argv[3]}}-{{n}}"
    ledger.write("TRY", key)
    later.enqueue(key)
    ledger.write("OK", key)
app.close()
"""


def produce(scene: FarScene, name: str, hours: float) -> Process:
    """Start a producer of delayed jobs that expire, whose clock is off by so many hours."""
    file = scene.folder / f"{name}.py"
    file.write_text(PRODUCER, encoding="utf-8")
    moved = clocks.fixed(hours * HOUR_S) if hours else {}
    return scene.program(file, name, **moved)


@pytest.mark.parametrize("hours", [1.0, -1.0])
def test_two_fleets_with_clocks_an_hour_apart(tmp_path: Path, url: str, hours: float) -> None:
    """None starts early or expires, none is lost or doubled; the same holds for producers."""
    with FarScene(tmp_path, url, QUICK | PATIENT).prepare() as scene:
        workers = [scene.worker(), scene.worker(**clocks.fixed(hours * HOUR_S))]
        scene.until(lambda: all(worker.ready for worker in workers), "both fleets are ready")
        scene.enqueue("slow", *(f"slow{n}" for n in range(6)), rest=(3.0,))
        scene.enqueue("flaky", *(f"flaky{n}" for n in range(6)))
        producers = [produce(scene, "right", 0.0), produce(scene, "wrong", hours)]
        assert [producer.wait() for producer in producers] == [0, 0], producers[1].said
        account = finish(scene, *workers)
        assert [key for key in account.overrun if not key.startswith("flaky")] == []
        assert {job.state for job in scene.stored()} == {JobState.SUCCEEDED}
        assert {record.crashes for record in scene.records()} == {0}
        check_starts(scene)


def check_starts(scene: FarScene) -> None:
    """Make sure that each delayed job started after its delay, and not hours after it."""
    entries = scene.ledger.entries()
    tried = {entry.key: entry.at for entry in entries if entry.word == "TRY"}
    starts = {
        entry.key: entry.at for entry in entries if entry.word == "START" and "-" in entry.key
    }
    waits = {key: at - tried[key] for key, at in starts.items()}
    assert len(waits) == 2 * JOBS
    assert {key: ms for key, ms in waits.items() if ms < DELAY_S * 1000 - EARLY_MS} == {}
    assert {key: ms for key, ms in waits.items() if ms > DELAY_S * 1000 + LATE_MS} == {}


Moving = tuple[Postgres | Redis, Path]


@pytest.fixture(params=STORES)
def moving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moving]:
    """Give a server whose clock a file moves."""
    server = Postgres() if request.param == "postgres" else Redis("--appendfsync", "always")
    offset = server.folder / "clock"
    library = server.folder / "clock.so"
    shutil.copy(clocks.library() or "", library)
    clocks.step(offset, 0.0)
    with monkeypatch.context() as patch:
        for name, value in clocks.steered(offset).items():
            patch.setenv(name, value.replace(str(clocks.library()), str(library)))
        server.start()
    try:
        yield server, offset
    finally:
        server.stop()


def ahead(server: Postgres | Redis) -> float:
    """Tell how far the server's clock is ahead of this machine's, in seconds."""
    if isinstance(server, Redis):
        with redis.Redis.from_url(server.url) as client:
            seconds, _ = client.time()
        return float(seconds) - time.time()
    with psycopg.connect(server.url) as db:
        [now] = db.execute("select extract(epoch from clock_timestamp())").fetchone() or [0.0]
    return float(now) - time.time()


def jump(scene: FarScene, moving: Moving, hours: float) -> None:
    """Move the server's clock, and wait until it has moved."""
    server, offset = moving
    clocks.step(offset, hours * HOUR_S)
    scene.until(lambda: abs(ahead(server) - hours * HOUR_S) < 60, "the server's clock has jumped")


@pytest.mark.parametrize("hours", [1.0, -1.0])
def test_a_servers_clock_that_jumps_doubles_nothing(
    tmp_path: Path, moving: Moving, hours: float
) -> None:
    """A worker that did not beat while it jumped keeps its jobs: the second look finds it alive."""
    with FarScene(tmp_path, moving[0].url, QUICK | PATIENT | LONGER).prepare() as scene:
        workers = [scene.worker(), scene.worker()]
        scene.until(lambda: all(worker.ready for worker in workers), "both are ready")
        scene.enqueue("slow", *(f"slow{n}" for n in range(6)), rest=(8.0,))
        scene.until(lambda: scene.running("slow") == 6, "six jobs run")
        for worker in workers:
            worker.freeze()
        jump(scene, moving, hours)
        workers[0].send(signal.SIGCONT)
        time.sleep(LOOK_S)  # One worker looks at the other, for less than that one's lease.
        workers[1].send(signal.SIGCONT)
        account = finish(scene, *workers, patience=LONG_S)
        assert account.overrun == []
        assert {record.crashes for record in scene.records()} == {0}


@pytest.mark.parametrize("hours", [1.0, -1.0])
def test_a_servers_clock_that_jumps_keeps_no_dead_worker_alive(
    tmp_path: Path, moving: Moving, hours: float
) -> None:
    """The jobs of a worker that died just before run elsewhere in seconds, not an hour later."""
    with FarScene(tmp_path, moving[0].url, QUICK).prepare() as scene:
        dead = scene.worker()
        scene.enqueue("slow", "orphan0", "orphan1", rest=(1.0,))
        scene.until(lambda: scene.started("orphan0") == scene.started("orphan1") == 1, "both run")
        dead.kill()
        jump(scene, moving, hours)
        other = scene.worker()
        scene.until_done()
        assert scene.stop(other) == 0, other.said
        account = scene.account()
        assert account.sound, account
