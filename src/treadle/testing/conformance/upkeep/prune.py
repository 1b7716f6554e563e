"""What `prune` promises: records go when their time is over, in steps, and nothing else."""

from treadle.core.decide import Rules
from treadle.core.durations import DAY, SECOND
from treadle.core.job import JobState
from treadle.core.outcome import Failed, Succeeded
from treadle.store.contract import Filter, Note
from treadle.testing.conformance.kit import ANY_LIMIT, ERROR, Case, scenario, settlement

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
FAR_S = 400 * DAY_S


async def ended_jobs(case: Case, count: int, rules: Rules | None = None) -> list[bytes]:
    """Let `count` jobs succeed."""
    ids = await case.add(count)
    worker = await case.worker(f"w{case.now}")
    claims = await worker.claim(count)
    await worker.settle(*(settlement(claim, Succeeded(b"1"), rules) for claim in claims))
    return ids


class TestPrune:
    """What is over goes; what lives stays."""

    @scenario
    async def test_a_record_goes_when_its_time_is_over_and_not_before(self, case: Case) -> None:
        """A succeeded job is there to the last microsecond of its day, then no more."""
        first = await ended_jobs(case, 1)
        case.clock.move(1 / SECOND)
        ids = await ended_jobs(case, 2)
        case.clock.move((DAY - 1) / SECOND)
        assert await case.store.prune(ANY_LIMIT) == len(first)
        assert set(await case.states(ids)) == {JobState.SUCCEEDED}
        case.clock.move(1 / SECOND)
        assert await case.store.prune(ANY_LIMIT) == len(ids)
        assert list(await case.store.get(ids)) == [None, None]

    @scenario
    async def test_its_attempts_and_logs_go_with_it(self, case: Case) -> None:
        """Nothing of a pruned job is left to fill the store."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=0))
        await case.store.stage([], ANY_LIMIT)
        [claim] = await worker.claim()
        await case.store.note("w1", [Note(job, claim.number, logs=((case.now, "info", "a"),))])
        await worker.finish(claim, Succeeded(b"1"))
        case.clock.move(DAY_S)
        await case.store.prune(ANY_LIMIT)
        assert [*await case.store.attempts(job), *await case.store.logs(job)] == []

    @scenario
    async def test_a_prune_is_bounded(self, case: Case) -> None:
        """It deletes at most `limit` records a call, and the next calls go on."""
        ids = await ended_jobs(case, 7)
        case.clock.move(DAY_S)
        counts = [await case.store.prune(3) for _ in range(3)]
        assert counts == [3, 3, 1]
        assert set(await case.states(ids)) == {"gone"}

    @scenario
    async def test_a_job_that_has_not_ended_never_goes(self, case: Case) -> None:
        """Ready, scheduled, running or retrying, however old."""
        await case.add(2)
        worker = await case.worker()
        failed, _ = await worker.claim(2)
        await worker.finish(failed, Failed(ERROR, delay=2 * FAR_S * SECOND))
        ready, scheduled = await case.add(), await case.add(delay=2 * FAR_S * SECOND)
        case.clock.move(FAR_S)
        await case.store.prune(ANY_LIMIT)
        states = ["retrying", "running", "ready", "scheduled"]
        everything = await case.store.find(Filter())
        assert [record.state for record in reversed(everything)] == states
        assert await case.states(ready + scheduled) == states[2:]

    @scenario
    async def test_a_job_stays_an_hour_after_it_was_made(self, case: Case) -> None:
        """Also one that is to be kept for no time at all."""
        ids = await ended_jobs(case, 1, Rules(keep_succeeded=0))
        case.clock.move(HOUR_S - 1)
        await case.store.prune(ANY_LIMIT)
        assert await case.states(ids) == [JobState.SUCCEEDED]
        case.clock.move(1)
        await case.store.prune(ANY_LIMIT)
        assert await case.states(ids) == ["gone"]

    @scenario
    async def test_a_replayed_dead_letter_does_not_go(self, case: Case) -> None:
        """Made ready again, a job is alive again, and its old end is no longer counted."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, retryable=False))
        await case.store.retry([job])
        case.clock.move(FAR_S)
        await case.store.prune(ANY_LIMIT)
        assert await case.states([job]) == [JobState.READY]
        [claim] = await worker.claim()
        await worker.finish(claim, Succeeded(b"1"))
        await case.store.prune(ANY_LIMIT)
        assert await case.states([job]) == [JobState.SUCCEEDED]

    @scenario
    async def test_cancelled_and_expired_jobs_go_too(self, case: Case) -> None:
        """Every end has its time."""
        [cancelled] = await case.add()
        await case.store.cancel([cancelled])
        [expired] = await case.add(expires_in=SECOND)
        case.clock.move(1)
        await case.store.stage([], ANY_LIMIT)
        case.clock.move(31 * DAY_S)
        await case.store.prune(ANY_LIMIT)
        assert await case.states([cancelled, expired]) == ["gone", "gone"]

    @scenario
    async def test_nothing_over_is_nothing_done(self, case: Case) -> None:
        """An empty store and one that is all alive are left as they are."""
        assert await case.store.prune(ANY_LIMIT) == 0
        await case.add(3)
        assert await case.store.prune(ANY_LIMIT) == 0
