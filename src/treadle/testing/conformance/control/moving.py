"""What `moving` promises: a sealed job is out of reach, and comes whole into another store."""

from typing import Any

import pytest
from msgspec.structs import replace

from treadle.core.errors import StoreError
from treadle.core.ids import new_id
from treadle.core.job import JobRecord, JobState
from treadle.core.outcome import Failed, TaskUnknown
from treadle.store.contract import Filter, Note, Store
from treadle.store.moving import PARCELS_MAX, Parcel, Seal
from treadle.testing.conformance.gates.kit import add, claim, gate, places
from treadle.testing.conformance.kit import ERROR, Case, Hand, ids_of, scenario, worker_info

OUT, IN = Seal("out", "m1"), Seal("in", "m1")
MINUTE = 60_000_000
COST = 3
ATTEMPTS = 2


async def sealed(store: Store, *ids: bytes) -> list[Parcel]:
    """Seal jobs that can be sealed; give them."""
    parcels = await store.moving.seal(ids, OUT)
    found = [parcel for parcel in parcels if parcel is not None]
    assert len(found) == len(ids)
    return found


async def brought(case: Case, *ids: bytes) -> Store:
    """Move jobs into another namespace; give its store."""
    other = await case.open("elsewhere")
    parcels = await sealed(case.store, *ids)
    assert await other.moving.adopt(parcels, IN) == [True] * len(ids)
    waiting = [parcel.record.id for parcel in parcels if not parcel.is_dead]
    await case.store.moving.drop(waiting, OUT)
    await case.store.discard([id_ for id_ in ids if id_ not in waiting])
    await other.moving.unseal(waiting, IN)
    return other


def told(record: JobRecord | None) -> JobRecord:
    """Give a record but for the instant at which it was read."""
    assert record is not None
    return replace(record, as_of=0)


class TestSeal:
    """A sealed job is stored, and nothing but its seal moves it."""

    @scenario
    async def test_a_sealed_job_is_out_of_reach(self, case: Case) -> None:
        """It is blocked: not claimed, not staged, not retried, in whichever state it was."""
        [ready] = await case.add()
        [later] = await case.add(delay=MINUTE)
        before = await case.store.get([ready, later])
        await sealed(case.store, ready, later)
        assert await case.states([ready, later]) == ["blocked"] * 2
        worker = await case.worker()
        assert not await case.store.ready(None)
        case.clock.move(120)
        assert await case.store.stage((), 10) == 0
        assert await worker.claim(10) == []
        assert await case.store.retry([ready, later]) == [False] * 2
        assert [q.counts for q in await case.store.queues()] == [{"blocked": 2}]
        assert await case.store.moving.unseal([ready, later], OUT) == [True] * 2
        assert list(map(told, await case.store.get([ready, later]))) == list(map(told, before))
        await case.store.stage((), 10)
        assert {claim.id for claim in await worker.claim(10)} == {ready, later}

    @scenario
    async def test_only_what_waits_is_sealed(self, case: Case) -> None:
        """Running and ended jobs, and ids of none, are left alone; dead letters are given."""
        ids = await case.add(3)
        worker = await case.worker()
        done, dead, runs = await worker.claim(3)
        await worker.finish(dead, Failed(ERROR, retryable=False, ran=1))
        await case.store.cancel([done.id])
        found = await case.store.moving.seal([*ids, new_id()], OUT)
        assert [parcel and parcel.record.id for parcel in found] == [
            dead.id if id_ == dead.id else None for id_ in [*ids, b""]
        ]
        assert await case.states([done.id, dead.id, runs.id]) == ["cancelled", "failed", "running"]

    @scenario
    async def test_each_verb_can_be_sent_again(self, case: Case) -> None:
        """The second time nothing changes; another move's seal opens and deletes nothing."""
        [job] = await case.add()
        [first] = await sealed(case.store, job)
        [second] = await sealed(case.store, job)
        assert told(first.record) == told(second.record)
        other = Seal("out", "m2")
        assert await case.store.moving.seal([job], other) == [None]
        assert await case.store.moving.drop([job], other) == [False]
        assert await case.store.moving.unseal([job], other) == [False]
        there = await case.open("elsewhere")
        assert await there.moving.adopt([first], IN) == [True]
        assert await there.moving.adopt([first], IN) == [False]
        assert await case.store.moving.drop([job], OUT) == [True]
        assert await case.store.moving.drop([job], OUT) == [False]
        assert await there.moving.unseal([job], IN) == [True]
        assert await there.moving.unseal([job], IN) == [False]
        assert await case.states([job]) == ["gone"]
        assert [q.counts for q in await there.queues()] == [{"ready": 1}]

    @scenario
    async def test_a_sealed_job_can_be_cancelled_and_expires(self, case: Case) -> None:
        """Then its seal is gone: it can be neither opened nor deleted by the move."""
        [cancelled] = await case.add()
        [late] = await case.add(expires_in=MINUTE)
        await sealed(case.store, cancelled, late)
        assert await case.store.cancel([cancelled]) == [True]
        case.clock.move(61)
        await case.store.stage((), 10)
        assert await case.states([cancelled, late]) == ["cancelled", "expired"]
        assert await case.store.moving.drop([cancelled, late], OUT) == [False] * 2
        assert await case.store.moving.unseal([cancelled, late], OUT) == [False] * 2

    @scenario
    async def test_a_store_does_not_adopt_its_own(self, case: Case) -> None:
        """A move of a store into itself is an error, and its job opens as it was."""
        [job] = await case.add()
        [parcel] = await sealed(case.store, job)
        with pytest.raises(StoreError, match="the same store"):
            await case.store.moving.adopt([parcel], IN)
        assert await case.store.moving.unseal([job], OUT) == [True]
        assert await case.states([job]) == ["ready"]

    @scenario
    async def test_a_batch_is_bounded(self, case: Case) -> None:
        """One more than the bound is an error."""
        ids = [new_id() for _ in range(PARCELS_MAX + 1)]
        with pytest.raises(ValueError, match="at most"):
            await case.store.moving.seal(ids, OUT)
        assert await case.store.moving.adopt([], IN) == []


