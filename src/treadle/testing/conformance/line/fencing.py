"""What the fence promises: only the claim that still runs is settled.

A claim number never goes down; whatever ends or moves a claim (cancel, rescue, leave,
a settlement) makes every later settlement under it `LOST`, and a lost one writes nothing.
"""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState
from treadle.core.outcome import Failed, Outcome, Released, Snoozed, Succeeded, Verdict
from treadle.testing.conformance.kit import (
    ERROR,
    LEASE_S,
    Case,
    Hand,
    scenario,
    settlement,
    worker_info,
)

OUTCOMES: list[Outcome] = [
    Succeeded(b"late"),
    Failed(ERROR, delay=SECOND),
    Failed(ERROR, retryable=False),
    Snoozed(SECOND),
    Released(),
]


async def end_by_cancel(case: Case, claim: Claim) -> None:
    """Cancel the running job."""
    await case.store.cancel([claim.id])


async def end_by_leave(case: Case, claim: Claim) -> None:
    """Let its worker leave."""
    assert claim.number
    await case.store.leave("w1")


async def end_by_rescue(case: Case, claim: Claim) -> None:
    """Let its worker die and another take it over."""
    case.clock.move(LEASE_S + 1)
    rescuer = await case.worker("w2")
    [orphan] = await rescuer.rescue_in_two_looks(case.clock)
    assert orphan.claim.id == claim.id


async def end_by_settling(case: Case, claim: Claim) -> None:
    """Settle it in time."""
    hand = Hand(case.store, worker_info("w1"))
    assert await hand.finish(claim, Succeeded(b"in time")) is Verdict.APPLIED


async def end_by_deletion(case: Case, claim: Claim) -> None:
    """Cancel the job and delete its record."""
    await case.store.cancel([claim.id])
    assert list(await case.store.discard([claim.id])) == [True]


ENDS = [end_by_cancel, end_by_leave, end_by_rescue, end_by_settling, end_by_deletion]


class TestFencing:
    """A late settlement changes nothing."""

    @pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
    @pytest.mark.parametrize("end", ENDS)
    @scenario
    async def test_a_claim_that_is_over_cannot_be_settled(
        self, case: Case, end: Callable[[Case, Claim], Awaitable[None]], outcome: Outcome
    ) -> None:
        """Its verdict is LOST, and the record stays to the byte as it was."""
        [job] = await case.add()
        worker = await case.worker("w1")
        [claim] = await worker.claim()
        await end(case, claim)
        before = (await case.store.get([job]), await case.store.attempts(job))
        assert await worker.finish(claim, outcome) is Verdict.LOST
        assert (await case.store.get([job]), await case.store.attempts(job)) == before

    @pytest.mark.parametrize("number", [-1, 0, 1, 3, 2**62])
    @scenario
    async def test_only_the_number_that_runs_settles(self, case: Case, number: int) -> None:
        """Neither an older nor a made-up number does."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Released())
        [claim] = await worker.claim()
        wrong = structs.replace(settlement(claim, Succeeded(b"1")), number=number)
        assert await worker.settle(wrong) == [Verdict.LOST]
        assert await worker.finish(claim, Succeeded(b"2")) is Verdict.APPLIED
        assert (await case.job(claim.id)).result == b"2"

    @scenario
    async def test_an_unknown_job_is_lost(self, case: Case) -> None:
        """A settlement for a job that the store does not have is LOST and makes none."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        stranger = structs.replace(claim, id=new_id())
        assert await worker.finish(stranger, Succeeded(b"1")) is Verdict.LOST
        assert list(await case.store.get([stranger.id])) == [None]

    @scenario
    async def test_one_of_two_settlements_for_a_claim_applies(self, case: Case) -> None:
        """The first in a batch wins; the second finds the claim over."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        twice = [settlement(claim, Succeeded(result)) for result in (b"1", b"2")]
        assert await worker.settle(*twice) == [Verdict.APPLIED, Verdict.LOST]
        assert (await case.job(claim.id)).result == b"1"

    @scenario
    async def test_a_job_that_waits_cannot_be_settled(self, case: Case) -> None:
        """A job handed back is nobody's, also under its newest number."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Released())
        assert (await case.job(job)).claim == claim.number
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.LOST
        assert (await case.job(job)).state == JobState.READY

    @scenario
    async def test_a_number_never_goes_down(self, case: Case) -> None:
        """Through snooze, release, retry, cancel and replay it only rises."""
        [job] = await case.add()
        worker = await case.worker()
        seen = [0]
        for outcome in (Snoozed(0), Released(), Failed(ERROR, delay=0), Failed(ERROR, delay=0)):
            await case.store.stage([], 10)
            [claim] = await worker.claim()
            assert claim.number > seen[-1]
            await worker.finish(claim, outcome)
            seen += [claim.number, (await case.job(job)).claim]
        for _ in range(3):
            await case.store.stage([], 10)
            [claim] = await worker.claim()
            assert claim.number > seen[-1]
            await case.store.cancel([job])
            seen += [claim.number, (await case.job(job)).claim]
            await case.store.retry([job])
            seen += [(await case.job(job)).claim]
        assert seen == sorted(seen)

    @scenario
    async def test_cancelling_a_running_job_raises_its_number(self, case: Case) -> None:
        """The number under which it ran is no longer the job's."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await case.store.cancel([claim.id])
        assert (await case.job(claim.id)).claim > claim.number
