"""A breaker outlives the workers that trip and probe it: none stays half open for ever."""

import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults import clocks
from tests.faults.far import EACH_STORE, scene_on
from tests.faults.scene import Process, Scene, finish
from treadle.client.gates.control import GateInfo

JOBS = 12
DOWN: Final = ("a", "b")
TRIES: Final = 3
TRIED_S: Final = 0.4 + 0.8
"""The cool-downs between the first of so many tries and the last: each doubles the one before."""


def _breaker(scene: Scene, name: str = "shop") -> GateInfo | None:
    app = scene.app()
    found = app.gates.get(name)
    app.close()
    return found


def _has_tripped(scene: Scene, name: str = "shop") -> bool:
    found = _breaker(scene, name)
    return found is not None and found.breaker != "closed"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", EACH_STORE)
def test_a_probe_whose_worker_is_killed_does_not_leave_the_breaker_half_open(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The rescuer settles it, the next job is let through, and all jobs end well."""
    with scene_on(store, tmp_path / "scene", request) as scene:
        down = Path(f"{scene.ledger.path}.down")
        down.touch()
        scene.enqueue("guarded", *(f"guarded{n}" for n in range(JOBS)))
        first = scene.worker()
        scene.until(lambda: _has_tripped(scene), "the breaker has opened")
        assert scene.stop(first) == 0, first.said
        down.unlink()
        doomed = scene.worker(fault="execute.after_return:kill@1")
        scene.until(lambda: doomed.ended, "the probe's worker has died", 60)
        crew = [scene.worker() for _ in range(2)]
        finish(scene, *crew, patience=60)
        found = _breaker(scene)
        assert found is not None
        assert (found.breaker, found.waiting, found.paused) == ("closed", 0, False)
        assert {job.state for job in scene.stored()} == {"succeeded"}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", EACH_STORE)
@pytest.mark.parametrize("point", ["exchange.after_commit", "execute.after_return"])
def test_workers_that_die_as_they_trip_it_leave_a_breaker_that_closes(
    store: str, point: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What a failure says is written with its settlement or not at all; the others go on."""
    with scene_on(store, tmp_path / "scene", request) as scene:
        down = Path(f"{scene.ledger.path}.down")
        down.touch()
        scene.enqueue("guarded", *(f"guarded{n}" for n in range(JOBS)))
        doomed = [scene.worker(fault=f"{point}:kill@3") for _ in range(2)]
        scene.until(lambda: all(one.ended for one in doomed), "the doomed have died", 60)
        crew = [scene.worker() for _ in range(2)]
        scene.until(lambda: _has_tripped(scene), "the breaker has opened")
        down.unlink()
        finish(scene, *crew, patience=60)
        found = _breaker(scene)
        assert found is not None
        assert (found.breaker, found.waiting) == ("closed", 0)
        assert {job.state for job in scene.stored()} == {"succeeded"}


def _begun(scene: Scene, host: str) -> int:
    """Count the attempts at a host."""
    entries = scene.ledger.entries()
    return sum(entry.word == "START" and entry.key.startswith(host) for entry in entries)


def _fleet(scene: Scene) -> list[Process]:
    """Start two workers whose clocks are an hour apart."""
    return [scene.worker(), scene.worker(**clocks.fixed(3_600))]


def _ends_well(scene: Scene) -> None:
    """Let two workers end every job, and both breakers close."""
    finish(scene, *_fleet(scene), patience=60)
    found = [_breaker(scene, f"host:{host}") for host in DOWN]
    assert [one and (one.breaker, one.waiting, one.paused) for one in found] == [
        ("closed", 0, False)
    ] * 2
    assert {job.state for job in scene.stored()} == {"succeeded"}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", EACH_STORE)
def test_a_breaker_for_each_host_under_two_clocks(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Two of three hosts are down: their jobs wait, one tries after each cool-down, the rest run.

    Two workers that are killed as they try, one after the other, leave neither half open.
    """
    if clocks.library() is None:
        pytest.skip("there is no libfaketime for this platform")
    with scene_on(store, tmp_path / "scene", request) as scene:
        files = [Path(f"{scene.ledger.path}.{host}.down") for host in DOWN]
        for file in files:
            file.touch()
        crew = _fleet(scene)
        # A file's time never goes back: the faster clock is there before a cool-down begins.
        scene.until(lambda: all(worker.ready for worker in crew), "both are ready")
        for host in (*DOWN, "c"):
            scene.enqueue("fetch", *(f"{host}{n}" for n in range(JOBS)), rest=(host,))
        for host in DOWN:
            scene.until(lambda host=host: _has_tripped(scene, f"host:{host}"), f"{host} is open")  # type: ignore[misc]
        scene.until(lambda: scene.running("fetch") == 0, "what was claimed before has ended")
        since, begun = time.monotonic(), {host: _begun(scene, host) for host in DOWN}
        for host in DOWN:
            scene.until(
                lambda host=host: _begun(scene, host) >= begun[host] + TRIES,  # type: ignore[misc]
                f"{host} is tried again",
            )
            assert time.monotonic() - since > TRIED_S
        scene.until(lambda: scene.unfinished() == 2 * JOBS, "the third host's jobs have ended")
        for worker in crew:
            assert scene.stop(worker) == 0, worker.said
        for environ in ({}, clocks.fixed(3_600)):
            doomed = scene.worker(fault="execute.after_return:kill@1", **environ)
            # The later it is, the longer is the cool-down it has come to.
            scene.until(lambda doomed=doomed: doomed.ended, "who tried has died", 60)  # type: ignore[misc]
        for file in files:
            file.unlink()
        _ends_well(scene)
        app = scene.app()
        spent = sum(job.attempt for job in app.jobs(limit=4 * JOBS))
        app.close()
        started = sum(_begun(scene, host) for host in (*DOWN, "c"))
        # A worker that was killed may have had a second job that was about to start.
        assert started <= spent <= started + 2
