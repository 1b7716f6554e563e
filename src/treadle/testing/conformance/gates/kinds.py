"""A gate that bounds something else than the jobs that are there say.

A name can come to mean another kind of limit: somebody sets it at run time, or a deploy has
another limit under it. What runs already counts for what the gate bounds now.
"""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from msgspec.structs import replace

from treadle.core.durations import SECOND
from treadle.core.gates.gate import FOREVER, PLACES, SWITCH, GateUse, write_gates
from treadle.core.job import Claim
from treadle.core.outcome import Succeeded
from treadle.store.statements import COMMIT
from treadle.testing.conformance.gates.kit import (
    add,
    breaker,
    claim,
    finish,
    gate,
    places,
    rate,
    window,
)
from treadle.testing.conformance.kit import Case, Hand, ids_of, new_job, scenario, settlement, take
from treadle.testing.conformance.line.transactional import desk_of

WIDE = rate("g", quota=1_000, period=SECOND, burst=1_000)


class TestKinds:
    """What a job takes and gives back is what its gate bounds, whatever the job was told."""

    @scenario
    async def test_jobs_of_a_rate_give_back_the_places_that_it_became(self, case: Case) -> None:
        """All of them run, two at a time, one after the other and without upkeep."""
        ids = await add(case, 6, WIDE)
        await case.store.set_gate(GateUse("g", PLACES, quota=2), change_kind=True)
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
        await case.store.set_gate(GateUse("g", PLACES, quota=3), change_kind=True)
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
    async def test_numbers_of_another_kind_are_refused(self, case: Case) -> None:
        """Nothing changes, whatever the gate bounds and in whatever state it is."""
        uses = [places(), WIDE, window("g"), breaker("g")]
        for mine in uses:
            use = replace(mine, name=mine.kind)
            await add(case, 1, use)
            await case.store.shut_gate(mine.kind, note="as it was")
            was = await gate(case, mine.kind)
            others = [other for other in uses if other.kind != mine.kind]
            for other in (*others, GateUse("g", SWITCH)):
                assert not await case.store.set_gate(replace(other, name=mine.kind))
            assert await gate(case, mine.kind) == was
            assert await case.store.set_gate(use)
            assert (await gate(case, mine.kind)).is_set

    @scenario
    async def test_a_gate_that_was_only_shut_may_become_any_kind(self, case: Case) -> None:
        """It bounds nothing yet, and stays shut; from then on it is what it was set to."""
        await case.store.shut_gate("g")
        assert await case.store.set_gate(places(quota=2))
        shown = await gate(case, "g")
        assert (shown.kind, shown.room, shown.shut_until) == (PLACES, 0, FOREVER)
        assert not await case.store.set_gate(WIDE)
        assert await case.store.reset_gate("g")
        assert not await case.store.set_gate(WIDE)
        assert await case.store.set_gate(WIDE, change_kind=True)

    @scenario
    async def test_upkeep_counts_by_what_the_gate_bounds(self, case: Case) -> None:
        """It takes no place from a running job that knows of a rate only."""
        await add(case, 3, WIDE)
        await case.store.set_gate(GateUse("g", PLACES, quota=2), change_kind=True)
        worker = await case.worker()
        await claim(worker)
        await case.store.prune(100)
        assert (await gate(case, "g")).used == 2
        assert await claim(worker) == []


async def _commit(case: Case, count: int, use: GateUse) -> None:
    """Enqueue jobs behind a gate in a transaction, a second later than whatever was before."""
    case.clock.move(1)
    desk = await desk_of(case)
    jobs = [new_job(gates=write_gates([use])) for _ in range(count)]
    await desk.run(desk.shared.recognise())
    await desk.run(desk.shared.enqueue(jobs, now=case.now))
    await desk.end(COMMIT)


async def _most(case: Case, worker: Hand, running: list[Claim]) -> int:
    """Work off everything, settling and claiming in one exchange; tell how many ran at most."""
    most = 0
    for _ in range(8):
        case.clock.move(1.1)
        batch = [settlement(one, Succeeded(None)) for one in running]
        running = [*(await worker.exchange(batch, take(100))).claims, *(await claim(worker))]
        most = max(most, len(running))
    assert running == []
    return most


class TestDefinedInTransactions:
    """What a job says of its gates counts also when it came in a caller's transaction."""

    @scenario
    async def test_a_new_number_counts_when_such_a_job_is_met(self, case: Case) -> None:
        """A worker that has just claimed with the old one learns of it, too."""
        await _commit(case, 2, places("g", quota=1))
        worker = await case.worker()
        running = await claim(worker)
        assert len(running) == 1
        await _commit(case, 9, places("g", quota=3))
        most = await _most(case, worker, running)
        assert most == (await gate(case, "g")).quota == 3

    @scenario
    async def test_a_gate_that_was_shut_beforehand_gets_its_bound(self, case: Case) -> None:
        """It was made without one, by whoever shut it before any job had named it."""
        await case.store.shut_gate("g")
        await _commit(case, 4, places("g", quota=2))
        worker = await case.worker()
        assert await claim(worker) == []
        await case.store.open_gate("g")
        assert len(await claim(worker)) == 2

    @scenario
    async def test_numbers_that_were_set_stand_above_it(self, case: Case) -> None:
        """Until they are reset; then the next job counts, and not one from before."""
        await _commit(case, 3, places("g", quota=1))
        await case.store.set_gate(GateUse("g", PLACES, quota=2))
        case.clock.move(1)
        await case.store.reset_gate("g")
        worker = await case.worker()
        running = await claim(worker)
        assert len(running) == 2
        await _commit(case, 6, places("g", quota=3))
        assert await _most(case, worker, running) == 3
