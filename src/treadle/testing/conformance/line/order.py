"""What claiming promises of order: priorities, several queues, strict and weighted lanes."""

import random
from collections import Counter

from treadle.core.durations import SECOND
from treadle.core.job import NewJob
from treadle.core.lanes import Demand, Lanes, Share
from treadle.core.outcome import Failed, Succeeded
from treadle.testing.conformance.kit import (
    ERROR,
    Case,
    Hand,
    ids_of,
    new_job,
    scenario,
    settlement,
)

DRAINED = 2_100
BY = 70
WEIGHTS = {"critical": 6, "default": 3, "bulk": 1}


def best_first(job: NewJob) -> tuple[int, bytes]:
    """Order as a claim does: priority high to low, then id."""
    return -job.priority, job.id


def shuffled(count: int, queues: list[str], seed: int) -> list[NewJob]:
    """Make jobs of random priorities in random queues."""
    draw = random.Random(seed)  # noqa: S311 -- spreads jobs, guards nothing
    return [
        new_job(priority=draw.choice([-100, -1, 0, 1, 100]), queue=draw.choice(queues))
        for _ in range(count)
    ]


class TestOrder:
    """The best job goes first."""

    @scenario
    async def test_a_higher_priority_goes_first(self, case: Case) -> None:
        """In one queue: by priority, then by age, over many claims."""
        jobs = shuffled(300, ["default"], seed=1)
        await case.enqueue(*jobs)
        worker = await case.worker()
        taken: list[bytes] = []
        for _ in range(10):
            taken += ids_of(await worker.claim(30, "default"))
        assert taken == [job.id for job in sorted(jobs, key=best_first)]

    @scenario
    async def test_every_queue_merged_gives_the_best_job_of_all(self, case: Case) -> None:
        """Five priorities over twenty queues come out in exact global order."""
        jobs = shuffled(1_000, [f"q{n}" for n in range(20)], seed=2)
        await case.enqueue(*jobs)
        worker = await case.worker()
        taken: list[bytes] = []
        for limit in [1, 2, 3, 64, 130, 300, 500]:
            taken += ids_of(await worker.claim(limit))
        assert taken == [job.id for job in sorted(jobs, key=best_first)]

    @scenario
    async def test_steps_are_taken_one_after_the_other(self, case: Case) -> None:
        """A strict demand takes all of the first queue before any of the second."""
        second = await case.add(5, queue="b", priority=100)
        first = await case.add(3, queue="a", priority=-100)
        worker = await case.worker()
        assert ids_of(await worker.claim(5, "a", "b")) == first + second[:2]
        assert ids_of(await worker.claim(5, "a", "b")) == second[2:]

    @scenario
    async def test_a_step_after_a_share_takes_what_is_left(self, case: Case) -> None:
        """A queue may be named twice: its share first, then what others did not use."""
        a, b = await case.add(6, queue="a"), await case.add(1, queue="b")
        shares = (Share("a", 2), Share("b", 2), Share("a", 6), Share("b", 6))
        worker = await case.worker()
        answer = await worker.exchange(demand=Demand(6, shares))
        assert ids_of(answer.claims) == [*a[:2], *b, *a[2:5]]

    @scenario
    async def test_a_retried_job_comes_back_to_its_place(self, case: Case) -> None:
        """A job that failed is older than those behind it, and goes first when it is due."""
        ids = await case.add(3)
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, Failed(ERROR, delay=SECOND))
        case.clock.move(1)
        await case.store.stage([], 10)
        assert ids_of(await worker.claim(3)) == ids

    @scenario
    async def test_weighted_lanes_share_within_five_percent(self, case: Case) -> None:
        """Over 2,100 jobs each queue gets its weight's share while all have work."""
        due = {q: DRAINED * weight / sum(WEIGHTS.values()) for q, weight in WEIGHTS.items()}
        for queue, count in due.items():
            await case.add(round(count) + BY, queue=queue)
        worker = await case.worker()
        shares = await _drained(worker, Lanes(WEIGHTS, strict=False), DRAINED)
        assert all(abs(shares[q] - due[q]) <= due[q] / 20 for q in WEIGHTS), shares

    @scenario
    async def test_an_empty_lane_leaves_its_share_to_the_others(self, case: Case) -> None:
        """No slot stays free while any queue has work."""
        ids = await case.add(50, queue="bulk")
        worker = await case.worker()
        shares = await _drained(worker, Lanes(WEIGHTS, strict=False), len(ids))
        assert shares == {"bulk": len(ids)}


async def _drained(worker: Hand, lanes: Lanes, total: int) -> Counter[str]:
    """Claim and settle batch by batch, and count the claims of each queue."""
    shares: Counter[str] = Counter()
    claims = await worker.claim(0)
    while shares.total() < total:
        done = [settlement(claim, Succeeded(None)) for claim in claims]
        answer = await worker.exchange(done, lanes.demand(min(BY, total - shares.total())))
        claims = list(answer.claims)
        shares.update(claim.queue for claim in claims)
        assert claims, f"the worker got nothing with {total - shares.total()} still to come"
    return shares
