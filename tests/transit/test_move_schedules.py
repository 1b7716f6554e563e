"""`treadle move` takes schedules along: killed anywhere, both sides firing, merged, refused."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import pytest
from click.testing import CliRunner
from msgspec import json as bytes_json
from msgspec.structs import replace

from tests.transit.houses import WAIT_S, House, Make, move
from treadle import Cron, Every, Treadle
from treadle.cli.main import cli
from treadle.core import fault
from treadle.core.errors import ScheduleError
from treadle.core.job import JobState
from treadle.core.schedule.record import read_schedule, write_schedule
from treadle.store.contract import Filter, Store
from treadle.store.parts.scheduled import Move as Write
from treadle.testing.faults import points
from treadle.transit.moving import Move as TakeAlong
from treadle.worker.firing.firing import Firing

STEPS: Final = ("seal", "adopt", "drop", "open")
POINTS: Final = [f"schedules.after_{step}" for step in STEPS]
DIRECTIONS: Final = (
    *(("sqlite", "redis"), ("redis", "postgresql")),
    *(("postgresql", "sqlite"), ("sqlite", "sqlite")),
)
PERIOD: Final = timedelta(milliseconds=100)
PULSE: Final = Every(PERIOD)
HOURLY: Final = Every(3_600)


@contextmanager
def shop(house: House, declares: Cron | Every | None = None) -> Iterator[Treadle]:
    """Open an application on a store; its code may declare the schedule `nightly`."""
    house.ids(JobState.READY)
    app = Treadle(house.url, settings={"namespace": house.namespace})

    @app.task(name="shop.mail")
    def mail() -> None: ...

    if declares is not None:
        app.schedule(declares, name="nightly")(mail)
        app.schedules.declare()
    try:
        yield app
    finally:
        app.close()


def names(house: House) -> list[str]:
    """Give the names of a store's schedules."""
    with shop(house) as app:
        return [one.name for one in app.schedules.list()]


def busy(house: House) -> None:
    """Put in a schedule of ten ticks a second, each of which must become a job."""
    with shop(house) as app:
        app.schedules.add(PULSE, "shop.mail", name="pulse", misfire="all", overlap="allow")


async def fire(store: Store, namespace: str, over: asyncio.Event) -> None:
    """Do what each worker does about schedules, as fast as it can."""
    firing = Firing(store, namespace, lambda _: True)
    while not over.is_set():
        await firing.look()
        await asyncio.sleep(0.005)


async def ticks(store: Store) -> list[str]:
    """Give the ticks whose jobs are in this store."""
    found = [r for r in await store.find(Filter(), limit=2_000) if r.meta is not None]
    return [bytes_json.decode(record.meta or b"")["tick"] for record in found]


def unbroken(said: Sequence[str]) -> None:
    """Assert that each tick from the first to the last is there, and once."""
    assert [tick for tick, count in Counter(said).items() if count > 1] == []
    instants = sorted(datetime.fromisoformat(tick) for tick in said)
    assert [b - a for a, b in pairwise(instants) if b - a != PERIOD] == []


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(("source", "target"), DIRECTIONS[:3])
def test_no_tick_is_lost_or_fired_twice(house: Make, source: str, target: str, point: str) -> None:
    """Both sides fire all the time, the move is killed in the middle and given again."""
    here, there = house(source), house(target)
    busy(here)
    over = asyncio.Event()

    async def main() -> list[str]:
        async with (
            asyncio.timeout(WAIT_S),
            here.opened() as old,
            there.opened() as new,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(fire(old, here.namespace, over))
            group.create_task(fire(new, there.namespace, over))
            while len(await ticks(old)) < 3:  # noqa: ASYNC110 -- it is a store that fills
                await asyncio.sleep(0.01)
            killed = await asyncio.to_thread(move, here, there, fault=f"{point}:kill@1")
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            done = await asyncio.to_thread(move, here, there, "--json")
            assert done.returncode == 0, done.stderr
            fired = len(await ticks(new))
            while len(await ticks(new)) < fired + 3:  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.01)
            over.set()
            return [*await ticks(old), *await ticks(new)]

    said = asyncio.run(main())
    unbroken(said)
    assert (names(here), names(there)) == ([], ["pulse"])


