"""What firing promises on every store: each tick one job, however many workers fire."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from msgspec import json

from treadle.core.durations import HOUR, MINUTE, SECOND, as_datetime
from treadle.core.job import JobRecord, JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.schedule.advance import begin
from treadle.core.schedule.record import Plan, Schedule, read_schedule, write_schedule
from treadle.core.when.triggers import AnyTrigger, At, Every, write_trigger
from treadle.store.contract import Filter, Store
from treadle.store.parts.scheduled import Move
from treadle.testing.conformance.kit import Case, scenario, settlement
from treadle.worker.firing.firing import Firing

MANY = 300
FLEET = 8


def firing(store: Store) -> Firing:
    """Make what a worker fires with."""
    return Firing(store, "default", lambda _: True)


async def plant(case: Case, trigger: AnyTrigger, name: str = "a", **options: object) -> None:
    """Store a schedule whose ticks begin now."""
    said = {"trigger": write_trigger(trigger), "task": "shop.mail", "args": b"[[],{}]"}
    plan = Plan(**(said | options))  # type: ignore[arg-type]
    schedule = Schedule(name=name, plan=plan, incarnation=f"i-{name}", cursor=case.now)
    step = begin(schedule, case.now)
    move = Move(name, 0, write_schedule(step.schedule), step.due)
    assert await case.store.fire([move]) == [True]


async def stored(case: Case, name: str = "a") -> Schedule:
    """Read a schedule."""
    [row] = await case.store.schedules([name])
    assert row is not None
    return read_schedule(row.body)


async def made(case: Case) -> list[JobRecord]:
    """Read all jobs, oldest first."""
    return sorted(await case.store.find(Filter(), limit=1_000), key=lambda job: job.id)


def ticks(jobs: Sequence[JobRecord]) -> list[str]:
    """Read which ticks jobs are for."""
    return [json.decode(job.meta or b"")["tick"] for job in jobs]


async def work(case: Case) -> int:
    """Claim and end every ready job."""
    hand = await case.worker("worker")
    claims = await hand.claim(1_000)
    await hand.settle(*(settlement(claim, Succeeded(None)) for claim in claims))
    return len(claims)


def minutely(case: Case) -> Every:
    """Make a trigger whose ticks are a minute apart, counted from now."""
    return Every(60, anchor=as_datetime(case.now))


class TestFiring:
    """Firing through the store."""

    @scenario
    async def test_a_due_tick_makes_one_job(self, case: Case) -> None:
        """It is ready at once and carries its schedule and the instant at which it was due."""
        await plant(case, minutely(case))
        assert (await firing(case.store).look()).jobs == 0
        due = case.now + MINUTE
        case.clock.move(61)
        assert (await firing(case.store).look()).jobs == 1
        [job] = await made(case)
        assert (job.task, job.state) == ("shop.mail", JobState.READY)
        assert json.decode(job.meta or b"") == {
            "schedule": "a", "tick": as_datetime(due).isoformat(),
        }  # fmt: skip
        assert (await firing(case.store).look()).jobs == 0

    @scenario
    async def test_many_who_fire_at_once(self, case: Case) -> None:
        """Eight workers that all look at the same instant make one job a tick."""
        stores = [case.store, await case.other()]
        names = {f"s{n}" for n in range(40)}
        for name in names:
            await plant(case, minutely(case), name)
        for _ in "abc":
            case.clock.move(60)
            await asyncio.gather(*(firing(stores[n % 2]).catch_up() for n in range(FLEET)))
            await work(case)
        jobs = await made(case)
        origins = [(json.decode(job.meta or b"")["schedule"], *ticks([job])) for job in jobs]
        assert len(jobs) == len(set(origins)) == len("abc") * len(names)
        assert {schedule for schedule, _ in origins} == names

    @scenario
    async def test_more_than_a_page(self, case: Case) -> None:
        """All that is due is fired, a page at a time."""
        for n in range(MANY):
            await plant(case, minutely(case), f"s{n}")
        case.clock.move(60)
        assert await firing(case.store).catch_up() == MANY
        found = await case.store.due_schedules(1)
        assert (found.rows, found.next_due) == ([], MINUTE)

    @scenario
    async def test_a_clock_that_steps_back(self, case: Case) -> None:
        """Nothing is fired twice: what was looked at is not looked at again."""
        await plant(case, minutely(case), overlap="allow")
        case.clock.move(120)
        assert (await firing(case.store).look()).jobs == 1
        now = case.now
        for minutes in (60, 1, 0):
            found = await case.store.due_schedules(10, now=now - minutes * MINUTE)
            assert found.rows == []
        [job] = await made(case)
        assert ticks([job]) == [as_datetime(now).isoformat()]

    @scenario
    async def test_a_long_sleep(self, case: Case) -> None:
        """After a day `one` fires the newest tick, `skip` none that is late, `all` each."""
        daily = minutely(case)
        for misfire in ("one", "skip", "all"):
            await plant(case, daily, misfire, misfire=misfire, overlap="allow", queue=misfire)
        begun = case.now
        case.clock.move(timedelta(minutes=150, seconds=-1))
        case.clock.move(1 + 30)
        await firing(case.store).catch_up()
        counts = {queue.name: queue.counts for queue in await case.store.queues()}
        assert counts["one"] == {"ready": 1}
        # On time is within a minute, when there is no grace.
        assert counts["skip"] == {"ready": 1}
        assert counts["all"] == {"ready": 150}
        newest = as_datetime(begun + 150 * MINUTE).isoformat()
        assert ticks(await case.store.find(Filter(queue="one"))) == [newest]

    @scenario
    async def test_grace(self, case: Case) -> None:
        """A tick that is later than the grace becomes no job, by any policy."""
        for misfire in ("one", "skip", "all"):
            await plant(
                case, minutely(case), misfire, misfire=misfire, grace=10 * SECOND, overlap="allow"
            )
        case.clock.move(60 + 11)
        assert await firing(case.store).catch_up() == 0
        case.clock.move(49 + 10)
        assert await firing(case.store).catch_up() == len(("one", "skip", "all"))

    @scenario
    async def test_overlap(self, case: Case) -> None:
        """While the job before it has not ended, a tick is skipped, waits, or runs beside it."""
        policies = ("skip", "allow", "queue_one", "queue_all")
        for policy in policies:
            await plant(case, minutely(case), policy, overlap=policy, queue=policy)
        for _ in range(3):
            case.clock.move(60)
            await firing(case.store).catch_up()
        counts = {queue.name: queue.counts for queue in await case.store.queues()}
        assert [counts[policy] for policy in policies] == [{"ready": n} for n in (1, 3, 1, 1)]
        ran = []
        for _ in range(4):
            ran.append(await work(case))
            case.clock.move(1)
            await firing(case.store).catch_up()
        # What waited runs one after another: one more of `queue_one`, two of `queue_all`.
        assert ran == [1 + 3 + 1 + 1, 1 + 1, 1, 0]

    @scenario
    async def test_cancel_running(self, case: Case) -> None:
        """The job that still runs is cancelled, and its claim is lost; the new one is ready."""
        await plant(case, minutely(case), overlap="cancel_running")
        case.clock.move(60)
        await firing(case.store).look()
        hand = await case.worker()
        [claim] = await hand.claim()
        case.clock.move(60)
        assert (await firing(case.store).look()).jobs == 1
        assert [job.state for job in await made(case)] == ["cancelled", "ready"]
        assert await hand.settle(settlement(claim, Succeeded(None))) == [Verdict.LOST]

    @scenario
    async def test_a_delay_after_the_end(self, case: Case) -> None:
        """The period begins again when the last job has ended, however long that took."""
        await plant(case, Every(60, after="end"))
        case.clock.move(60)
        assert (await firing(case.store).look()).jobs == 1
        case.clock.move(300)
        assert (await firing(case.store).look()).jobs == 0
        await work(case)
        case.clock.move(59)
        assert (await firing(case.store).look()).jobs == 0
        case.clock.move(1)
        assert (await firing(case.store).look()).jobs == 1

    @scenario
    async def test_a_limit_and_an_end(self, case: Case) -> None:
        """After its last job, and after its last tick, a schedule is over and never due."""
        await plant(case, minutely(case), "limited", limit=2, overlap="allow", misfire="all")
        await plant(case, minutely(case), "ends", ends=case.now + 2 * MINUTE, overlap="allow")
        await plant(case, At(as_datetime(case.now + MINUTE)), "once", overlap="allow")
        for _ in range(5):
            case.clock.move(60)
            await firing(case.store).catch_up()
        counts = [(await stored(case, n)).fired for n in ("limited", "ends", "once")]
        assert counts == [2, 2, 1]
        assert all([(await stored(case, n)).over for n in ("limited", "ends", "once")])
        found = await case.store.due_schedules(10, now=case.now + 1_000 * HOUR)
        assert found.rows == []

    @scenario
    async def test_expiry_before_the_next_tick(self, case: Case) -> None:
        """A job that has not started by the next tick expires, so jobs never pile up."""
        await plant(case, minutely(case), overlap="allow", expires="next")
        for _ in range(3):
            case.clock.move(60)
            await firing(case.store).catch_up()
            await case.store.stage((), 100)
        states = [job.state for job in await made(case)]
        assert states == ["expired", "expired", "ready"]

    @scenario
    async def test_jitter(self, case: Case) -> None:
        """Each tick's job starts up to so much later, and always equally much."""
        for n in range(20):
            await plant(case, minutely(case), f"s{n}", jitter=30 * SECOND)
        case.clock.move(60)
        await firing(case.store).catch_up()
        offsets = [job.run_at - case.now for job in await made(case)]
        assert len(set(offsets)) > len(offsets) // 2
        assert all(0 <= offset <= 30 * SECOND for offset in offsets)

    @scenario
    async def test_a_record_that_cannot_be_read(self, case: Case) -> None:
        """It is set aside and does not hold up the others."""
        bad = [Move("bad", 0, b"{", case.now), Move("worse", 0, b'{"name":1}', case.now)]
        await case.store.fire(bad)
        odd = Plan(trigger=b"{}", task="t", args=b"")
        schedule = Schedule(name="odd", plan=odd, incarnation="x", cursor=0)
        await case.store.fire([Move("odd", 0, write_schedule(schedule), case.now)])
        await plant(case, minutely(case))
        case.clock.move(60)
        assert await firing(case.store).catch_up() == 1
        assert (await case.store.due_schedules(10)).rows == []
        [row] = await case.store.schedules(["bad"])
        assert row is not None
        assert row.body == b"{"