class TestAdopt:
    """A job comes with all that belongs to it."""

    @scenario
    async def test_a_job_that_has_run_comes_whole(self, case: Case) -> None:
        """Its record, attempts, log lines and claim number are as they were; it runs on."""
        fields: dict[str, Any] = {
            "tags": b'["t"]',
            "meta": b'{"a":1}',
            "tenant": "acme",
            "policy": b"{}",
        }
        [job] = await case.add(queue="post", priority=7, attempts_max=9, cost=COST, **fields)
        worker = await case.worker()
        [claim] = await worker.claim()
        lines = ((case.now, "info", "one"), (case.now, "error", "two"))
        await case.store.note(worker.name, [Note(job, claim.number, b"[1,2]", lines)])
        await worker.finish(claim, Failed(ERROR, ran=5))
        before = (
            told(await case.job(job)),
            await case.store.attempts(job),
            await case.store.logs(job),
        )
        assert before[0].state is JobState.RETRYING
        other = await brought(case, job)
        [there] = await other.get([job])
        assert (told(there), await other.attempts(job), await other.logs(job)) == before
        [parcel] = await other.moving.seal([job], Seal("out", "m2"))
        assert parcel is not None
        assert parcel.cost == COST
        await other.moving.unseal([job], Seal("out", "m2"))
        case.clock.move(3_600)
        await other.stage((), 10)
        hand = Hand(other, worker_info("w2"))
        await hand.register()
        [claim_there] = await hand.claim(1, "post")
        assert (claim_there.attempt, claim_there.number) == (2, claim.number + 1)
        assert await case.states([job]) == ["gone"]
        assert [q.counts for q in await case.store.queues()] == [{}]

    @scenario
    async def test_a_dead_letter_comes_whole(self, case: Case) -> None:
        """It is listed and grouped there, tells of every attempt, and can be retried."""
        [job] = await case.add(attempts_max=ATTEMPTS)
        worker = await case.worker()
        for _ in range(ATTEMPTS):
            [claim] = await worker.claim()
            await worker.finish(claim, Failed(ERROR, ran=5))
            case.clock.move(3_600)
            await case.store.stage((), 10)
        before = told(await case.job(job)), await case.store.attempts(job)
        groups = await case.store.dead_groups()
        assert before[0].state is JobState.FAILED
        assert len(before[1]) == ATTEMPTS
        other = await brought(case, job)
        [there] = await other.get([job])
        assert (told(there), await other.attempts(job)) == before
        assert await other.dead_groups() == groups
        assert [one.id for one in await other.find(Filter(state=JobState.FAILED))] == [job]
        assert await case.store.dead_groups() == []
        assert await other.retry([job]) == [True]
        assert len(await other.attempts(job)) == ATTEMPTS

    @scenario
    async def test_a_job_is_still_due_and_still_expires(self, case: Case) -> None:
        """Its instants go with it."""
        [later, late] = [*await case.add(delay=MINUTE), *await case.add(expires_in=MINUTE)]
        other = await brought(case, later, late)
        case.clock.move(61)
        await other.stage((), 10)
        states = [record.state for record in await other.get([later, late]) if record]
        assert states == [JobState.READY, JobState.EXPIRED]

    @scenario
    async def test_a_job_without_a_worker_that_knows_it_waits_for_one_there(
        self, case: Case
    ) -> None:
        """It rests, and becomes ready when a worker names its task."""
        [job] = await case.add(task="shop.unknown")
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.finish(claim, TaskUnknown())
        other = await brought(case, job)
        assert await other.stage(["shop.mail"], 10) == 0
        assert await other.stage(["shop.unknown"], 10) == 1


class TestMovingGates:
    """A job takes its gates along, not its place at them."""

    @scenario
    async def test_a_parked_job_meets_its_gate_in_the_other_store(self, case: Case) -> None:
        """It leaves the gate here, is ready there, and is bound there as it was here."""
        ids = await add(case, 4, places(quota=1))
        worker = await case.worker()
        await claim(worker)
        assert (await gate(case, "g")).waiting == len(ids) - 1
        other = await brought(case, *ids[1:])
        assert (await gate(case, "g")).waiting == 0
        assert await case.states(ids) == ["running", "gone", "gone", "gone"]
        hand = Hand(other, worker_info("w9"))
        await hand.register()
        taken = await claim(hand)
        assert ids_of(taken) == ids[1:2]
        [shown] = await other.gates()
        assert (shown.used, shown.waiting) == (1, len(ids) - 2)