def test_every_step_of_the_schedules_is_killed() -> None:
    """There is a point behind each of its writes."""
    found = [point.name for point in points() if point.name.startswith("schedules.")]
    assert sorted(POINTS) == sorted(found)


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_a_schedule_arrives_as_it_was(house: Make, source: str, target: str) -> None:
    """Trigger, next tick, pause with its note, counts, limit and last job go along."""
    here, there = house(source), house(target)
    with shop(here) as app:
        app.schedules.add(HOURLY, "shop.mail", name="hourly", limit=7)
        app.schedules.trigger("hourly")
        app.schedules.skip("hourly", 2)
        app.schedules.add(Cron("0 4 * * *", tz="Europe/Berlin"), "shop.mail", name="nightly")
        app.schedules.pause("nightly", "till the audit is over", by="ann")
        before = app.schedules.list()
    assert {one.name: one.paused is None for one in before} == {"hourly": True, "nightly": False}
    dry = json.loads(move(here, there, "--dry-run", "--json").stdout)
    assert dry["schedules"]["names"] == ["hourly", "nightly"]
    assert (names(here), names(there)) == (["hourly", "nightly"], [])
    done = move(here, there)
    assert done.returncode == 0, done.stderr
    assert "2 schedules moved:\n  hourly\n  nightly\n" in done.stdout
    with shop(there) as app:
        assert list(app.schedules.list()) == list(before)
        assert app.schedules.resume("nightly").next is not None
    assert names(here) == []


def test_a_sealed_schedule_says_so_and_cannot_be_removed(house: Make) -> None:
    """After a killed move it does not fire, resumed or not, until the move has ended."""
    here, there = house("sqlite"), house("redis")
    with shop(here) as app:
        app.schedules.add(HOURLY, "shop.mail", name="hourly")
    assert move(here, there, fault="schedules.after_seal:kill@1").returncode == -signal.SIGKILL
    assert (
        "treadle move" in CliRunner().invoke(cli, ["schedules", "ls", "--store", here.url]).output
    )
    with shop(here) as app:
        assert app.schedules.resume("hourly").next is None
        with pytest.raises(ScheduleError, match="give that command again"):
            app.schedules.remove("hourly")


def test_a_pause_between_two_tries_goes_along(house: Make) -> None:
    """What a person changes here after the copy was written there is not lost."""
    here, there = house("sqlite"), house("redis")
    with shop(here) as app:
        app.schedules.add(HOURLY, "shop.mail", name="hourly")
    assert move(here, there, fault="schedules.after_adopt:kill@1").returncode == -signal.SIGKILL
    with shop(here) as app:
        app.schedules.pause("hourly", "late", by="ann")
    assert move(here, there).returncode == 0
    with shop(there) as app:
        paused = app.schedules.get("hourly").paused
    assert paused is not None
    assert paused.note == "late"


@pytest.mark.parametrize("point", POINTS[:3])
def test_a_pause_in_the_middle_of_a_move_goes_along(house: Make, point: str) -> None:
    """A person who changes a schedule between two steps of a move finds the change there."""
    here, there = house("sqlite"), house("redis")
    with shop(here) as app:
        app.schedules.add(HOURLY, "shop.mail", name="hourly")

    async def main(app: Treadle) -> None:
        hits = Counter[str]()

        def pause(name: str) -> None:
            hits[name] += 1
            if name == point and hits[name] == 1:
                app.schedules.pause("hourly", "late", by="ann")

        async with here.opened() as old, there.opened() as new:
            fault.arm(pause)
            try:
                report = await TakeAlong(old, new, "m", lambda _: None).run()
            finally:
                fault.arm(None)
            assert report.schedules.names == ["hourly"]

    with shop(here if point != "schedules.after_drop" else there) as app:
        thread = ThreadPoolExecutor(1)
        thread.submit(asyncio.run, main(app)).result(WAIT_S)
        thread.shutdown()
    with shop(there) as app:
        paused = app.schedules.get("hourly").paused
    assert paused is not None
    assert names(here) == []


@pytest.mark.parametrize("point", ["", *POINTS])
def test_what_code_declares_on_both_sides_becomes_one(house: Make, point: str) -> None:
    """Counts add up once, a pause of any moment goes along, and neither side declares it anew."""
    here, there = house("sqlite"), house("redis")
    with shop(here, HOURLY) as app:
        app.schedules.pause("nightly", "why", by="ann")
    let_fire(here, fired=5)
    with shop(there, HOURLY):
        let_fire(there, fired=2)
    if point:
        assert move(here, there, fault=f"{point}:kill@1").returncode == -signal.SIGKILL
    if point and names(here):
        with shop(here) as app:
            app.schedules.pause("nightly", "why not", by="ann")
    assert move(here, there).returncode == 0
    with shop(here, HOURLY) as app:
        assert app.schedules.list() == []
    with shop(there, HOURLY) as app:
        one = app.schedules.get("nightly")
    assert (one.fired, one.declared, one.paused is not None) == (7, True, True)


def let_fire(house: House, *, fired: int) -> None:
    """Let a schedule have fired so often."""

    async def write(store: Store) -> None:
        [row] = await store.schedules(["nightly"])
        assert row is not None
        counted = replace(read_schedule(row.body), fired=fired)
        assert await store.fire([Write("nightly", row.revision, write_schedule(counted), row.due)])

    house.run(write)


def test_what_was_declared_goes_when_the_code_no_longer_declares_it(house: Make) -> None:
    """The new store knows what the code of the old one declared, so new code can take it back."""
    here, there = house("sqlite"), house("redis")
    with shop(here, HOURLY):
        pass
    assert move(here, there).returncode == 0
    assert names(there) == ["nightly"]
    with shop(there) as app:
        assert list(app.schedules.declare().removed) == ["nightly"]


def test_code_that_declares_no_more_leaves_what_is_on_its_way(house: Make) -> None:
    """A worker of new code that starts here between two tries deletes nothing."""
    here, there = house("sqlite"), house("redis")
    with shop(here, HOURLY):
        pass
    assert move(here, there, fault="schedules.after_seal:kill@1").returncode == -signal.SIGKILL
    with shop(here) as app:
        assert list(app.schedules.declare(force=True).removed) == []
    assert move(here, there).returncode == 0
    assert (names(here), names(there)) == ([], ["nightly"])


def test_another_schedule_of_that_name_is_refused(house: Make) -> None:
    """It is named with what to do, both go on firing, and the rest moves."""
    here, there = house("sqlite"), house("redis")
    with shop(here) as app:
        app.schedules.add(HOURLY, "shop.mail", name="hourly")
        app.schedules.add(HOURLY, "shop.mail", name="other")
    with shop(there) as app:
        app.schedules.add(Every(60), "shop.mail", name="hourly")
    dry = json.loads(move(here, there, "--dry-run", "--json").stdout)["schedules"]
    assert (dry["names"], dry["refused"]) == (["other"], 1)
    done = move(here, there)
    assert done.returncode == 1, done.stderr
    assert "hourly: another schedule of this name is in the new store" in done.stdout
    with shop(here) as old, shop(there) as new:
        assert old.schedules.get("hourly").next is not None
        assert new.schedules.get("hourly").words == "every 0:01:00"
    assert (names(here), names(there)) == (["hourly"], ["hourly", "other"])


def test_one_made_there_after_a_kill_gives_the_sealed_one_back(house: Make) -> None:
    """The move that comes again refuses it by name, and it fires here as before."""
    here, there = house("sqlite"), house("redis")
    with shop(here) as app:
        before = app.schedules.add(HOURLY, "shop.mail", name="hourly")
    assert move(here, there, fault="schedules.after_seal:kill@1").returncode == -signal.SIGKILL
    with shop(there) as app:
        app.schedules.add(Every(60), "shop.mail", name="hourly")
    assert move(here, there).returncode == 1
    with shop(here) as app:
        assert app.schedules.get("hourly") == before


def test_another_moves_schedule_is_left_to_it(house: Make) -> None:
    """It is refused by name, and the move that it belongs to ends as if nothing had been."""
    here, there, third = house("sqlite"), house("redis"), house("sqlite")
    with shop(here) as app:
        app.schedules.add(HOURLY, "shop.mail", name="hourly")
    assert move(here, there, fault="schedules.after_adopt:kill@1").returncode == -signal.SIGKILL
    done = move(here, third)
    assert done.returncode == 1
    assert "hourly: another move has sealed it" in done.stdout
    assert move(here, there).returncode == 0
    assert (names(here), names(there), names(third)) == ([], ["hourly"], [])


def test_one_store_under_two_names_keeps_its_schedules(house: Make) -> None:
    """The move is refused before it comes to the schedule, which fires as before."""
    here = house("redis")
    other = House(here.url.replace("127.0.0.1", "localhost"), here.namespace)
    with shop(here) as app:
        before = app.schedules.add(HOURLY, "shop.mail", name="hourly")
    done = move(here, other)
    assert done.returncode == 2, done.stdout
    assert "both names lead to the same store" in done.stderr
    with shop(here) as app:
        assert app.schedules.list() == [before]
