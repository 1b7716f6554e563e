"""A gate that bounds something else than the jobs that are there say.

A name can come to mean another kind of limit: somebody sets it at run time, or a deploy has
another limit under it. What runs already counts for what the gate bounds now.
"""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from treadle.core.durations import SECOND
from treadle.core.gates.gate import PLACES, GateUse
from treadle.testing.conformance.gates.kit import add, claim, finish, gate, places, rate
from treadle.testing.conformance.kit import Case, ids_of, scenario

WIDE = rate("g", quota=1_000, period=SECOND, burst=1_000)


class TestKinds:
    """What a job takes and gives back is what its gate bounds, whatever the job was told."""

    @scenario
    async def test_jobs_of_a_rate_give_back_the_places_that_it_became(self, case: Case) -> None:
        """All of them run, two at a time, one after the other and without upkeep."""
        ids = await add(case, 6, WIDE)
        await case.store.set_gate(GateUse("g", PLACES, quota=2))
        worker = await case.worker()
        started = []
        for _ in range(3):
            running = await claim(worker)
            assert len(running) == 2
            started += ids_of(running)
            await finish(worker, *running)
        assert started == ids

    @scenario
    async def test_what_runs_counts_when_a_rate_becomes_places(self, case: Case) -> None:
        """Four run, and three may: the next one starts when two have ended."""
        ids = await add(case, 6, WIDE)
        worker = await case.worker()
        running = await worker.claim(4)
        await case.store.set_gate(GateUse("g", PLACES, quota=3))
        assert (await gate(case, "g")).used == 4
        assert await claim(worker) == []
        await finish(worker, *running[:2])
        assert ids_of(await claim(worker)) == ids[4:5]

    @scenario
    async def test_a_deploy_may_turn_places_into_a_rate_and_back(self, case: Case) -> None:
        """Jobs that are enqueued with another kind of limit lose and keep no place."""
        await add(case, 2, places("g", quota=2))
        worker = await case.worker()
        old = await claim(worker)
        case.clock.move(1)
        await add(case, 3, WIDE)
        new = await claim(worker)
        assert (len(new), (await gate(case, "g")).used) == (3, 0)
        await finish(worker, old[0], new[0])
        case.clock.move(1)
        [last] = await add(case, 1, places("g", quota=4))
        assert (await gate(case, "g")).used == 3
        await finish(worker, old[1], *new[1:])
        assert ids_of(await claim(worker)) == [last]
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_upkeep_counts_by_what_the_gate_bounds(self, case: Case) -> None:
        """It takes no place from a running job that knows of a rate only."""
        await add(case, 3, WIDE)
        await case.store.set_gate(GateUse("g", PLACES, quota=2))
        worker = await case.worker()
        await claim(worker)
        await case.store.prune(100)
        assert (await gate(case, "g")).used == 2
        assert await claim(worker) == []
