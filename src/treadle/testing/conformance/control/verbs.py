"""What the control verbs promise: cancel, retry, discard and purge look at the state first.

Each is one conditional write: True where this call did it, False where the job's state
did not allow it or had changed a moment before.
"""

from collections.abc import Awaitable, Callable

import pytest

from treadle.core.durations import DAY, SECOND
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import (
    Cancelled,
    Failed,
    Outcome,
    Snoozed,
    Succeeded,
    Verdict,
    WorkerLost,
)
from treadle.testing.conformance.kit import ANY_LIMIT, ERROR, Case, ids_of, scenario

SETTLED: dict[str, Outcome] = {
    "retrying": Failed(ERROR, delay=60 * SECOND),
    "snoozed": Snoozed(60 * SECOND),
    "succeeded": Succeeded(b"1"),
    "failed": Failed(ERROR, retryable=False),
    "cancelled": Cancelled("no"),
}
WAITING = ("ready", "scheduled", "retrying", "snoozed")
DEAD = ("failed", "cancelled", "expired")


async def job_that_is(case: Case, kind: str) -> bytes:
    """Bring a job into the state of that name."""
    if kind == "scheduled":
        [job] = await case.add(delay=60 * SECOND)
    elif kind == "expired":
        [job] = await case.add(expires_in=SECOND)
        case.clock.move(1)
        await case.store.stage([], ANY_LIMIT)
    else:
        [job] = await case.add()
    if kind == "running" or kind in SETTLED:
        worker = await case.worker()
        [claim] = await worker.claim()
        if kind in SETTLED:
            await worker.finish(claim, SETTLED[kind])
    return job


Verb = Callable[[Case, bytes], Awaitable[bool]]


async def cancel(case: Case, job: bytes) -> bool:
    """Cancel one job."""
    [done] = await case.store.cancel([job])
    return done


async def retry(case: Case, job: bytes) -> bool:
    """Retry one job."""
    [done] = await case.store.retry([job])
    return done


async def discard(case: Case, job: bytes) -> bool:
    """Discard one job."""
    [done] = await case.store.discard([job])
    return done


ALLOWED = [
    *((cancel, kind) for kind in (*WAITING, "running")),
    *((retry, kind) for kind in (*WAITING, *DEAD)),
    *((discard, kind) for kind in (*DEAD, "succeeded")),
]
REFUSED = [
    *((cancel, kind) for kind in (*DEAD, "succeeded")),
    *((retry, kind) for kind in ("running", "succeeded")),
    *((discard, kind) for kind in (*WAITING, "running")),
]


class TestControl:
    """A verb does what the job's state allows, and nothing otherwise."""

    @pytest.mark.parametrize(("verb", "kind"), ALLOWED)
    @scenario
    async def test_a_verb_that_the_state_allows_is_done(
        self, case: Case, verb: Verb, kind: str
    ) -> None:
        """It says True, and the job is what the verb makes of it."""
        job = await job_that_is(case, kind)
        assert await verb(case, job) is True
        ends: dict[Verb, str] = {cancel: "cancelled", retry: "ready", discard: "gone"}
        assert await case.states([job]) == [ends[verb]]

    @pytest.mark.parametrize(("verb", "kind"), REFUSED)
    @scenario
    async def test_a_verb_that_the_state_forbids_changes_nothing(
        self, case: Case, verb: Verb, kind: str
    ) -> None:
        """It says False, and the record stays as it was."""
        job = await job_that_is(case, kind)
        before = await case.job(job)
        assert await verb(case, job) is False
        assert await case.job(job) == before

    @pytest.mark.parametrize("verb", [cancel, retry, discard])
    @scenario
    async def test_an_unknown_job_is_false(self, case: Case, verb: Verb) -> None:
        """There is nothing to do it to."""
        assert await verb(case, new_id()) is False

    @scenario
    async def test_answers_come_in_order(self, case: Case) -> None:
        """Each job of a batch is judged by itself; one named twice is done once."""
        a, b, c = await case.add(3)
        await case.store.cancel([b])
        assert list(await case.store.cancel([c, b, new_id(), a, a])) == [
            True, False, False, True, False,
        ]  # fmt: skip
        assert list(await case.store.retry([a, new_id(), b])) == [True, False, True]
        assert list(await case.store.discard([a, c, c])) == [False, True, False]
        assert list(await case.store.cancel([])) == []


