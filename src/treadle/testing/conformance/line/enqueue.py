"""What `enqueue` promises: batches in order, all or nothing, safe to send again."""

import asyncio

import pytest

from treadle.core.durations import SECOND
from treadle.core.errors import StoreError
from treadle.core.ids import new_id
from treadle.core.job import JobState, NewJob
from treadle.core.outcome import Failed, Succeeded
from treadle.store.contract import BATCH_MAX
from treadle.testing.conformance.kit import ERROR, Case, new_job, scenario


class TestEnqueue:
    """A batch goes in whole and in order, once."""

    @scenario
    async def test_a_batch_is_answered_in_order(self, case: Case) -> None:
        """Each job's state comes back at its place in the batch."""
        jobs = [new_job(delay=SECOND * (n % 2)) for n in range(6)]
        states = await case.store.enqueue(new_id(), jobs)
        assert list(states) == [JobState.READY, JobState.SCHEDULED] * 3
        assert await case.states([job.id for job in jobs]) == list(states)

    @scenario
    async def test_a_job_is_stored_as_it_was_handed_over(self, case: Case) -> None:
        """What the application says of a job is what a read gives back."""
        job = NewJob(
            new_id(), "shop.mail", b'[["\xc3\xa9"],{}]', queue="mail", priority=-7, attempts_max=9,
            expires_in=60 * SECOND, policy=b'{"base":1}', tags=b'["a","b"]', meta=b'{"k":1}',
            tenant="acme",
        )  # fmt: skip
        await case.enqueue(job)
        record = await case.job(job.id)
        said = ("id", "task", "args", "queue", "priority", "attempts_max", "policy", "tags")
        for name in (*said, "meta", "tenant"):
            assert getattr(record, name) == getattr(job, name), name
        assert (record.state, record.attempt, record.claim) == (JobState.READY, 0, 0)
        assert (record.created_at, record.run_at, record.as_of) == (case.now,) * 3
        assert record.expires_at == case.now + 60 * SECOND
        unset = (record.worker, record.started_at, record.finished_at, record.result)
        assert unset == (None,) * 4

    @scenario
    async def test_an_empty_batch_is_answered_with_nothing(self, case: Case) -> None:
        """No jobs, no states, no error."""
        assert list(await case.store.enqueue(new_id(), [])) == []

    @scenario
    async def test_the_largest_batch_is_stored(self, case: Case) -> None:
        """BATCH_MAX jobs go in with one call, and all are there."""
        jobs = [new_job() for _ in range(BATCH_MAX)]
        states = await case.store.enqueue(new_id(), jobs)
        assert list(states) == [JobState.READY] * BATCH_MAX
        assert await case.states([job.id for job in jobs]) == list(states)

    @scenario
    async def test_a_larger_batch_is_refused_whole(self, case: Case) -> None:
        """One job over BATCH_MAX is a ValueError, and nothing of the batch is stored."""
        jobs = [new_job() for _ in range(BATCH_MAX + 1)]
        with pytest.raises(ValueError, match=r"1.?000"):
            await case.store.enqueue(new_id(), jobs)
        assert set(await case.states([job.id for job in jobs[:3]])) == {"gone"}

    @pytest.mark.parametrize("place", [0, 1, 2])
    @scenario
    async def test_a_batch_with_a_bad_job_is_stored_not_at_all(
        self, case: Case, place: int
    ) -> None:
        """A job that the store cannot take keeps its neighbours out too."""
        jobs = [new_job() for _ in range(3)]
        jobs[place] = new_job(at=2**70)
        with pytest.raises((StoreError, ValueError, TypeError, OverflowError)):
            await case.store.enqueue(new_id(), jobs)
        assert set(await case.states([job.id for job in jobs])) == {"gone"}

    @scenario
    async def test_the_same_batch_again_changes_nothing(self, case: Case) -> None:
        """Sent again, a batch is answered as before and nothing is stored twice."""
        request, jobs = new_id(), [new_job(), new_job(delay=SECOND), new_job()]
        first = await case.store.enqueue(request, jobs)
        before = await case.store.get([job.id for job in jobs])
        assert list(await case.store.enqueue(request, jobs)) == list(first)
        assert list(await case.store.get([job.id for job in jobs])) == list(before)
        worker = await case.worker()
        assert [c.id for c in await worker.claim(9)] == [jobs[0].id, jobs[2].id]

    @scenario
    async def test_the_same_batch_again_after_its_jobs_ran_is_answered_as_before(
        self, case: Case
    ) -> None:
        """What became of the jobs since does not change the answer, nor does the answer them."""
        request, jobs = new_id(), [new_job(), new_job(delay=SECOND)]
        first = await case.store.enqueue(request, jobs)
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Succeeded(b"1"))
        case.clock.move(2)
        await case.store.stage([], 10)
        await worker.claim()
        before = await case.states([job.id for job in jobs])
        assert list(await case.store.enqueue(request, jobs)) == list(first)
        assert await case.states([job.id for job in jobs]) == before
        assert before == [JobState.SUCCEEDED, JobState.RUNNING]

    @scenario
    async def test_the_same_batch_again_after_a_retry_is_answered_as_before(
        self, case: Case
    ) -> None:
        """Also a job that waits for a later time now was ready when it came."""
        request, job = new_id(), new_job()
        first = await case.store.enqueue(request, [job])
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=60 * SECOND))
        assert list(await case.store.enqueue(request, [job])) == list(first) == [JobState.READY]
        assert await case.states([job.id]) == [JobState.RETRYING]

    @scenario
    async def test_the_same_ids_under_another_request_change_nothing(self, case: Case) -> None:
        """A job's id is what makes it one: the first record stays."""
        job = new_job()
        await case.enqueue(job)
        await case.enqueue(NewJob(job.id, "shop.other", b"[[1],{}]", priority=5))
        record = await case.job(job.id)
        assert (record.task, record.args, record.priority) == (job.task, job.args, 0)

    @scenario
    async def test_enqueue_now_does_the_same_on_a_thread_without_a_loop(self, case: Case) -> None:
        """The call for code without an event loop stores, and answers, alike."""
        jobs = [new_job(), new_job(delay=SECOND)]
        states = await asyncio.to_thread(case.store.enqueue_now, new_id(), jobs)
        assert list(states) == [JobState.READY, JobState.SCHEDULED]
        found = await asyncio.to_thread(case.store.get_now, [job.id for job in jobs])
        assert [record and record.state for record in found] == list(states)


