"""Decisions made before the instant: they hold only while they are what would be decided now."""

import asyncio

from msgspec import json
from msgspec.structs import replace

from treadle.client.schedules.changes import move_with
from treadle.core.durations import MINUTE, SECOND, as_datetime
from treadle.core.job import JobState
from treadle.core.schedule.advance import Step
from treadle.core.schedule.record import Pause
from treadle.store.parts.scheduled import Move
from treadle.testing.conformance.kit import Case, scenario
from treadle.testing.conformance.schedules.firing import (
    firing,
    made,
    minutely,
    plant,
    stored,
    ticks,
    work,
)
from treadle.worker.firing.firing import CROWD, Firing

MANY = 20
OTHERS = CROWD - 1


async def prepared(case: Case) -> Firing:
    """Make what fires, with what is due in a second decided about already."""
    who = firing(case.store)
    case.clock.move(59)
    look = await who.look()
    assert look.next_in == SECOND
    await who.prepare(look)
    case.clock.move(1)
    return who


async def armed(case: Case) -> Firing:
    """Make what fires, with a crowd that is due in a moment read again already."""
    who = firing(case.store)
    case.clock.move(59)
    look = await who.look()
    await who.prepare(look)
    assert who.is_crowd(look)
    case.clock.move(0.95)
    await who.arm()
    case.clock.move(0.05)
    return who


async def crowd(case: Case) -> None:
    """Plant `a` and so many others that they are a crowd; only the jobs of `a` live for long."""
    await plant(case, minutely(case))
    for n in range(OTHERS):
        await plant(case, minutely(case), f"other {n}", overlap="allow")


