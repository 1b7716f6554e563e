"""`treadle move`: between any two stores, killed anywhere, refused and unreachable."""

import asyncio
import json
import signal
from typing import Final

import psycopg
import pytest
import redis
from click.testing import CliRunner

from tests.conformance.own_redis import needs_program
from tests.transit.houses import KINDS, RUNNABLE, STATES, WAIT_S, House, Make, move, new_job
from treadle.cli.main import cli
from treadle.core.durations import SECOND
from treadle.core.errors import StoreUnavailable
from treadle.core.gates.gate import FOREVER
from treadle.core.ids import id_text, new_id
from treadle.core.job import JobState
from treadle.core.keys.key import Key, Until
from treadle.core.outcome import Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.parts.moving import PARCELS_MAX
from treadle.testing.conformance.kit import Hand, settlement, worker_info
from treadle.testing.faults import points
from treadle.testing.proxy import Proxy
from treadle.testing.servers import Redis
from treadle.transit.moving import Move

POINTS: Final = [point.name for point in points() if point.name.startswith("move.")]
OF_PAGES: Final = [point for point in POINTS if point != "move.after_starts"]
"""Those that every page of jobs comes to; `test_move_rules` kills at the other one."""


def moved_home(source: House, target: House, ids: list[bytes], states: dict[str, int]) -> None:
    """Assert that all of these are there, none is here, in so many of each state."""
    assert source.ids(*STATES) == set()
    there = target.records(*STATES)
    assert sorted(record.id for record in there) == sorted(ids)
    found = {str(state): sum(r.state is state for r in there) for state in STATES}
    assert {state: count for state, count in found.items() if count} == states


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_jobs_move_between_any_two_stores(house: Make, source: str, target: str) -> None:
    """In either direction, with what belongs to them; the ready ones can be claimed in order."""
    here, there = house(source), house(target)
    ids = here.fill(5)
    before = {record.id: record for record in here.records(*STATES)}
    done = move(here, there, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["moved"] == {
        "default": {"failed": 3, "ready": 5, "retrying": 3},
        "slow": {"scheduled": 3},
    }
    moved_home(here, there, ids, {"ready": 5, "scheduled": 3, "retrying": 3, "failed": 3})
    for record in there.records(*STATES):
        was = before[record.id]
        for name in ("task", "args", "queue", "priority", "attempt", "claim", "created_at"):
            assert getattr(record, name) == getattr(was, name)
        assert (record.state, record.run_at, record.error) == (was.state, was.run_at, was.error)


@pytest.mark.parametrize("nth", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("point", OF_PAGES)
@pytest.mark.parametrize(
    ("source", "target"), [("sqlite", "redis"), ("redis", "postgresql"), ("postgresql", "sqlite")]
)
def test_a_killed_move_is_taken_up_again(
    house: Make, source: str, target: str, point: str, nth: int
) -> None:
    """No id is runnable in both at any time or lost; the same command moves the rest."""
    here, there = house(source), house(target)
    ids = here.fill(210)
    killed = move(here, there, fault=f"{point}:kill@{nth}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert here.ids(*RUNNABLE) & there.ids(*RUNNABLE) == set()
    assert here.ids(*STATES) | there.ids(*STATES) == set(ids)
    done = move(here, there)
    assert done.returncode == 0, done.stderr
    moved_home(here, there, ids, {"ready": 210, "scheduled": 3, "retrying": 3, "failed": 3})


def test_every_step_of_a_move_is_killed() -> None:
    """There is a point behind each of its writes."""
    steps = ("starts", "seal", "adopt", "drop", "open")
    assert sorted(POINTS) == sorted(f"move.after_{step}" for step in steps)


def test_a_job_that_ran_after_a_killed_move_does_not_run_again(house: Make) -> None:
    """What was opened there before the kill is done there; the second move leaves it so."""
    here, there = house("sqlite"), house("redis")
    here.fill(210, others=0)
    killed = move(here, there, fault="move.after_open:kill@1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    opened = there.ids(*RUNNABLE)
    assert opened

    async def run_all(store: Store) -> None:
        hand = Hand(store, worker_info("w"))
        await hand.register()
        for claim in await hand.claim(500):
            await hand.settle(settlement(claim, Succeeded(b"1", 1)))

    there.run(run_all)
    assert move(here, there).returncode == 0
    assert there.ids(JobState.SUCCEEDED) == opened
    assert there.ids(*RUNNABLE) & opened == set()
    assert here.ids(*STATES) == set()


def test_a_sealed_job_explains_itself(house: Make) -> None:
    """Who finds one after a killed move is told what brings it on."""
    here, there = house("sqlite"), house("redis")
    [id_] = here.fill(1, others=0)
    assert move(here, there, fault="move.after_seal:kill@1").returncode == -signal.SIGKILL
    words = ["jobs", "explain", id_text(id_), "--store", here.url]
    said = CliRunner().invoke(cli, words).output
    assert "blocked" in said
    assert "`treadle move` has sealed it" in said


def test_what_is_cancelled_while_sealed_stays_cancelled(house: Make) -> None:
    """A person cancels a job of a move that was killed: it is opened nowhere."""
    here, there = house("sqlite"), house("redis")
    ids = here.fill(3, others=0)
    assert move(here, there, fault="move.after_adopt:kill@1").returncode == -signal.SIGKILL

    async def cancel(store: Store) -> None:
        await store.cancel(ids[:1])

    here.run(cancel)
    assert move(here, there).returncode == 0
    assert here.ids(JobState.CANCELLED) == set(ids[:1])
    assert there.ids(*STATES) == set(ids[1:])


def test_a_dry_run_changes_nothing(house: Make) -> None:
    """It counts by queue and state, and names what would be refused."""
    here, there = house("sqlite"), house("postgresql")
    here.fill(2)

    async def spoil(store: Store) -> None:
        await store.enqueue(new_id(), [new_job(task="a\0b")])

    here.run(spoil)
    before = here.records(*STATES)
    said = json.loads(move(here, there, "--dry-run", "--json").stdout)
    assert said["moved"]["default"] == {"failed": 3, "ready": 2, "retrying": 3}
    assert (said["refused"], said["left"]) == (1, 0)
    assert "zero character" in said["refusals"][0]["why"]
    assert [r.id for r in here.records(*STATES)] == [r.id for r in before]
    assert there.ids(*STATES) == set()


def test_a_refused_job_stays_and_holds_up_nobody(house: Make) -> None:
    """It is named, the exit code is 1, and it can still run where it is."""
    here, there = house("sqlite"), house("postgresql")
    ids = here.fill(3, others=0)
    bad = new_job(task="a\0b")

    async def spoil(store: Store) -> None:
        await store.enqueue(new_id(), [bad])

    here.run(spoil)
    done = move(here, there)
    assert done.returncode == 1, done.stderr
    assert "1 job stay" in done.stdout
    assert here.ids(JobState.READY) == {bad.id}
    assert there.ids(JobState.READY) == set(ids)


def test_what_a_store_refuses_only_when_it_is_written_fails_alone(
    house: Make, postgres_url: str
) -> None:
    """A batch with such a job is written one by one; that job opens again where it was."""
    here, there = house("sqlite"), house("postgresql")
    ids = here.fill(3, others=0)
    bad = new_job(tenant="banned")

    async def spoil(store: Store) -> None:
        await store.enqueue(new_id(), [bad])

    here.run(spoil)
    there.ids(JobState.READY)
    schema = there.url.rpartition("=")[2]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        rule = f"alter table {schema}.treadle_shop_jobs add check (tenant <> 'banned')"
        db.execute(rule.encode())
    done = move(here, there, "--json")
    assert done.returncode == 1, done.stderr
    assert [one["why"] for one in json.loads(done.stdout)["refusals"]] != []
    assert here.ids(JobState.READY) == {bad.id}
    assert there.ids(JobState.READY) == set(ids)


@pytest.mark.parametrize(("source", "target"), [("sqlite", "redis"), ("redis", "postgresql")])
def test_a_job_goes_without_its_key_and_is_named(house: Make, source: str, target: str) -> None:
    """The key is free on both sides then; a job whose key was freed before is not named."""
    here, there = house(source), house(target)
    holder, freed = new_job(key=Key("k", Until.END)), new_job(key=Key("f", Until.TIME, hold=1))

    async def enqueue(store: Store) -> None:
        await store.enqueue(new_id(), [holder, freed])

    async def again(store: Store) -> None:
        job = new_job(key=Key("k", Until.END))
        assert await store.enqueue(new_id(), [job]) == [JobState.READY]

    here.run(enqueue)
    lost = [{"id": id_text(holder.id), "key": "k"}]
    dry = json.loads(move(here, there, "--dry-run", "--json").stdout)
    assert (dry["without_their_keys"], dry["lost_keys"]) == (1, lost)
    done = move(here, there, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lost_keys"] == lost
    assert there.ids(JobState.READY) == {holder.id, freed.id}
    there.run(again)
    here.run(again)


def test_running_jobs_stay_and_are_told(house: Make) -> None:
    """The exit code is 1; with --wait the move waits for them and takes what they leave."""
    here, there = house("redis"), house("sqlite")
    here.fill(2, others=0)

    async def main() -> None:
        async with here.opened() as source:
            hand = Hand(source, worker_info("w"))
            await hand.register()
            assert len(await hand.claim(1)) == 1
            done = await asyncio.to_thread(move, here, there, "--json")
            assert done.returncode == 1, done.stderr
            assert json.loads(done.stdout)["running"] == 1
            more = new_job()
            await source.enqueue(new_id(), [more])
            waits = asyncio.create_task(asyncio.to_thread(move, here, there, "--wait", "20s"))
            # Once this one has left, the command is at work.
            while await source.get([more.id]) != [None]:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.01)
            assert await source.leave("w") == 1
            assert (await waits).returncode == 0

    asyncio.run(asyncio.wait_for(main(), WAIT_S))
    assert len(there.ids(JobState.READY)) == 3


def test_a_paused_queue_stays_paused(house: Make) -> None:
    """Before any of its jobs can run there."""
    here, there = house("sqlite"), house("redis")
    here.fill(1)

    async def pause(store: Store) -> None:
        await store.pause("slow")

    here.run(pause)
    assert move(here, there).returncode == 0

    async def look(store: Store) -> None:
        assert [q.name for q in await store.queues() if q.paused] == ["slow"]

    there.run(look)


def test_a_paused_task_stays_paused(house: Make) -> None:
    """With its note, for good or for as long as it was to be."""
    here, there = house("sqlite"), house("redis")
    here.fill(1)

    async def pause(store: Store) -> None:
        await store.shut_gate("task:shop.mail", note="wrong sender")
        await store.shut_gate("task:shop.bill", delay=3600 * SECOND)

    here.run(pause)
    assert move(here, there).returncode == 0

    async def look(store: Store) -> None:
        bill, mail = await store.gates()
        assert (mail.name, mail.note, mail.shut_until) == (
            "task:shop.mail",
            "wrong sender",
            FOREVER,
        )
        assert bill.name == "task:shop.bill"
        assert bill.shut_until is not None
        assert bill.shut_until < FOREVER

    there.run(look)


def test_one_store_is_no_move(house: Make) -> None:
    """Under the same name, or under two names of one server: nothing is changed."""
    here = house("redis")
    ids = here.fill(3, others=0)
    other = House(here.url.replace("127.0.0.1", "localhost"), here.namespace)
    for target in (here, other):
        done = move(here, target)
        assert done.returncode == 2, done.stdout
        assert "the same store" in done.stderr
    assert here.ids(JobState.READY) == set(ids)


def test_another_moves_jobs_are_left_to_it(house: Make) -> None:
    """They are told of, and the move that they belong to ends later as if nothing had been."""
    here, there, third = house("sqlite"), house("redis"), house("sqlite")
    ids = here.fill(3, others=0)
    assert move(here, there, fault="move.after_adopt:kill@1").returncode == -signal.SIGKILL
    done = move(here, third)
    assert done.returncode == 1
    assert "another move" in done.stdout
    assert third.ids(*STATES) == set()
    assert move(here, there).returncode == 0
    moved_home(here, there, ids, {"ready": 3})


def test_a_target_that_goes_away_in_the_middle_loses_nothing(house: Make, redis_url: str) -> None:
    """The move ends with an error; the same move goes on when the target is back."""
    here, there = house("sqlite"), house("redis")
    ids = here.fill(30)
    port = int(redis_url.rpartition(":")[2].partition("/")[0])

    async def main() -> None:
        with Proxy(port) as proxy:
            far = House(f"redis://127.0.0.1:{proxy.port}/0", there.namespace)
            async with (
                here.opened() as source,
                far.opened(Settings(store_timeout=2.0)) as target,
            ):
                proxy.lose_answers()
                with pytest.raises(StoreUnavailable):
                    await Move(source, target, "m", lambda _: None).run()
                proxy.heal()
                report = await Move(source, target, "m", lambda _: None).run()
                assert report.whole

    asyncio.run(main())
    moved_home(here, there, ids, {"ready": 30, "scheduled": 3, "retrying": 3, "failed": 3})


@pytest.mark.slow
@needs_program
def test_a_target_that_is_full_in_the_middle_loses_nothing(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that its memory is full; with room the same command moves the rest."""
    monkeypatch.setenv("TREADLE_STORE_TIMEOUT", "5")
    here = house("sqlite")
    big = b'[["' + b"x" * 20_000 + b'"],{}]'
    jobs = [new_job(args=big) for _ in range(3 * PARCELS_MAX)]

    async def fill(store: Store) -> None:
        await store.enqueue(new_id(), jobs)

    here.run(fill)
    ids = [job.id for job in jobs]
    # Room for about one page of three.
    with Redis("--maxmemory", "8mb", "--maxmemory-policy", "noeviction") as server:
        there = House(server.url, "full")
        done = move(here, there)
        assert done.returncode == 2, done.stdout
        assert "its memory is full" in done.stderr
        assert "No job is lost" in done.stderr
        assert there.ids(*STATES)
        assert here.ids(*RUNNABLE) & there.ids(*RUNNABLE) == set()
        assert here.ids(*STATES) | there.ids(*STATES) == set(ids)
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory", 0)
        assert move(here, there).returncode == 0
        moved_home(here, there, ids, {"ready": len(ids)})
