"""What `rescue` promises: the jobs of dead workers, and of no living one, are taken over.

A worker whose lease has ended is looked at twice. What is taken over is claimed by the
rescuer under new numbers, with the knowledge of whether its code may have begun.
"""

from collections.abc import Awaitable, Callable

import pytest

from treadle.core.job import Claim, JobState
from treadle.core.outcome import Released, Succeeded, Verdict, WorkerLost
from treadle.store.contract import Filter
from treadle.testing.conformance.kit import (
    ANY_LIMIT,
    LEASE_S,
    SUSPECT_S,
    Case,
    Hand,
    ids_of,
    scenario,
    settlement,
)

AWAY_S = LEASE_S + SUSPECT_S + 1


async def dead_worker(case: Case, jobs: int, name: str = "dead") -> tuple[Hand, list[Claim]]:
    """Enqueue jobs, let a worker claim them, and let its lease end."""
    await case.add(jobs)
    worker = await case.worker(name)
    claims = await worker.claim(jobs)
    case.clock.move(LEASE_S + 0.1)
    return worker, claims


async def mark_all(worker: Hand, claims: list[Claim]) -> None:
    """Say surely that the code of these claims is about to start."""
    for place, claim in enumerate(claims):
        written = worker.store.mark(worker.name, claim.id, claim.number, place, surely=True)
        if written is not None:
            await written


async def leave(case: Case, rescuer: Hand) -> None:
    """Let the rescuer stop in good order."""
    await case.store.leave(rescuer.name)


async def lose_sight(case: Case, rescuer: Hand) -> None:
    """Let the rescuer beat with empty hands, as one whose answer was lost."""
    for _ in range(4):
        case.clock.move(SUSPECT_S)
        await rescuer.beat()


