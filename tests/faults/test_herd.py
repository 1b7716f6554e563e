"""Fifty workers on one queue with next to nothing to do."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import FarScene
from tests.faults.scene import Process, Scene, finish
from treadle.testing.servers import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WORKERS: Final = 50
PATIENCE_S: Final = 180.0
"""How long fifty processes may take to start on a busy machine."""
IDLE_S: Final = 5.0
IDLE_MOST: Final = 0.02
"""Of a core, each, in the mean of all: twice what one alone may have, as they share few cores."""
WOKEN_MOST_S: Final = 0.05
"""Processor time of each for one job that comes and goes."""


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Give a scene with the settings of real work, on a server with room for fifty workers."""
    if request.param == "sqlite":
        yield Scene(tmp_path, {}).prepare()
    elif request.param == "redis":
        yield FarScene(tmp_path, str(request.getfixturevalue("redis_url")), {}).prepare()
    else:
        with Postgres(max_connections="300") as server:
            yield FarScene(tmp_path, server.url, {}).prepare()


def used(workers: list[Process]) -> float:
    """Give the seconds of processor time that all of them have used, by proc(5)."""
    ticks = 0
    for one in workers:
        said = Path("/proc", str(one.child.pid), "stat").read_text().rpartition(")")[2].split()
        ticks += int(said[11]) + int(said[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_one_job_for_fifty_idle_workers(scene: Scene) -> None:
    """They idle at under 2 % of a core each, and one of them alone runs the job."""
    with scene:
        workers = [scene.worker("--slots", "1") for _ in range(WORKERS)]
        scene.until(lambda: all(one.ready for one in workers), "they are ready", PATIENCE_S)
        time.sleep(IDLE_S)  # Until what a start leaves behind is over.
        before = used(workers)
        time.sleep(IDLE_S)  # What is measured is a length of time in which nothing happens.
        idle = (used(workers) - before) / WORKERS / IDLE_S
        before, began = used(workers), time.monotonic()
        scene.enqueue("touch", "one")
        scene.until_done()
        # Beyond what they would have used meanwhile with no job at all.
        woken = (used(workers) - before) / WORKERS - idle * (time.monotonic() - began)
        print(f"idle {idle:.2%} of a core each, {woken * 1000:.1f} ms each for a job")  # noqa: T201 -- a figure
        assert idle < IDLE_MOST
        assert woken < WOKEN_MOST_S
        assert scene.started("one") == 1
        scene.enqueue("touch", *(f"few{n}" for n in range(WORKERS)))
        assert finish(scene, *workers, patience=PATIENCE_S).overrun == []
