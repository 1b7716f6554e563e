"""SIGKILL of a relay between every two steps: nothing is lost, nothing runs twice, order stays."""

import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Final

import pytest

from tests.transit.kit import WAIT_S, Shop
from treadle import Worker
from treadle.store.outbox.table import PAGE
from treadle.testing.faults import points

POINTS: Final = [point.name for point in points() if point.name.startswith("relay.")]
JOBS: Final = PAGE + 20


def relay(shop: Shop, *fault: str) -> subprocess.CompletedProcess[str]:
    """Run `treadle relay --once` as a process, with a fault or without."""
    words = ["relay", "--once", "--store", shop.app.settings.store, "--outbox", shop.url]
    module = ["treadle.testing.faults", *fault, "--"] if fault else ["treadle"]
    return subprocess.run(
        [sys.executable, "-m", *module, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


def enqueue(shop: Shop) -> list[str]:
    """Write more than a page in one transaction; give the ids."""
    with shop.connected() as db:
        calls = [(n,) for n in range(JOBS)]
        jobs = shop.mail.using(connection=db).enqueue_many(calls)
        db.commit()
    return [job.id for job in jobs]


def test_the_points_are_there() -> None:
    """A relay can die before it sends, before it deletes and after that."""
    assert POINTS == ["relay.after_commit", "relay.after_read", "relay.after_send"]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_relay_is_followed_by_another(shop: Shop, point: str, nth: int) -> None:
    """The second one finishes: every id is in the store once, claimable in order."""
    ids = enqueue(shop)
    killed = relay(shop, f"{point}:kill@{nth}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = relay(shop)
    assert done.returncode == 0, done.stderr
    assert shop.say(shop.outbox.backlog()).waiting == 0
    assert shop.claimed(JOBS + 1) == ids


def test_what_ran_between_two_relays_does_not_run_again(shop: Shop) -> None:
    """The first dies after it has sent; its jobs run; the second sends nothing again."""
    starts: Counter[int] = Counter()

    @shop.app.task(name="count")
    def count(number: int) -> None:
        starts[number] += 1

    with shop.connected() as db:
        count.using(connection=db).enqueue_many([(n,) for n in range(50)])
        db.commit()
    killed = relay(shop, "relay.after_send:kill@1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    Worker(shop.app, burst=True).run()
    assert shop.say(shop.outbox.backlog()).waiting == 50
    assert relay(shop).returncode == 0
    Worker(shop.app, burst=True).run()
    assert starts == Counter(range(50))
