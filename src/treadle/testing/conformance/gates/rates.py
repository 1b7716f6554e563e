"""What a bound on starts promises: never more in a time, and the next one when it is due."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

import random

from treadle.core.durations import MINUTE, SECOND
from treadle.core.outcome import Failed
from treadle.testing.conformance.gates.kit import add, check_due, claim, finish, gate, places, rate
from treadle.testing.conformance.kit import ERROR, Case, ids_of, scenario


class TestRates:
    """A bucket holds `burst` starts and gains `quota` in a period."""

    @scenario
    async def test_a_full_bucket_lets_its_burst_start(self, case: Case) -> None:
        """What is over the burst waits."""
        ids = await add(case, 5, rate(quota=10, period=MINUTE, burst=3))
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:3]
        assert (await gate(case, "r")).room == 0

    @scenario
    async def test_one_starts_each_time_a_token_comes(self, case: Case) -> None:
        """Ten a minute is one in six seconds, and none a moment earlier."""
        ids = await add(case, 4, rate(quota=10, period=MINUTE))
        worker = await case.worker()
        starts = [(case.now, one.id) for one in await claim(worker)]
        begun = case.now
        for _ in range(200):
            case.clock.move(0.1)
            starts += [(case.now, one.id) for one in await claim(worker)]
        assert [id_ for _, id_ in starts] == ids
        seconds = [(at - begun) / SECOND for at, _ in starts]
        expected = [0, 6, 12, 18]
        assert all(e <= s < e + 0.15 for s, e in zip(seconds, expected, strict=True)), seconds

    @scenario
    async def test_the_store_tells_when_the_next_token_comes(self, case: Case) -> None:
        """A worker with nothing to do sleeps until just then."""
        await add(case, 2, rate(quota=10, period=MINUTE))
        worker = await case.worker()
        await claim(worker)
        await check_due(worker, 5.9, 6)

    @scenario
    async def test_a_rest_never_saves_more_than_the_burst(self, case: Case) -> None:
        """After an hour without jobs a bucket of two lets two start."""
        await add(case, 1, rate(burst=2))
        worker = await case.worker()
        await finish(worker, *(await claim(worker)))
        case.clock.move(3_600)
        ids = await add(case, 5, rate(burst=2))
        assert ids_of(await claim(worker)) == ids[:2]

    @scenario
    async def test_an_attempt_counts_however_it_ends(self, case: Case) -> None:
        """A start is a start: what failed gives nothing back."""
        await add(case, 2, rate(quota=1, period=MINUTE))
        worker = await case.worker()
        [one] = await claim(worker)
        await worker.finish(one, Failed(ERROR, retryable=False))
        assert await claim(worker) == []

    @scenario
    async def test_a_dear_job_takes_its_cost(self, case: Case) -> None:
        """Of a bucket of ten, jobs that cost four leave two."""
        ids = await add(case, 3, rate(quota=10, period=MINUTE, burst=10, cost=4))
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:2]
        assert (await gate(case, "r")).room == 2
        case.clock.move(12.1)
        assert ids_of(await claim(worker)) == ids[2:]

    @scenario
    async def test_a_job_dearer_than_the_bucket_takes_a_full_one(self, case: Case) -> None:
        """It waits for a full bucket, and is not kept for ever."""
        cheap = await add(case, 1, rate(quota=60, period=MINUTE, burst=5))
        dear = await add(case, 1, rate(quota=60, period=MINUTE, burst=5, cost=50))
        worker = await case.worker()
        assert ids_of(await claim(worker)) == cheap
        case.clock.move(1.1)
        assert ids_of(await claim(worker)) == dear

    @scenario
    async def test_cheap_jobs_do_not_starve_a_dear_one(self, case: Case) -> None:
        """Those that come while it waits stay behind it."""
        costly, cheap = rate("r", 60, MINUTE, 5, cost=5), rate("r", 60, MINUTE, 5)
        first = await add(case, 1, costly)
        dear = await add(case, 1, costly)
        worker = await case.worker()
        assert ids_of(await claim(worker)) == first
        started = []
        for _ in range(8):
            case.clock.move(1.01)
            await add(case, 1, cheap)
            started += ids_of(await claim(worker))
        assert started[0] == dear[0]

    @scenario
    async def test_two_rates_hold_together(self, case: Case) -> None:
        """Two a second and three a minute: the third starts a second later, the fourth does not."""
        ids = await add(case, 4, rate("fast", 2, SECOND, 2), rate("slow", 3, MINUTE, 3))
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:2]
        case.clock.move(1.1)
        assert ids_of(await claim(worker)) == ids[2:3]
        case.clock.move(2)
        assert await claim(worker) == []
        case.clock.move(20)
        assert ids_of(await claim(worker)) == ids[3:]

    @scenario
    async def test_a_job_kept_back_by_another_gate_spends_no_token(self, case: Case) -> None:
        """Tokens go with starts only."""
        await add(case, 1, places("p"))
        worker = await case.worker()
        await claim(worker)
        await add(case, 1, places("p"), rate("r", 1, MINUTE, 1))
        assert await claim(worker) == []
        free = await add(case, 1, rate("r", 1, MINUTE, 1))
        assert ids_of(await claim(worker)) == free

    @scenario
    async def test_no_window_sees_more_than_the_rate_where_starts_are_spread(
        self, case: Case
    ) -> None:
        """With a burst of one, in any period wherever it begins."""
        seed = random.randrange(2**32)  # noqa: S311 -- moves of a clock
        chance = random.Random(seed)  # noqa: S311 -- as above
        worker, starts = await case.worker(), []
        for _ in range(60):
            await add(case, chance.randint(0, 2), rate("r", 7, SECOND, 1))
            case.clock.move(chance.choice((0.01, 0.05, 0.15, 0.5)))
            starts += [case.now] * len(await claim(worker))
        assert len(starts) > 10, f"seed {seed}"
        for first, begun in enumerate(starts):
            assert sum(at < begun + SECOND for at in starts[first:]) <= 7, f"seed {seed}"
