"""SIGKILL of a relay between every two steps: nothing is lost, nothing runs twice, order stays."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.transit.kit import WAIT_S, Shop, migrated
from treadle import StoreUnavailable, Treadle, Unique, Worker
from treadle.core import fault
from treadle.store.outbox.table import PAGE
from treadle.testing.faults import points
from treadle.transit.relay import Relay

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
    """A relay can die before it looks, before it sends, before it deletes and after that."""
    names = ["after_commit", "after_look", "after_read", "after_send"]
    assert [f"relay.{name}" for name in names] == POINTS


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


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> Iterator[Shop]:
    """Give an application of each store, with an outbox in a SQLite file."""
    assert namespace
    if request.param == "sqlite":
        store = f"sqlite:///{tmp_path}/jobs.db"
    else:
        fixture = "redis_url" if request.param == "redis" else "postgres_url"
        store = request.getfixturevalue(fixture)
    with _opened(store, f"sqlite:///{tmp_path}/shop.db") as shop:
        yield shop


@pytest.mark.parametrize("point", POINTS)
def test_a_call_that_went_into_another_job_is_not_run_again(elsewhere: Shop, point: str) -> None:
    """Its relay dies, the job that took it runs, and the next relay does not store it anew."""
    ran: list[int] = []

    @elsewhere.app.task(name="last", unique=Unique(key="k", on_conflict="replace"))
    def last(number: int) -> None:
        ran.append(number)

    with elsewhere.connected() as db:
        for number in (1, 2):
            last.using(connection=db).enqueue(number)
        db.commit()
    killed = relay(elsewhere, f"{point}:kill@1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    Worker(elsewhere.app, burst=True).run()
    done = relay(elsewhere)
    assert done.returncode == 0, done.stderr
    Worker(elsewhere.app, burst=True).run()
    assert ran == [2]
    assert elsewhere.say(elsewhere.outbox.backlog()).waiting == 0


@pytest.mark.parametrize("outbox_url", ["postgresql"], indirect=True)
def test_a_relay_that_stood_still_sends_nothing_twice(
    namespace: str, postgres_url: str, outbox_url: str
) -> None:
    """It has looked and loses its turn; others relay, the jobs run; then its enqueue arrives."""
    assert namespace
    with _opened(postgres_url, outbox_url) as shop:
        _overtaken(shop)


def _overtaken(shop: Shop) -> None:
    starts: Counter[int] = Counter()

    @shop.app.task(name="count")
    def count(number: int) -> None:
        starts[number] += 1

    def write(*numbers: int) -> None:
        with shop.connected() as db:
            count.using(connection=db).enqueue_many([(n,) for n in numbers])
            db.commit()

    def overtake(name: str) -> None:
        if name != "relay.after_look":
            return
        fault.arm(None)
        # The second page is another one than the first relay would read now.
        write(3)
        deadline = time.monotonic() + WAIT_S
        with shop.relay() as other:
            while other.done.sent < 3:
                assert time.monotonic() < deadline, "the server ends the turn of who stands still"
                if not other.step():
                    time.sleep(0.05)
        Worker(shop.app, burst=True).run()

    write(1, 2)
    desk = shop.desk(timeout=2.0)
    fault.arm(overtake)
    try:
        with pytest.raises(StoreUnavailable, match="the outbox's database"):
            Relay(desk, shop.app.store, poll=0.05).step()
    finally:
        fault.arm(None)
        desk.close()
    Worker(shop.app, burst=True).run()
    assert starts == Counter([1, 2, 3])


@contextmanager
def _opened(store: str, outbox: str) -> Iterator[Shop]:
    app = Treadle(store, settings={"outbox": outbox})
    if store.startswith("postgresql"):
        asyncio.run(migrated(app))
    shop = Shop(app, outbox)
    shop.make()
    try:
        yield shop
    finally:
        app.close()