class TestRescue:
    """Orphans are found, once, and claimed for the rescuer."""

    @scenario
    async def test_orphans_are_claimed_under_higher_numbers(self, case: Case) -> None:
        """The rescuer holds the same attempt under a new number, and its settlement applies."""
        worker, claims = await dead_worker(case, 3)
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        assert sorted(o.claim.id for o in orphans) == ids_of(claims)
        by_id = {claim.id: claim for claim in claims}
        for orphan in orphans:
            old = by_id[orphan.claim.id]
            assert orphan.lost_by == worker.name
            assert orphan.claim.number > old.number
            assert (orphan.claim.attempt, orphan.claim.args) == (old.attempt, old.args)
            assert (await case.job(old.id)).worker == "rescuer"
            assert await worker.finish(old, Succeeded(b"late")) is Verdict.LOST
            assert await rescuer.finish(orphan.claim, WorkerLost("dead")) is Verdict.APPLIED
        assert {r.crashes for r in await case.store.get(list(by_id)) if r} == {1}

    @scenario
    async def test_an_orphan_that_runs_is_found_by_no_reason(self, case: Case) -> None:
        """What upkeep knows of it shows as none, and is none to a filter."""
        worker, claims = await dead_worker(case, 1)
        await mark_all(worker, claims)
        rescuer = await case.worker("rescuer")
        [orphan] = await rescuer.rescue_in_two_looks(case.clock)
        for reason in ("lost", "begun", "orphaned"):
            assert not await case.store.find(Filter(reason=reason))
            assert not await case.store.find(Filter(reason=reason, state=JobState.RUNNING))
        [record] = await case.store.find(Filter(state=JobState.RUNNING))
        assert (record.id, record.reason) == (orphan.claim.id, None)

    @scenario
    async def test_a_lost_attempt_is_recorded_as_the_dead_workers(self, case: Case) -> None:
        """The attempt is ended as lost; the one that follows is the next."""
        _, [claim] = await dead_worker(case, 1)
        rescuer = await case.worker("rescuer")
        [orphan] = await rescuer.rescue_in_two_looks(case.clock)
        await rescuer.finish(orphan.claim, WorkerLost(orphan.lost_by))
        [attempt] = await case.store.attempts(claim.id)
        assert (attempt.attempt, attempt.outcome) == (1, "lost")
        assert (attempt.started_at, attempt.finished_at) == (claim.started_at, case.now)
        [again] = await rescuer.claim()
        assert (again.attempt, again.crashes) == (2, 1)

    @scenario
    async def test_orphans_are_not_found_twice(self, case: Case) -> None:
        """They are the rescuer's now, and a live worker's claims are no orphans."""
        await dead_worker(case, 2)
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        other = await case.worker("other")
        await rescuer.beat(*(o.claim for o in orphans))
        assert await rescuer.rescue() == []
        assert await other.rescue_in_two_looks(case.clock) == []

    @scenario
    async def test_a_rescue_is_bounded(self, case: Case) -> None:
        """It takes at most `limit` jobs, and the next calls take the rest."""
        _, claims = await dead_worker(case, 7)
        rescuer = await case.worker("rescuer")
        assert await rescuer.rescue(3) == []
        case.clock.move(SUSPECT_S + 0.1)
        taken: list[Claim] = []
        for _ in range(6):
            await rescuer.beat(*taken)
            part = await rescuer.rescue(3)
            assert len(part) <= 3  # noqa: PLR2004 -- the limit given in the line above
            taken += [orphan.claim for orphan in part]
        assert sorted(ids_of(taken)) == ids_of(claims)

    @scenario
    async def test_two_rescuers_share_the_orphans(self, case: Case) -> None:
        """No job is taken over by both."""
        _, claims = await dead_worker(case, 6)
        hands = [await case.worker("r1"), await case.worker("r2", store=await case.other())]
        for hand in hands:
            assert await hand.rescue() == []
        case.clock.move(SUSPECT_S + 0.1)
        taken: list[bytes] = []
        for _ in range(4):
            for hand in hands:
                await hand.beat()
                taken += [orphan.claim.id for orphan in await hand.rescue(2)]
        assert sorted(taken) == ids_of(claims)

    @scenario
    async def test_an_attempt_that_had_not_started_is_known(self, case: Case) -> None:
        """By the mark; where only sure marks are kept, nothing is known without one."""
        await case.add(4)
        worker = await case.worker("dead")
        claims = await worker.claim(4)
        await mark_all(worker, claims[:2])
        case.clock.move(LEASE_S + 0.1)
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        unmarked = False if case.store.features.start_marks else None
        started = {orphan.claim.id: orphan.started for orphan in orphans}
        assert [started[claim.id] for claim in claims] == [True, True, unmarked, unmarked]

    @scenario
    async def test_a_store_that_keeps_every_mark_asks_nobody_to_wait(self, case: Case) -> None:
        """A mark is a write only where it must be sure and the store would not keep it."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        usual = worker.store.mark(worker.name, claim.id, claim.number, 0)
        assert usual is None
        sure = worker.store.mark(worker.name, claim.id, claim.number, 0, surely=True)
        assert (sure is None) == case.store.features.start_marks
        if sure is not None:
            await sure

    @scenario
    async def test_a_mark_of_an_earlier_claim_does_not_count(self, case: Case) -> None:
        """A place in the marks is used again; only this very claim's mark says it began."""
        await case.add(2)
        worker = await case.worker("dead")
        [first] = await worker.claim()
        await mark_all(worker, [first])
        await worker.finish(first, Released())
        [again] = await worker.claim()
        case.clock.move(LEASE_S + 0.1)
        rescuer = await case.worker("rescuer")
        [orphan] = await rescuer.rescue_in_two_looks(case.clock)
        assert orphan.claim.id == again.id
        assert orphan.started == (False if case.store.features.start_marks else None)

    @scenario
    async def test_a_rescuer_that_dies_itself_hands_on_what_it_knew(self, case: Case) -> None:
        """Whether an orphan's code had begun is still known to the next rescuer."""
        await case.add(2)
        worker = await case.worker("dead")
        claims = await worker.claim(2)
        await mark_all(worker, claims[:1])
        case.clock.move(LEASE_S + 0.1)
        first = await case.worker("first")
        before = {o.claim.id: o for o in await first.rescue_in_two_looks(case.clock)}
        case.clock.move(LEASE_S + 0.1)
        second = await case.worker("second")
        after = {o.claim.id: o for o in await second.rescue_in_two_looks(case.clock)}
        assert sorted(after) == ids_of(claims)
        for job, orphan in after.items():
            assert orphan.started == before[job].started
            assert orphan.claim.number > before[job].claim.number

    @scenario
    async def test_a_job_that_runs_has_no_reason(self, case: Case) -> None:
        """Why it waits or has ended is told; what upkeep knows of a claim is its own affair."""
        await case.add(2)
        worker = await case.worker("dead")
        claims = await worker.claim(2)
        await mark_all(worker, claims[:1])
        assert [(await case.job(claim.id)).reason for claim in claims] == [None, None]
        case.clock.move(LEASE_S + 0.1)
        rescuer = await case.worker("rescuer")
        assert len(await rescuer.rescue_in_two_looks(case.clock)) == len(claims)
        assert [(await case.job(claim.id)).reason for claim in claims] == [None, None]
        assert [job.reason for job in await case.store.find(Filter())] == [None, None]

    @pytest.mark.parametrize("gone", [leave, lose_sight])
    @scenario
    async def test_a_started_orphan_is_never_given_back_as_unspent(
        self, case: Case, gone: Callable[[Case, Hand], Awaitable[None]]
    ) -> None:
        """A rescuer that leaves, or never saw the answer, does not undo what the orphan began."""
        await case.add()
        worker = await case.worker("dead")
        [claim] = await worker.claim()
        await mark_all(worker, [claim])
        case.clock.move(LEASE_S + 0.1)
        rescuer = await case.worker("rescuer")
        [orphan] = await rescuer.rescue_in_two_looks(case.clock)
        assert orphan.started
        await gone(case, rescuer)
        record = await case.job(claim.id)
        assert (record.attempt, record.attempt - record.forgiven) in {(1, 1), (1, 0)}

    @scenario
    async def test_a_worker_that_let_go_without_leaving_is_rescued(self, case: Case) -> None:
        """The store may see that at once; at the latest the end of the lease shows it."""
        await case.add()
        store = await case.other()
        worker = await case.worker("dead", store=store)
        [claim] = await worker.claim()
        if store.features.shared:
            await store.close()
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue()
        case.clock.move(LEASE_S + 0.1)
        await rescuer.beat()
        orphans += await rescuer.rescue_in_two_looks(case.clock)
        assert [orphan.claim.id for orphan in orphans] == [claim.id]


