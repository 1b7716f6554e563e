"""What `pause` and `resume` promise, and what a store keeps apart.

Also here: what opening, closing and migrating promise, which people do around all that.
"""

from treadle.core.durations import SECOND
from treadle.core.job import JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.store.contract import Filter
from treadle.testing.conformance.kit import ANY_LIMIT, Case, ids_of, scenario


class TestPause:
    """A paused queue gives no claims until it is resumed."""

    @scenario
    async def test_pause_and_resume_say_whether_they_did_it(self, case: Case) -> None:
        """The second of two equal calls finds it done."""
        await case.add(queue="mail")
        answers = [await case.store.pause("mail") for _ in range(2)]
        answers += [await case.store.resume("mail") for _ in range(2)]
        assert answers == [True, False, True, False]
        assert not await case.store.resume("never seen")

    @scenario
    async def test_what_runs_in_a_paused_queue_goes_on(self, case: Case) -> None:
        """A pause is a condition of claiming, not an end of claims."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.store.pause("default")
        assert list((await worker.beat(claim)).revoked) == []
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED

    @scenario
    async def test_jobs_still_arrive_and_become_due_in_a_paused_queue(self, case: Case) -> None:
        """They come out in their order when the queue is resumed."""
        await case.store.pause("default")
        ids = await case.add(delay=SECOND) + await case.add(2)
        case.clock.move(1)
        await case.store.stage([], ANY_LIMIT)
        worker = await case.worker()
        assert await worker.claim(5) == []
        await case.store.resume("default")
        assert ids_of(await worker.claim(5)) == ids

    @scenario
    async def test_a_pause_holds_for_every_store_on_the_same_jobs(self, case: Case) -> None:
        """Another process sees it at its next claim."""
        await case.add()
        other = await case.worker(store=await case.other())
        assert not (await other.exchange()).claims
        await case.store.pause("default")
        assert await other.claim(5) == []


class TestNamespaces:
    """Applications share a store without seeing each other."""

    @scenario
    async def test_no_job_is_seen_from_another_namespace(self, case: Case) -> None:
        """By no read, and by no worker."""
        ids = await case.add(2, queue="mail")
        await case.store.pause("mail")
        other = await case.open("elsewhere")
        assert list(await other.get(ids)) == [None, None]
        assert sorted(await other.ended(ids)) == sorted(ids)
        assert [*await other.find(Filter()), *await other.queues()] == []
        assert not await other.ready(None)
        worker = await case.worker("w1", store=other)
        assert await worker.claim(5) == await worker.claim(5, "mail") == []
        assert list(await case.store.workers()) == []

    @scenario
    async def test_no_job_is_changed_from_another_namespace(self, case: Case) -> None:
        """By no control verb and no upkeep."""
        ids = await case.add(2)
        other = await case.open("elsewhere")
        worker = await case.worker("w1")
        [claim] = await worker.claim()
        stranger = await case.worker("w2", store=other)
        assert await stranger.finish(claim, Succeeded(b"1")) is Verdict.LOST
        assert list(await other.cancel(ids)) == list(await other.retry(ids)) == [False, False]
        assert await other.purge("default", limit=ANY_LIMIT) == 0
        await other.pause("default")
        case.clock.move(100_000_000)
        assert await other.prune(ANY_LIMIT) == await other.stage([], ANY_LIMIT) == 0
        assert await case.states(ids) == [JobState.RUNNING, JobState.READY]
        assert ids_of(await worker.claim(5)) == ids[1:]


class TestLife:
    """A store opens, closes and brings its schema up to date."""

    @scenario
    async def test_closing_twice_is_safe(self, case: Case) -> None:
        """The second close finds nothing to do."""
        other = await case.open()
        await other.close()
        await other.close()

    @scenario
    async def test_an_open_store_is_of_this_version(self, case: Case) -> None:
        """Migrating what is up to date changes nothing."""
        ids = await case.add(3)
        before, after = await case.store.migrate()
        assert before == after
        assert await case.states(ids) == [JobState.READY] * 3

    @scenario
    async def test_what_is_durable_outlives_the_store_object(self, case: Case) -> None:
        """Closed and opened again, a durable store has its jobs, claims and pauses."""
        if not case.store.features.durable:
            return
        ids = await case.add(2)
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.store.pause("default")
        await case.store.close()
        case.store = await case.open()
        again = await case.worker("w2")
        assert await case.states(ids) == [JobState.RUNNING, JobState.READY]
        assert await again.claim(5) == []
        worker.store = case.store
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED
