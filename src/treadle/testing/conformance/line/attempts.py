"""What the store remembers of a job's attempts: one bounded record each."""

from treadle.core.durations import SECOND
from treadle.core.job import AttemptRecord, ErrorInfo, JobState
from treadle.core.outcome import Cancelled, Failed, Released, Snoozed, Succeeded
from treadle.store.contract import ATTEMPTS_KEPT
from treadle.testing.conformance.kit import ERROR, Case, Hand, scenario


async def attempts_of(case: Case, job: bytes) -> list[tuple[int, int, str]]:
    """Read a job's attempts as (attempt, claim number, outcome)."""
    return [(a.attempt, a.claim, a.outcome) for a in await case.store.attempts(job)]


async def fail_and_wait(case: Case, worker: Hand) -> None:
    """Claim the one job there is, fail it with a delay of a second, and make it due again."""
    [claim] = await worker.claim()
    await worker.finish(claim, Failed(ErrorInfo("E", str(claim.attempt)), delay=SECOND))
    case.clock.move(1)
    await case.store.stage([], 10)


class TestAttempts:
    """Every attempt leaves its times, its worker, its outcome and its error."""

    @scenario
    async def test_a_job_that_was_never_claimed_has_none(self, case: Case) -> None:
        """No claim, no attempt; nor has a job that is not there."""
        [job] = await case.add()
        assert list(await case.store.attempts(job)) == []
        assert list(await case.store.attempts(bytes(16))) == []

    @scenario
    async def test_the_attempt_that_runs_is_included(self, case: Case) -> None:
        """It has a start and a worker, and no end yet."""
        [job] = await case.add()
        worker = await case.worker()
        await worker.claim()
        case.clock.move(1)
        [attempt] = await case.store.attempts(job)
        assert (attempt.attempt, attempt.claim, attempt.worker) == (1, 1, "w1")
        assert (attempt.started_at, attempt.finished_at) == (case.now - SECOND, None)

    @scenario
    async def test_each_attempt_is_recorded_whole(self, case: Case) -> None:
        """Oldest first, each under its own worker, times, error and measured length."""
        [job] = await case.add()
        began = case.now
        first, second = await case.worker("w1"), await case.worker("w2")
        [claim] = await first.claim()
        case.clock.move(2)
        await first.finish(claim, Failed(ERROR, delay=SECOND, ran=1_900_000))
        case.clock.move(1)
        await case.store.stage([], 10)
        [claim] = await second.claim()
        case.clock.move(4)
        await second.finish(claim, Succeeded(b"1", ran=3_999_999))
        assert list(await case.store.attempts(job)) == [
            AttemptRecord(
                1, 1, "w1", began, began + 2 * SECOND, "failed", error=ERROR, ran=1_900_000
            ),
            AttemptRecord(
                2, 2, "w2", began + 3 * SECOND, began + 7 * SECOND, "succeeded", ran=3_999_999
            ),
        ]

    @scenario
    async def test_a_snoozed_attempt_is_recorded_though_it_is_not_spent(self, case: Case) -> None:
        """Its number comes again under the next claim number."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Snoozed(SECOND))
        case.clock.move(1)
        await case.store.stage([], 10)
        [claim] = await worker.claim()
        await worker.finish(claim, Cancelled("enough"))
        assert await attempts_of(case, job) == [(1, 1, "snoozed"), (1, 2, "cancelled")]

    @scenario
    async def test_a_claim_given_back_unstarted_leaves_no_attempt(self, case: Case) -> None:
        """No attempt took place, so none is shown."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Released())
        assert await attempts_of(case, job) == []

    @scenario
    async def test_the_attempt_of_a_job_cancelled_while_it_ran_is_ended(self, case: Case) -> None:
        """Cancelling from outside closes the attempt's record under its own claim."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        case.clock.move(1)
        await case.store.cancel([job])
        [attempt] = await case.store.attempts(job)
        assert (attempt.attempt, attempt.worker) == (1, "w1")
        assert (attempt.outcome, attempt.finished_at) == ("cancelled", case.now)
        assert attempt.claim == claim.number

    @scenario
    async def test_attempts_outlive_a_replay(self, case: Case) -> None:
        """A dead letter made ready again still shows what it died of before."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, retryable=False))
        await case.store.retry([job])
        assert await attempts_of(case, job) == [(1, 1, "failed")]
        [claim] = await worker.claim()
        await worker.finish(claim, Succeeded(None))
        assert await attempts_of(case, job) == [(1, 1, "failed"), (2, 2, "succeeded")]
        [first, _] = await case.store.attempts(job)
        assert first.error == ERROR

    @scenario
    async def test_only_the_newest_attempts_are_kept(self, case: Case) -> None:
        """However often a job fails, ATTEMPTS_KEPT records remain, and they are the last ones."""
        [job] = await case.add(attempts_max=ATTEMPTS_KEPT * 2)
        worker = await case.worker()
        for _ in range(ATTEMPTS_KEPT + 4):
            await fail_and_wait(case, worker)
        [claim] = await worker.claim()
        found = list(await case.store.attempts(job))
        # The attempt that runs may be counted among those kept, or come on top of them.
        assert len(found) in {ATTEMPTS_KEPT, ATTEMPTS_KEPT + 1}
        numbers = [attempt.attempt for attempt in found]
        assert numbers == list(range(claim.attempt - len(found) + 1, claim.attempt + 1))
        assert [a.error.message for a in found[:-1] if a.error] == [str(n) for n in numbers[:-1]]
        assert (await case.job(job)).state == JobState.RUNNING

    @scenario
    async def test_a_running_attempt_shows_no_error(self, case: Case) -> None:
        """What the attempt before died of is not this one's."""
        [job] = await case.add()
        worker = await case.worker()
        await fail_and_wait(case, worker)
        await worker.claim()
        first, second = await case.store.attempts(job)
        assert (first.error, second.error) == (ErrorInfo("E", "1"), None)

    @scenario
    async def test_a_dead_letter_replayed_again_and_again_stays_bounded(self, case: Case) -> None:
        """The bound holds whatever ends the attempts."""
        [job] = await case.add()
        worker = await case.worker()
        for _ in range(ATTEMPTS_KEPT + 4):
            [claim] = await worker.claim()
            await worker.finish(claim, Failed(ERROR, retryable=False))
            await case.store.retry([job])
        assert len(await case.store.attempts(job)) <= ATTEMPTS_KEPT + 1
