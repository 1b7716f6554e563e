"""Decisions made before the instant: they hold only while they are what would be decided now."""

import asyncio

from msgspec.structs import replace

from treadle.client.schedules.changes import move_with
from treadle.core.durations import MINUTE, SECOND, as_datetime
from treadle.core.job import JobState
from treadle.core.schedule.advance import Step
from treadle.core.schedule.record import Pause
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
from treadle.worker.firing.firing import Firing

MANY = 20


async def prepared(case: Case) -> Firing:
    """Make what fires, with what is due in a second decided about already."""
    who = firing(case.store)
    case.clock.move(59)
    look = await who.look()
    assert look.next_in == SECOND
    await who.prepare(look)
    case.clock.move(1)
    return who


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
