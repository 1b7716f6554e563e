"""What the request id promises: an exchange whose answer was lost may be sent again.

The same request gives the same verdicts and the same claims, whatever became of the jobs
since, and changes nothing.
"""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from treadle.core.decide import Rules
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState
from treadle.core.outcome import Failed, Succeeded, Verdict
from treadle.testing.conformance.kit import (
    ERROR,
    Case,
    Hand,
    ids_of,
    new_job,
    scenario,
    settlement,
    take,
)


async def nothing(case: Case, worker: Hand, claims: list[Claim]) -> None:
    """Send the request again at once."""


async def cancelled(case: Case, worker: Hand, claims: list[Claim]) -> None:
    """Let one of the claimed jobs be cancelled in between."""
    assert worker.name
    await case.store.cancel([claims[0].id])


async def others_went_on(case: Case, worker: Hand, claims: list[Claim]) -> None:
    """Let another worker claim and settle, and new jobs arrive."""
    assert worker.name != "w9"
    assert claims
    other = await case.worker("w9")
    for claim in await other.claim(2):
        await other.finish(claim, Succeeded(b"9"))
    await case.add(3, priority=50)


BETWEEN = [nothing, cancelled, others_went_on]


class TestRequests:
    """An exchange sent again is answered as it was."""

    @pytest.mark.parametrize("between", BETWEEN)
    @scenario
    async def test_the_same_request_gives_the_same_verdicts_and_claims(
        self, case: Case, between: Callable[[Case, Hand, list[Claim]], Awaitable[None]]
    ) -> None:
        """Nothing more is claimed and nothing is settled twice."""
        await case.add(12)
        worker = await case.worker()
        held = await worker.claim(3)
        batch = [settlement(claim, Succeeded(b"1")) for claim in held]
        batch[1] = structs.replace(batch[1], number=77)
        request = new_id()
        first = await worker.exchange(batch, take(4), request)
        await between(case, worker, list(first.claims))
        before = await case.states(ids_of([*held, *first.claims]))
        case.clock.move(1)
        again = await worker.exchange(batch, take(4), request)
        verdicts = [Verdict.APPLIED, Verdict.LOST, Verdict.APPLIED]
        assert list(first.verdicts) == list(again.verdicts) == verdicts
        assert list(again.claims) == list(first.claims)
        assert await case.states(ids_of([*held, *first.claims])) == before

    @scenario
    async def test_claims_come_again_also_when_they_have_been_settled(self, case: Case) -> None:
        """A settlement sent by another way in between does not change the answer's claims."""
        await case.add(3)
        worker, request = await case.worker(), new_id()
        first = await worker.exchange((), take(3), request)
        late = Hand(await case.other(), structs.replace(worker.info, id="w2"))
        await late.register()
        await late.settle(settlement(first.claims[0], Failed(ERROR, retryable=False)))
        again = await worker.exchange((), take(3), request)
        assert [(c.id, c.number) for c in again.claims] == [(c.id, c.number) for c in first.claims]
        assert await worker.finish(again.claims[0], Succeeded(b"1")) is Verdict.LOST

    @scenario
    async def test_claims_come_again_also_when_their_jobs_are_deleted(self, case: Case) -> None:
        """The answer does not fail for a job that is gone; those that are there come again."""
        await case.add(3)
        worker, request = await case.worker(), new_id()
        first = await worker.exchange((), take(3), request)
        await case.store.cancel([first.claims[1].id])
        await case.store.discard([first.claims[1].id])
        again = await worker.exchange((), take(3), request)
        kept = [first.claims[0].id, first.claims[2].id]
        assert [c.id for c in again.claims if c.id in kept] == kept

    @scenario
    async def test_verdicts_come_again_also_when_the_jobs_were_pruned(self, case: Case) -> None:
        """What was settled, kept for its time and deleted was APPLIED, and stays it."""
        ids = await case.add(3)
        worker, request = await case.worker(), new_id()
        claims = await worker.claim(3)
        batch = [settlement(claim, Succeeded(b"1"), Rules(keep_succeeded=0)) for claim in claims]
        first = await worker.exchange(batch, None, request)
        case.clock.move(3_601)
        while await case.store.prune(100):
            assert await case.store.get(ids) is not None
        assert list(await case.store.get(ids)) == [None] * 3
        again = await worker.exchange(batch, None, request)
        assert list(first.verdicts) == list(again.verdicts) == [Verdict.APPLIED] * 3

    @scenario
    async def test_a_settled_request_without_claims_is_remembered(self, case: Case) -> None:
        """Settling alone may be sent again: applied stays applied."""
        await case.add()
        worker, request = await case.worker(), new_id()
        [claim] = await worker.claim()
        batch = [settlement(claim, Succeeded(b"1"))]
        answers = [await worker.exchange(batch, None, request) for _ in range(3)]
        assert [list(answer.verdicts) for answer in answers] == [[Verdict.APPLIED]] * 3

    @scenario
    async def test_another_request_is_another_exchange(self, case: Case) -> None:
        """A new id claims the next jobs and finds the settlement already made."""
        ids = await case.add(4)
        worker = await case.worker()
        first = await worker.exchange((), take(2))
        batch = [settlement(claim, Succeeded(b"1")) for claim in first.claims]
        second = await worker.exchange(batch, take(2))
        third = await worker.exchange(batch, None)
        assert ids_of([*first.claims, *second.claims]) == ids
        assert list(third.verdicts) == [Verdict.LOST] * 2

    @scenario
    async def test_two_workers_may_use_the_same_request_id(self, case: Case) -> None:
        """A request is remembered for its own worker."""
        ids, request = await case.add(2), new_id()
        workers = [await case.worker("w1"), await case.worker("w2")]
        taken = [(await worker.exchange((), take(1), request)).claims for worker in workers]
        assert [claim.id for [claim] in taken] == ids

    @scenario
    async def test_a_request_of_a_worker_that_is_gone_gives_no_claims(self, case: Case) -> None:
        """After it left, its jobs are no longer its own to be told of."""
        [job] = await case.add()
        worker, request = await case.worker(), new_id()
        await worker.exchange((), take(1), request)
        await case.store.leave(worker.name)
        answer = await worker.exchange((), take(1), request)
        assert (answer.gone, list(answer.claims)) == (True, [])
        assert (await case.job(job)).state == JobState.READY

    @scenario
    async def test_an_enqueue_sent_again_within_its_hour_runs_no_job_twice(
        self, case: Case
    ) -> None:
        """Records outlive the time in which their batch may be sent again."""
        request, job = new_id(), new_job()
        await case.store.enqueue(request, [job])
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.settle(settlement(claim, Succeeded(b"1"), Rules(keep_succeeded=0)))
        case.clock.move(3_599)
        await case.store.prune(10)
        await case.store.enqueue(request, [job])
        assert await worker.claim() == []