class TestAhead:
    """What was decided beforehand, at the instant."""

    @scenario
    async def test_decided_ahead_is_as_decided_now(self, case: Case) -> None:
        """The same job, the same record but for when it was looked at, the same next look."""
        await plant(case, minutely(case))
        who = await prepared(case)
        case.clock.move(0.2)
        assert (await who.look()).jobs == 1
        [job] = await made(case)
        assert job.state == JobState.READY
        due = (await stored(case)).tick
        assert ticks([job]) == [as_datetime(due or 0).isoformat()]
        assert ((await stored(case)).fired, (await stored(case)).missed) == (1, 0)
        found = await case.store.due_schedules(1)
        assert (found.rows, found.next_due) == ([], MINUTE - SECOND // 5)

    @scenario
    async def test_a_change_meanwhile_is_heard(self, case: Case) -> None:
        """A schedule that was paused or removed after the decision makes no job."""
        for name in ("paused", "removed"):
            await plant(case, minutely(case), name)
        who = await prepared(case)
        rows = [row for row in await case.store.schedules(["paused", "removed"]) if row]
        still = replace(await stored(case, "paused"), paused=Pause(case.now))
        moves = [
            replace(move_with("paused", rows[0].revision, Step(still), ()), due=rows[0].due),
            replace(move_with("removed", rows[1].revision, Step(still), ()), body=None),
        ]
        assert await case.store.fire(moves) == [True, True]
        assert (await who.look()).jobs == 0
        assert await made(case) == []

    @scenario
    async def test_two_who_decided_ahead(self, case: Case) -> None:
        """Of many workers that decided the same beforehand one is heard."""
        for n in range(MANY):
            await plant(case, minutely(case), f"s{n}")
        case.clock.move(59)
        crew = [firing(case.store) for _ in range(4)]
        for who in crew:
            await who.prepare(await who.look())
        case.clock.move(1)
        looks = await asyncio.gather(*(who.look() for who in crew))
        assert sum(look.jobs for look in looks) == len(await made(case)) == MANY

    @scenario
    async def test_a_last_job_that_lives_at_the_instant(self, case: Case) -> None:
        """It is judged at the instant: one that began to live again after the decision counts."""
        await plant(case, minutely(case))
        case.clock.move(60)
        await firing(case.store).look()
        assert (await (await prepared(case)).look()).jobs == 0
        assert (await stored(case)).missed == 1
        await work(case)
        assert (await (await prepared(case)).look()).jobs == 1
        assert [job.state for job in await made(case)] == [JobState.SUCCEEDED, JobState.READY]

    @scenario
    async def test_a_clock_that_jumps_after_the_decision(self, case: Case) -> None:
        """Five minutes on, the misfire policy decides anew: one job, for the newest tick."""
        await plant(case, minutely(case))
        begun = case.now
        who = await prepared(case)
        case.clock.move(300)
        assert (await who.look()).jobs == 1
        [job] = await made(case)
        assert ticks([job]) == [as_datetime(begun + 6 * MINUTE).isoformat()]

    @scenario
    async def test_a_tick_that_became_too_late_after_the_decision(self, case: Case) -> None:
        """A grace that has passed meanwhile drops the tick."""
        await plant(case, minutely(case), grace=SECOND // 10)
        who = await prepared(case)
        case.clock.move(0.2)
        assert (await who.look()).jobs == 0
        assert await made(case) == []


class TestArmed:
    """A crowd that was read again just before its instant, and is then only written."""

    @scenario
    async def test_armed_is_as_decided_now(self, case: Case) -> None:
        """Each tick has its job, ready at once, and its schedule the record it would have had."""
        await crowd(case)
        who = await armed(case)
        look = await who.look()
        assert (look.won, look.jobs, look.more) == (CROWD, CROWD, True)
        assert {job.state for job in await made(case)} == {JobState.READY}
        assert ((await stored(case)).fired, (await stored(case)).missed) == (1, 0)
        assert (await stored(case)).cursor == case.now
        look = await who.look()
        assert (look.due, look.jobs, look.next_in) == (0, 0, MINUTE)

    @scenario
    async def test_a_change_after_the_reading_is_heard(self, case: Case) -> None:
        """A schedule that was removed makes no job, and the others fire."""
        await crowd(case)
        who = await armed(case)
        [row] = await case.store.schedules(["a"])
        assert row is not None
        assert await case.store.fire([Move("a", row.revision, None)]) == [True]
        assert [(await who.look()).jobs for _ in "ab"] == [OTHERS, 0]
        assert "a" not in {json.decode(job.meta or b"")["schedule"] for job in await made(case)}

    @scenario
    async def test_two_who_armed(self, case: Case) -> None:
        """Of many workers that read the same crowd one is heard for each schedule."""
        await crowd(case)
        case.clock.move(59)
        crew = [firing(case.store) for _ in range(4)]
        for who in crew:
            await who.prepare(await who.look())
            await who.arm()
        case.clock.move(1)
        looks = await asyncio.gather(*(who.look() for who in crew))
        assert sum(look.jobs for look in looks) == len(await made(case)) == CROWD

    @scenario
    async def test_a_last_job_that_lives_as_it_is_read(self, case: Case) -> None:
        """Its schedule is judged at the instant, as without a crowd; the others fire."""
        await crowd(case)
        case.clock.move(60)
        assert (await firing(case.store).look()).jobs == CROWD
        who = await armed(case)
        assert [(await who.look()).jobs for _ in "ab"] == [OTHERS, 0]
        assert ((await stored(case)).fired, (await stored(case)).missed) == (1, 1)
        await work(case)
        who = await armed(case)
        assert (await who.look()).jobs == CROWD
        assert ((await stored(case)).fired, (await stored(case)).missed) == (2, 1)

    @scenario
    async def test_a_clock_that_jumps_after_the_reading(self, case: Case) -> None:
        """Five minutes on, the misfire policy decides anew: one job each, for the newest tick."""
        await crowd(case)
        begun = case.now
        who = await armed(case)
        case.clock.move(300)
        assert (await who.look()).jobs == CROWD
        jobs = await made(case)
        assert set(ticks(jobs)) == {as_datetime(begun + 6 * MINUTE).isoformat()}

    @scenario
    async def test_a_clock_that_steps_back_after_the_reading(self, case: Case) -> None:
        """Nothing fires before its instant, and then each tick once."""
        await crowd(case)
        who = await armed(case)
        case.clock.step_wall(-10 * SECOND)
        newest = (await case.store.due_schedules(0)).now  # SQLite's time never goes back.
        early = (await who.look()).jobs
        assert early == (CROWD if newest > case.now else 0)
        case.clock.move(10)
        assert early + (await who.look()).jobs == len(await made(case)) == CROWD

    @scenario
    async def test_a_crowd_that_nobody_waited_for(self, case: Case) -> None:
        """A look that comes before the instant fires nothing and costs no tick."""
        await crowd(case)
        case.clock.move(59)
        who = firing(case.store)
        await who.prepare(await who.look())
        await who.arm()
        assert (await who.look()).jobs == 0
        case.clock.move(1)
        assert (await who.look()).jobs == CROWD
