"""Workers and producers on PostgreSQL that die, stop or stand still as a job is handed over.

As on Redis (`tests/conformance/test_redis_handed_stop.py`): one job waits at the most, none is lost
or doubled, and none runs twice at once.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.faults.far import FarScene
from tests.faults.scene import Process, finish
from treadle import JobState
from treadle.testing.servers import Postgres

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
LEASE: dict[str, str] = {"TREADLE_LEASE": "9"}
"""Long enough for a busy machine to hand a job over to a worker that stands still."""


@pytest.fixture
def scene(tmp_path: Path, postgres_url: str) -> Iterator[FarScene]:
    """Give a namespace of the test's own, and end what is left in it."""
    with FarScene(tmp_path, postgres_url).prepare() as scene:
        yield scene


OFFERING: LiteralString = "select worker from {} where job is null"
HEARD: LiteralString = (
    "select worker from {} o join pg_locks l on l.locktype = 'advisory' "
    "and (l.classid::bigint << 32 | l.objid::bigint) = o.ear"
)
"""Those whose listener the server has not found to be gone."""


def offers(scene: FarScene, which: LiteralString = OFFERING) -> list[str]:
    """Name the workers that have made an offer which stands."""
    table = sql.Identifier(f"treadle_{scene.namespace}_offers")
    with psycopg.connect(scene.direct, autocommit=True) as db:
        return [str(row[0]) for row in db.execute(sql.SQL(which).format(table))]


def idle_worker(scene: FarScene, **environ: str) -> Process:
    """Start a worker, and wait until its offer stands."""
    worker = scene.worker("--slots", "4", **environ)
    own = f":{worker.child.pid}:"
    scene.until(
        lambda: any(own in name for name in offers(scene)), "the worker makes its offer", PATIENCE_S
    )
    return worker


def handed_while_it_stands(scene: FarScene) -> Process:
    """Stop an idle worker, and hand it a job: the news lie unread in its socket."""
    worker = idle_worker(scene, **LEASE)
    worker.freeze()
    scene.enqueue("touch", "handed")
    [record] = scene.records()
    assert (record.state, record.attempt, record.claim) == ("running", 1, 1)
    assert f":{worker.child.pid}:" in str(record.worker)
    return worker


def test_a_worker_that_goes_on_runs_what_it_was_handed(scene: FarScene) -> None:
    """The news are read late, and the job runs once, under the claim that the enqueue has made."""
    worker = handed_while_it_stands(scene)
    worker.send(signal.SIGCONT)
    scene.until_done(PATIENCE_S)
    [record] = scene.records()
    assert (record.state, record.attempt, record.claim) == (JobState.SUCCEEDED, 1, 1)
    assert scene.started("handed") == 1
    assert scene.stop(worker) == 0
    assert offers(scene) == []


def test_a_worker_told_to_stop_as_the_news_come_gives_the_job_back(scene: FarScene) -> None:
    """SIGTERM and the news in one moment: it ends well, and the job is not left to a rescue."""
    worker = handed_while_it_stands(scene)
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGCONT)
    assert worker.wait() == 0
    assert [record.state for record in scene.records()] in (["ready"], ["succeeded"])
    finish(scene, scene.worker(), patience=PATIENCE_S)
    assert (scene.records()[0].attempt, scene.started("handed")) == (1, 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_gone_as_the_news_come_costs_the_others_nothing(
    scene: FarScene, number: signal.Signals
) -> None:
    """Its one job waits for the rescue and runs once; the next ones run on others at once."""
    worker = handed_while_it_stands(scene)
    worker.send(number)
    other = scene.worker("--slots", "4", **LEASE)
    scene.enqueue("touch", "t0", "t1", "t2")
    scene.until(lambda: all(scene.started(f"t{n}") for n in range(3)), "the others run")
    scene.until(lambda: scene.running("touch") == 1, "one job waits")
    scene.until_done(PATIENCE_S)
    if number is signal.SIGSTOP:
        worker.send(signal.SIGCONT)
        scene.until(lambda: "goes on as" in worker.said, "it learns of it")
    scene.enqueue("touch", "later")
    scene.until_done(PATIENCE_S)
    assert [scene.started(key) for key in ("handed", "t0", "t1", "t2", "later")] == [1] * 5
    assert scene.stop(other) == 0


def test_an_idle_worker_that_is_killed_is_handed_nothing(scene: FarScene) -> None:
    """Its offer is there still, but nobody listens: the job is ready for the others at once."""
    worker = idle_worker(scene, **LEASE)
    worker.kill()
    scene.until(lambda: not offers(scene, HEARD), "the server knows")
    scene.enqueue("touch", "t0")
    assert len(offers(scene)) == 1
    assert [record.state for record in scene.records()] == ["ready"]
    finish(scene, scene.worker(), patience=PATIENCE_S)


def test_a_producer_killed_after_its_commit_has_handed_its_job_over(scene: FarScene) -> None:
    """The worker that was idle runs it, once, whether or not it hears of it."""
    worker = idle_worker(scene)
    producer = scene.start("producer", "p", "3", fault="enqueue.after_commit:kill@2")
    assert producer.wait() == -signal.SIGKILL, producer.said
    finish(scene, worker, patience=PATIENCE_S)


def test_what_was_handed_over_is_there_after_a_crash_of_the_server(tmp_path: Path) -> None:
    """The claim is as durable as the job: the worker starts it once, under the same number."""
    with Postgres(fsync="on") as server, FarScene(tmp_path, server.url).prepare() as scene:
        worker = handed_while_it_stands(scene)
        server.kill()
        server.start()
        [record] = scene.records()
        assert (record.state, record.attempt, record.claim) == ("running", 1, 1)
        worker.send(signal.SIGCONT)
        scene.until_done(PATIENCE_S)
        assert scene.started("handed") == 1
        assert [(one.state, one.attempt) for one in scene.records()] == [("succeeded", 1)]