class TestDue:
    """A job waits for its time."""

    @scenario
    async def test_a_delay_counts_from_the_stores_now(self, case: Case) -> None:
        """A delayed job is scheduled for now plus its delay."""
        [job] = await case.add(delay=30 * SECOND)
        record = await case.job(job)
        assert (record.state, record.run_at) == (JobState.SCHEDULED, case.now + 30 * SECOND)

    @scenario
    async def test_an_instant_wins_over_a_delay(self, case: Case) -> None:
        """`at` is the instant itself; a delay beside it does not count."""
        at = case.now + 5 * SECOND
        [job] = await case.add(at=at, delay=90 * SECOND)
        record = await case.job(job)
        assert (record.state, record.run_at) == (JobState.SCHEDULED, at)

    @scenario
    async def test_an_instant_that_has_passed_is_now(self, case: Case) -> None:
        """A job whose time has come already is ready at once."""
        [job] = await case.add(at=case.now - SECOND)
        worker = await case.worker()
        assert [claim.id for claim in await worker.claim()] == [job]

    @scenario
    async def test_a_job_is_ready_when_it_is_due_and_not_before(self, case: Case) -> None:
        """One microsecond early is early."""
        [job] = await case.add(delay=30 * SECOND)
        [earlier] = await case.add(delay=30 * SECOND - 1)
        worker = await case.worker()
        case.clock.move(29.999_999)
        assert await case.store.stage([], 10) == 1
        assert [claim.id for claim in await worker.claim(5)] == [earlier]
        case.clock.move(0.000_001)
        assert await case.store.stage([], 10) == 1
        assert [claim.id for claim in await worker.claim(5)] == [job]

    @scenario
    async def test_now_moves_time(self, case: Case) -> None:
        """`now=` stands in for the store's clock."""
        later, job = case.now + 1_000 * SECOND, new_job(delay=SECOND)
        await case.store.enqueue(new_id(), [job], now=later)
        record = await case.job(job.id)
        assert (record.created_at, record.run_at) == (later, later + SECOND)
        assert await case.store.stage([], 10) == 0
        assert await case.store.stage([], 10, now=later + SECOND) == 1