class TestCancel:
    """Cancelling ends a job that has not ended."""

    @scenario
    async def test_a_cancelled_job_shows_its_end(self, case: Case) -> None:
        """With its instant and the time until the record goes."""
        [job] = await case.add(delay=60 * SECOND)
        case.clock.move(2)
        await case.store.cancel([job])
        record = await case.job(job)
        assert (record.finished_at, record.keep_until) == (case.now, case.now + 30 * DAY)

    @scenario
    async def test_a_cancelled_job_is_not_claimed(self, case: Case) -> None:
        """Neither now nor when it would have been due."""
        await case.store.cancel(await case.add() + await case.add(delay=SECOND))
        case.clock.move(1)
        assert await case.store.stage([], ANY_LIMIT) == 0
        assert await (await case.worker()).claim() == []

    @scenario
    async def test_a_running_job_is_fenced_off_at_once(self, case: Case) -> None:
        """What its worker settles is LOST, and its worker holds nothing any more."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.store.cancel([job])
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.LOST
        [record] = await case.store.workers()
        assert (record.running, (await case.job(job)).state) == (0, JobState.CANCELLED)


class TestRetry:
    """Retrying makes a job ready now, with all its attempts before it."""

    @pytest.mark.parametrize("kind", [*WAITING, *DEAD])
    @scenario
    async def test_a_retried_job_begins_afresh(self, case: Case, kind: str) -> None:
        """It can be claimed at once, none of its attempts is spent, no end is shown."""
        job = await job_that_is(case, kind)
        case.clock.move(0.5)
        await case.store.retry([job])
        record = await case.job(job)
        assert record.attempt == record.forgiven
        assert (record.finished_at, record.keep_until, record.worker, record.reason) == (None,) * 4
        assert record.run_at <= case.now
        [claim] = await (await case.worker("w2")).claim()
        assert (claim.id, claim.attempt - claim.forgiven) == (job, 1)

    @scenario
    async def test_crashes_are_forgotten(self, case: Case) -> None:
        """A poisoned job that a person sends again may crash as often as a new one."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, WorkerLost("w0"))
        await case.store.cancel([claim.id])
        await case.store.retry([claim.id])
        [claim] = await worker.claim()
        assert (claim.crashes, claim.attempt - claim.forgiven) == (0, 1)

    @scenario
    async def test_a_retried_job_that_had_expired_can_run(self, case: Case) -> None:
        """Its old expiry does not end it a second time."""
        job = await job_that_is(case, "expired")
        await case.store.retry([job])
        case.clock.move(60)
        await case.store.stage([], ANY_LIMIT)
        assert ids_of(await (await case.worker()).claim()) == [job]

    @scenario
    async def test_an_old_claim_stays_lost_after_a_replay(self, case: Case) -> None:
        """A late worker from before cannot settle the job's new life."""
        [job] = await case.add()
        worker = await case.worker()
        [old] = await worker.claim()
        await case.store.cancel([job])
        await case.store.retry([job])
        [new] = await worker.claim()
        assert await worker.finish(old, Succeeded(b"old")) is Verdict.LOST
        assert await worker.finish(new, Succeeded(b"new")) is Verdict.APPLIED
        assert (await case.job(job)).result == b"new"


class TestDiscard:
    """Discarding deletes an ended job."""

    @scenario
    async def test_nothing_of_it_is_left(self, case: Case) -> None:
        """Neither record, nor attempts, nor logs."""
        job = await job_that_is(case, "failed")
        assert list(await case.store.attempts(job)) != []
        await case.store.discard([job])
        assert [*await case.store.attempts(job), *await case.store.logs(job)] == []
        assert list(await case.store.ended([job])) == [job]


class TestPurge:
    """Purging cancels what waits in a queue."""

    @scenario
    async def test_waiting_jobs_of_the_queue_are_cancelled(self, case: Case) -> None:
        """Ready, scheduled and retrying ones; not those that run, ended or are elsewhere."""
        running, retrying, ready = await case.add(3, queue="mail")
        [scheduled] = await case.add(queue="mail", delay=SECOND)
        [other] = await case.add(queue="other")
        worker = await case.worker()
        _, failed = await worker.claim(2, "mail")
        await worker.finish(failed, Failed(ERROR, delay=SECOND))
        assert await case.store.purge("mail", limit=ANY_LIMIT) == len([retrying, ready, scheduled])
        assert await case.states([retrying, ready, scheduled]) == [JobState.CANCELLED] * 3
        assert await case.states([running, other]) == [JobState.RUNNING, JobState.READY]
        assert (await case.job(ready)).finished_at == case.now

    @scenario
    async def test_a_purge_is_bounded(self, case: Case) -> None:
        """At most `limit` jobs a call; the next calls go on; an unknown queue has none."""
        await case.add(7)
        counts = [await case.store.purge("default", limit=3) for _ in range(4)]
        assert counts == [3, 3, 1, 0]
        assert await case.store.purge("nowhere", limit=3) == 0
