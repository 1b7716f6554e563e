"""What ticks promise whose jobs want a key, or have to pass gates."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from msgspec.structs import replace

from treadle.core.gates.gate import write_gates
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.keys.key import Conflict, Key, Until
from treadle.core.outcome import Succeeded
from treadle.store.parts.scheduled import Move, Unfired
from treadle.testing.conformance.gates.kit import claim, places
from treadle.testing.conformance.kit import Case, new_job, scenario, settlement
from treadle.testing.conformance.schedules.firing import (
    firing,
    made,
    minutely,
    plant,
    stored,
    ticks,
)


async def tick(case: Case) -> None:
    """Let a minute pass and fire what is due."""
    case.clock.move(60)
    await firing(case.store).catch_up()


class TestTicksWithKeys:
    """A tick has its own job id and takes its task's key in the same write."""

    @scenario
    async def test_a_held_key_makes_no_job_and_the_schedule_goes_on(self, case: Case) -> None:
        """The tick counts as missed; when the key is free the next one makes a job."""
        [holder] = [new_job(key=Key("k"))]
        await case.store.enqueue(new_id(), [holder])
        await plant(case, minutely(case), overlap="allow", key=Key("k"))
        await tick(case)
        found = await stored(case)
        assert (found.fired, found.missed, found.job, found.tick) == (0, 1, None, None)
        assert [job.id for job in await made(case)] == [holder.id]
        await case.store.cancel([holder.id])
        await tick(case)
        found = await stored(case)
        assert (found.fired, found.missed) == (1, 1)
        [record] = await case.store.keys(["k"])
        assert record is not None
        assert record.job == found.job

    @scenario
    async def test_two_schedules_of_one_key(self, case: Case) -> None:
        """At one instant one of them makes a job; a third without a key is not held up."""
        for name in ("a", "b"):
            await plant(case, minutely(case), name, key=Key("k"))
        await plant(case, minutely(case), "c")
        await tick(case)
        counts = [(await stored(case, name)).fired for name in ("a", "b", "c")]
        assert sorted(counts[:2]) + counts[2:] == [0, 1, 1]
        assert len(await made(case)) == 2

    @scenario
    async def test_a_limit_counts_jobs_alone(self, case: Case) -> None:
        """A tick that met its key leaves the limit as it was, so the schedule is not over."""
        holder = new_job(key=Key("k"))
        await case.store.enqueue(new_id(), [holder])
        await plant(case, minutely(case), limit=1, overlap="allow", key=Key("k"))
        await tick(case)
        assert not (await stored(case)).over
        await case.store.cancel([holder.id])
        await tick(case)
        assert ((await stored(case)).over, (await stored(case)).fired) == (True, 1)
        assert (await case.store.due_schedules(1)).next_due is None

    @scenario
    async def test_a_tick_that_replaces(self, case: Case) -> None:
        """Its values go into the job that waits, which is told the newest tick."""
        key = Key("k", conflict=Conflict.REPLACE)
        await plant(case, minutely(case), overlap="allow", key=key)
        await tick(case)
        [first] = await made(case)
        await tick(case)
        [job] = await made(case)
        assert (job.id, ticks([job]) > ticks([first])) == (first.id, True)
        assert ((await stored(case)).fired, (await stored(case)).missed) == (1, 1)

    @scenario
    async def test_a_key_until_the_start_lets_one_wait_beside_one_that_runs(
        self, case: Case
    ) -> None:
        """Each claim frees it, so of many ticks one waits."""
        await plant(case, minutely(case), overlap="allow", key=Key("k", Until.CLAIM))
        await tick(case)
        [running] = await claim(await case.worker())
        await tick(case)
        await tick(case)
        assert [job.state for job in await made(case)] == [JobState.RUNNING, JobState.READY]
        assert (await made(case))[0].id == running.id

    @scenario
    async def test_a_fire_that_is_sent_again(self, case: Case) -> None:
        """It changes nothing, and a job that is there keeps its key."""
        job = new_job(key=Key("k"))
        move = Move("a", 0, b"new", None, (job,), Unfired(b"old", case.now))
        assert await case.store.fire([move]) == [True]
        assert await case.store.fire([move]) == [False]
        # The same job in another move is the holder itself, and meets nobody.
        assert await case.store.fire([replace(move, name="b")]) == [True]
        rows = await case.store.schedules(["a", "b"])
        assert [row.body for row in rows if row] == [b"new", b"new"]
        other = replace(move, name="c", jobs=(new_job(key=Key("k")),))
        assert await case.store.fire([other]) == [True]
        [row] = await case.store.schedules(["c"])
        assert row is not None
        assert (row.body, row.due, row.revision) == (b"old", case.now, 1)

    @scenario
    async def test_a_tick_waits_at_its_gates(self, case: Case) -> None:
        """Its job is parked while another one has the place, and woken after it; with a key too."""
        raw = write_gates([places("stripe", quota=1)])
        await plant(case, minutely(case), "a", gates=raw)
        await plant(case, minutely(case), "b", gates=raw, key=Key("k"))
        await tick(case)
        hand = await case.worker()
        [first] = await claim(hand)
        assert sorted(job.state for job in await made(case)) == ["blocked", "running"]
        await hand.settle(settlement(first, Succeeded(None)))
        [second] = await claim(hand)
        assert {first.id, second.id} == {job.id for job in await made(case)}

    @scenario
    async def test_the_tenant_travels(self, case: Case) -> None:
        """A tick's job has that of its schedule."""
        await plant(case, minutely(case), tenant="acme")
        await tick(case)
        [found] = await claim(await case.worker())
        [job] = await made(case)
        assert (job.id, job.tenant) == (found.id, "acme")
