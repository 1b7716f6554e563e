"""How much is lost where a server may answer before its disk has what it answered for.

Each loss is bounded by the time that the server's own documentation gives, and what is there
is whole. A power failure of Redis is played as `power` says.
"""

import time
from pathlib import Path
from random import Random
from typing import Final

import pytest
import redis

from tests.faults.far import FarScene
from tests.faults.power import Trace, command
from tests.faults.scene import check_batches, key_in
from tests.faults.test_disk import pytestmark as needs_strace
from tests.faults.tracing import traced
from treadle.testing.proxy import Proxy
from treadle.testing.servers import Postgres, Redis

pytestmark = [*needs_strace, pytest.mark.timeout(240)]

SPAN_MS: Final = 2_600
"""How long a producer goes on beside Redis: a little longer than what may be lost."""
SHORT_SPAN_MS: Final = 1_200
"""The same beside PostgreSQL: twice what may be lost."""
LATE_MS: Final = 600
"""Three times wal_writer_delay (postgresql.org/docs, 30.4 Asynchronous Commit)."""
EVERYSEC_MS: Final = 2_000
"""A second, and one more while the disk is slow (redis.io, Persistence)."""
SLACK_MS: Final = 400
"""How much later a busy machine may let a server's own thread run."""


def produced(scene: FarScene, server: Postgres | Redis, span_ms: int) -> int:
    """Let a producer work for a while and kill its server; tell when, in the ledger's time."""
    producer = scene.start("producer", "p", "10000")

    def long_enough() -> bool:
        stored = [one.at for one in scene.ledger.entries() if one.word == "OK"]
        return bool(stored) and stored[-1] - stored[0] > span_ms

    scene.until(long_enough, "it has produced for a while")
    killed_at = time.monotonic_ns() // 1_000_000
    server.kill()
    producer.kill()
    return killed_at


def lost(scene: FarScene, killed_at: int) -> list[int]:
    """Give of each job that was acknowledged and is lost how long before that it was, in ms."""
    kept = {key_in(one.args) for one in scene.records()}
    check_batches(scene)
    return [
        killed_at - one.at
        for one in scene.ledger.entries()
        if one.word == "OK" and one.key not in kept
    ]


def goes_on(scene: FarScene) -> None:
    """Let a worker end every job that is there."""
    worker = scene.worker()
    scene.until_done()
    assert scene.stop(worker) == 0, worker.said
    assert {one.state for one in scene.records()} == {"succeeded"}


def test_postgres_that_commits_late_loses_the_last_moments_alone(tmp_path: Path) -> None:
    """With synchronous_commit off a killed server has all that is older than 0.6 s."""
    with (
        Postgres(synchronous_commit="off") as server,
        FarScene(tmp_path, server.url).prepare() as scene,
    ):
        killed_at = produced(scene, server, SHORT_SPAN_MS)
        server.start()
        ages = lost(scene, killed_at)
        print(f"{len(ages)} lost, the oldest {max(ages, default=0)} ms before")  # noqa: T201 -- a figure
        assert max(ages, default=0) <= LATE_MS + SLACK_MS
        goes_on(scene)


@pytest.mark.parametrize(("fsync", "most"), [("everysec", EVERYSEC_MS), ("always", None)])
def test_redis_without_power_loses_what_its_setting_says(
    tmp_path: Path, fsync: str, most: int | None
) -> None:
    """With everysec two seconds at most, with always nothing; all of the rest is there."""
    log = tmp_path / "strace.log"
    with (
        Redis("--appendfsync", fsync) as server,
        FarScene(tmp_path, server.url).prepare() as scene,
    ):
        # Redis 7 has a folder for it, older ones have one file.
        folder = next(iter(server.folder.glob("appendonlydir")), server.folder)
        assert server.process is not None
        with traced(server.process.pid, command(log)):
            before = {file.name: file.read_bytes() for file in folder.glob("*.aof")}
            killed_at = produced(scene, server, SPAN_MS)
        trace = Trace(log, folder, before)
        [name] = {one.name for one in trace.events if one.name.endswith(".aof")}
        image = trace.image(name, trace.end, "none", Random(0))  # noqa: S311 -- nothing is drawn
        (folder / name).write_bytes(image)
        server.start()
        ages = lost(scene, killed_at)
        print(f"{len(ages)} lost, the oldest {max(ages, default=0)} ms before")  # noqa: T201 -- a figure
        if most is None:
            assert ages == []
        else:
            assert max(ages, default=0) <= most + SLACK_MS
        goes_on(scene)


def test_a_redis_replica_that_lagged_takes_over_with_what_had_reached_it(tmp_path: Path) -> None:
    """What came later is lost whole; every job that is there is in one place, and runs."""
    with (
        Redis() as primary,
        Proxy(primary.port) as link,
        Redis() as replica,
        redis.Redis(port=replica.port) as admin,
        redis.Redis(port=primary.port) as first,
        FarScene(tmp_path, primary.url).prepare() as scene,
    ):
        admin.replicaof("127.0.0.1", str(link.port))
        early = {f"e{n}" for n in range(200)}
        scene.enqueue("touch", *sorted(early))
        scene.until(lambda: first.wait(1, 100) == 1, "the replica has every job")
        link.swallow()
        scene.enqueue("touch", *(f"late{n}" for n in range(100)))
        worker = scene.worker()
        scene.until(lambda: scene.started("late99"), "all of it is done there")
        scene.until_done()
        primary.kill()
        worker.kill()
        admin.replicaof("NO", "ONE")
        scene.url = scene.direct = replica.url
        assert {one.state for one in scene.records()} == {"ready"}
        after = {f"a{n}" for n in range(100)}
        scene.enqueue("touch", *sorted(after))
        goes_on(scene)
        assert sorted(key_in(one.args) for one in scene.records()) == sorted(early | after)
        assert scene.unfinished() == 0