class TestNoRescue:
    """A worker that may live keeps its claims."""

    @scenario
    async def test_nothing_is_rescued_within_the_lease(self, case: Case) -> None:
        """Two looks before the lease ends find nobody."""
        await case.add()
        await (await case.worker("w1")).claim()
        rescuer = await case.worker("rescuer")
        case.clock.move(LEASE_S - SUSPECT_S - 1)
        await rescuer.beat()
        assert await rescuer.rescue_in_two_looks(case.clock) == []

    @scenario
    async def test_one_look_is_not_enough(self, case: Case) -> None:
        """However long the lease has been over: the watching begins with the first look."""
        await case.add()
        await (await case.worker("w1")).claim()
        case.clock.move(AWAY_S * 100)
        rescuer = await case.worker("rescuer")
        assert await rescuer.rescue() == []
        case.clock.move(SUSPECT_S - 0.1)
        await rescuer.beat()
        assert await rescuer.rescue() == []
        case.clock.move(0.2)
        await rescuer.beat()
        assert [orphan.lost_by for orphan in await rescuer.rescue()] == ["w1"]

    @scenario
    async def test_a_beat_between_the_looks_saves_the_worker(self, case: Case) -> None:
        """A worker that was only slow goes on, and is watched afresh the next time."""
        worker, [claim] = await dead_worker(case, 1, "slow")
        rescuer = await case.worker("rescuer")
        for _ in range(3):
            assert await rescuer.rescue() == []
            await worker.beat(claim)
            case.clock.move(SUSPECT_S + 0.1)
            await rescuer.beat()
            assert await rescuer.rescue() == []
            case.clock.move(LEASE_S - SUSPECT_S)
            await rescuer.beat()
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED

    @scenario
    async def test_a_beat_between_the_looks_begins_the_watching_anew(self, case: Case) -> None:
        """Also when the lease has ended again by the second look: that one is a first look."""
        worker, [claim] = await dead_worker(case, 1, "slow")
        rescuer = await case.worker("rescuer")
        assert await rescuer.rescue() == []
        await worker.beat(claim)
        case.clock.move(LEASE_S + 1)
        await rescuer.beat()
        assert await rescuer.rescue() == []
        case.clock.move(SUSPECT_S + 0.1)
        await rescuer.beat()
        assert len(await rescuer.rescue()) == 1

    @scenario
    async def test_a_rescuer_never_takes_its_own_claims(self, case: Case) -> None:
        """Also when its own lease has ended: it asks, so it lives."""
        await case.add()
        worker = await case.worker("w1")
        [claim] = await worker.claim()
        for _ in range(3):
            case.clock.move(AWAY_S)
            await worker.beat(claim)
            assert await worker.rescue() == []
        assert (await case.job(claim.id)).claim == claim.number

    @scenario
    async def test_settled_and_waiting_jobs_are_no_orphans(self, case: Case) -> None:
        """What the dead worker had finished stays finished."""
        worker, claims = await dead_worker(case, 3)
        await worker.settle(
            settlement(claims[0], Succeeded(b"1")), settlement(claims[1], Released())
        )
        rescuer = await case.worker("rescuer")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        assert [orphan.claim.id for orphan in orphans] == [claims[2].id]
        states = [JobState.SUCCEEDED, JobState.READY, JobState.RUNNING]
        assert await case.states(ids_of(claims)) == states

    @scenario
    async def test_a_step_of_the_wall_clock_kills_nobody(self, case: Case) -> None:
        """An hour forward or back is a correction, not the end of every lease."""
        await case.add()
        worker, rescuer = await case.worker("w1"), await case.worker("rescuer")
        [claim] = await worker.claim()
        for step in (3_600, -7_200):
            case.clock.step_wall(step * 1_000_000)
            await rescuer.beat()
            assert await rescuer.rescue_in_two_looks(case.clock) == []
            await worker.beat(claim)
        assert len(await rescuer.rescue(ANY_LIMIT)) == 0
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED
