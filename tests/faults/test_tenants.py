"""Tenants of any name, and workers that die among their jobs: each job has its turn."""

from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import EACH_STORE, scene_on
from tests.faults.scene import PATIENT, check_crowd, finish

ODD: Final = (
    *(
        "it's",
        '"a"',
        "a\\b",
        "{a}",
        "%s",
        ":x",
        "*",
        "\u540d",
        "\u00e9",
        "e\u0301",
        "A",
        "a",
        "n" * 200,
    ),
    *("a b", "-1", "null", "[(", "\U0001f600", "x:y"),
)
"""Names that mean something to a template, a pattern, a range of names or SQL."""
EACH: Final = 8


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", EACH_STORE)
def test_workers_that_die_as_they_claim_leave_each_tenant_its_turns(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Jobs of nineteen tenants, some of them all behind a gate: each runs once and well."""
    points = ["exchange.after_commit:kill@2", "claim.accepted:kill@1"]
    if store == "sqlite":
        points += ["exchange.before_commit:kill@2"]
    with scene_on(store, tmp_path / "scene", request) as scene:
        scene.settings |= PATIENT
        app = scene.app()
        for place, name in enumerate(ODD):
            app.tenant(name, weight=0.01 if place % 2 else 100)
            task = "bounded" if place % 3 == 0 else "tiny"
            keys = [f"{task}-{place}-{n}" for n in range(EACH)]
            scene.ledger.write("TRY", *keys)
            own = app.named(task).using(tenant=name)
            own.enqueue_many([(key,) for key in keys])
            scene.ledger.write("OK", *keys)
        assert {tenant.name for tenant in app.tenants()} == set(ODD)
        app.close()
        for point in points:
            doomed = scene.worker(fault=point)
            scene.until(lambda doomed=doomed: doomed.ended, f"{point} has struck", 60)  # type: ignore[misc]
        account = finish(scene, scene.worker(), scene.worker(), patience=60)
        assert account.sound
        check_crowd(scene.ledger.entries())
        assert scene.places("bounded") == (0, 0)
        app = scene.app()
        jobs = app.jobs(limit=2 * EACH * len(ODD))
        app.close()
        assert sorted(str(job.tenant) for job in jobs) == sorted(ODD * EACH)
