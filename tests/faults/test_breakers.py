"""A breaker outlives the workers that trip and probe it: none stays half open for ever."""

from pathlib import Path

import pytest

from tests.faults.far import EACH_STORE, scene_on
from tests.faults.scene import Scene, finish
from treadle.client.gates.control import GateInfo

JOBS = 12


def _breaker(scene: Scene) -> GateInfo | None:
    app = scene.app()
    found = app.gates.get("shop")
    app.close()
    return found


def _has_tripped(scene: Scene) -> bool:
    found = _breaker(scene)
    return found is not None and found.breaker != "closed"


@pytest.mark.timeout(120)
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
        scene.until(lambda: doomed.ended, "the probe's worker has died")
        crew = [scene.worker() for _ in range(2)]
        finish(scene, *crew, patience=60)
        found = _breaker(scene)
        assert found is not None
        assert (found.breaker, found.waiting, found.paused) == ("closed", 0, False)
        assert {job.state for job in scene.stored()} == {"succeeded"}


@pytest.mark.timeout(120)
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
