"""What `stage` promises: due jobs become ready, late ones expire, parked ones come back."""

from collections import Counter

import pytest

from treadle.core.durations import DAY, SECOND
from treadle.core.gates.gate import write_gates
from treadle.core.job import JobState
from treadle.core.outcome import Failed, TaskUnknown
from treadle.testing.conformance.gates.kit import places
from treadle.testing.conformance.kit import ANY_LIMIT, ERROR, Case, ids_of, scenario, settlement


class TestStage:
    """Waiting jobs move when their time has come, and no sooner."""

    @scenario
    async def test_scheduled_and_retrying_jobs_become_ready_when_due(self, case: Case) -> None:
        """Both kinds of waiting end the same way."""
        [failed] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=10 * SECOND))
        [delayed] = await case.add(delay=10 * SECOND)
        [later] = await case.add(delay=11 * SECOND)
        case.clock.move(10)
        assert await case.store.stage([], ANY_LIMIT) == len([failed, delayed])
        states = [JobState.READY, JobState.READY, JobState.SCHEDULED]
        assert await case.states([failed, delayed, later]) == states

    @scenario
    async def test_a_due_job_keeps_its_attempts_and_its_time(self, case: Case) -> None:
        """Staging changes the state and nothing that tells the job's story."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=10 * SECOND))
        due = (await case.job(claim.id)).run_at
        case.clock.move(60)
        await case.store.stage([], ANY_LIMIT)
        record = await case.job(claim.id)
        assert (record.attempt, record.claim, record.run_at) == (1, 1, due)
        assert record.error_info() == ERROR

    @scenario
    async def test_a_stage_is_bounded(self, case: Case) -> None:
        """It moves at most `limit` jobs, those due longest first, and the next call goes on."""
        ids = [(await case.add(delay=SECOND * (10 - n)))[0] for n in range(7)]
        case.clock.move(10)
        counts = [await case.store.stage([], 3) for _ in range(4)]
        assert counts == [3, 3, 1, 0]
        assert set(await case.states(ids)) == {JobState.READY}

    @scenario
    async def test_jobs_past_their_expiry_expire(self, case: Case) -> None:
        """Ready or waiting, with their end written and a time to be kept."""
        [ready] = await case.add(expires_in=5 * SECOND)
        [waiting] = await case.add(delay=60 * SECOND, expires_in=5 * SECOND)
        [fresh] = await case.add(expires_in=6 * SECOND)
        case.clock.move(5)
        await case.store.stage([], ANY_LIMIT)
        states = [JobState.EXPIRED, JobState.EXPIRED, JobState.READY]
        assert await case.states([ready, waiting, fresh]) == states
        record = await case.job(waiting)
        assert (record.finished_at, record.attempt) == (case.now, 0)
        assert record.keep_until == case.now + 30 * DAY

    @scenario
    async def test_expiring_is_bounded(self, case: Case) -> None:
        """A flood of late jobs is worked off in steps."""
        ids = await case.add(7, expires_in=SECOND)
        case.clock.move(1)
        for most in (3, 6, 7, 7):
            await case.store.stage([], 3)
            assert (await case.states(ids)).count(JobState.EXPIRED) <= most
        for _ in range(3):
            await case.store.stage([], 3)
        assert set(await case.states(ids)) == {JobState.EXPIRED}

    @scenario
    async def test_the_limit_holds_for_all_kinds_together(self, case: Case) -> None:
        """Due, late and parked jobs share the one bound of a call."""
        parked = await case.add(4)
        worker = await case.worker()
        claims = await worker.claim(9)
        await worker.settle(*(settlement(claim, TaskUnknown()) for claim in claims))
        ids = [*parked, *await case.add(4, delay=SECOND), *await case.add(4, expires_in=SECOND)]
        case.clock.move(1)
        before = await case.states(ids)
        await case.store.stage(["shop.mail"], 3)
        after = await case.states(ids)
        assert sum(old != new for old, new in zip(before, after, strict=True)) in {1, 2, 3}
        for _ in range(12):
            await case.store.stage(["shop.mail"], 3)
        assert Counter(await case.states(ids)) == {JobState.READY: 8, JobState.EXPIRED: 4}

    @scenario
    async def test_a_running_job_does_not_expire(self, case: Case) -> None:
        """What was started in time may end in its own time."""
        [job] = await case.add(expires_in=SECOND)
        worker = await case.worker()
        await worker.claim()
        case.clock.move(2)
        await case.store.stage([], ANY_LIMIT)
        assert await case.states([job]) == [JobState.RUNNING]

    @scenario
    async def test_nothing_due_is_nothing_done(self, case: Case) -> None:
        """Ready, running and future jobs are left alone."""
        await case.add(2)
        await case.add(delay=SECOND)
        await (await case.worker()).claim()
        assert await case.store.stage(["shop.mail"], ANY_LIMIT) == 0


class TestParked:
    """A job whose task no worker knew waits for one that does."""

    @scenario
    async def test_a_worker_that_knows_the_task_takes_its_jobs_at_once(self, case: Case) -> None:
        """They do not wait out their rest, and jobs of other tasks do."""
        mails, others = await case.add(2), await case.add(2, task="shop.other")
        worker = await case.worker()
        claims = await worker.claim(4)
        await worker.settle(*(settlement(claim, TaskUnknown()) for claim in claims))
        case.clock.move(1)
        assert await case.store.stage(["no.such", "shop.mail"], ANY_LIMIT) == len(mails)
        assert ids_of(await worker.claim(9)) == mails
        assert set(await case.states(others)) == {JobState.SCHEDULED}

    @scenario
    async def test_taking_parked_jobs_is_bounded(self, case: Case) -> None:
        """A worker that comes to a heap of them makes them ready in steps."""
        ids = await case.add(7)
        worker = await case.worker()
        claims = await worker.claim(9)
        await worker.settle(*(settlement(claim, TaskUnknown()) for claim in claims))
        counts = [await case.store.stage(["shop.mail"], 3) for _ in range(4)]
        assert counts == [3, 3, 1, 0]
        assert ids_of(await worker.claim(9)) == ids

    @scenario
    async def test_a_parked_job_that_ran_is_parked_no_more(self, case: Case) -> None:
        """Once a worker knew its task, the day it may wait begins anew."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, TaskUnknown())
        await case.store.stage(["shop.mail"], ANY_LIMIT)
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=0))
        await case.store.stage([], ANY_LIMIT)
        [claim] = await worker.claim()
        assert claim.parked_at is None

    @pytest.mark.parametrize("gates", [None, write_gates([places()])])
    @scenario
    async def test_a_parked_job_that_is_due_keeps_its_time(
        self, case: Case, gates: bytes | None
    ) -> None:
        """It has waited it out, so that a worker knows its task does not change it."""
        [job] = await case.add(gates=gates)
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, TaskUnknown())
        due = (await case.job(job)).run_at
        case.clock.move(60)
        assert await case.store.stage(["shop.mail"], ANY_LIMIT) == 1
        assert (await case.job(job)).run_at == due

    @scenario
    async def test_a_delayed_job_of_a_known_task_is_not_taken_early(self, case: Case) -> None:
        """Only parked jobs come back before their time."""
        [job] = await case.add(delay=60 * SECOND)
        assert await case.store.stage(["shop.mail"], ANY_LIMIT) == 0
        assert await case.states([job]) == [JobState.SCHEDULED]
