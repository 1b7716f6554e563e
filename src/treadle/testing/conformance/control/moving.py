"""What `moving` promises: a sealed job is out of reach, and comes whole into another store."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from treadle.core.errors import StoreError
from treadle.core.gates.arriving import Starts
from treadle.core.gates.gate import (
    PLACES,
    REPLACE,
    WINDOW,
    GateRecord,
    GateUse,
    write_gates,
)
from treadle.core.ids import new_id
from treadle.core.job import JobRecord, JobState
from treadle.core.outcome import Failed, TaskUnknown
from treadle.store.contract import Filter, Note, Store
from treadle.store.parts.moving import PARCELS_MAX, Parcel, Seal
from treadle.testing.conformance.gates.kit import add, claim, gate, places, window
from treadle.testing.conformance.kit import (
    ERROR,
    Case,
    Hand,
    ids_of,
    new_job,
    scenario,
    worker_info,
)

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

    @scenario
    async def test_a_job_that_comes_is_replaced_as_any_other(self, case: Case) -> None:
        """However the store that it left has written what it says of its gate."""
        says = GateUse("g", PLACES, quota=1, on_full=REPLACE)
        [older] = await add(case, 1, says)
        [parcel] = await sealed(case.store, older)
        spaced = json.format(parcel.record.gates or b"")
        other = await case.open("elsewhere")
        await other.moving.adopt(
            [Parcel(replace(parcel.record, gates=spaced), COST, None, None)], IN
        )
        await other.moving.unseal([older], IN)
        await other.pause("default")
        there = Hand(other, worker_info("w2"))
        await there.register()
        await other.enqueue(new_id(), [new_job(gates=write_gates([says]), queue="open")])
        assert len(await there.claim(5)) == 1
        await other.resume("default")
        assert await there.claim(5) == []
        newer = new_job(gates=write_gates([says]))
        await other.enqueue(new_id(), [newer])
        found = await other.get([older, newer.id])
        assert [job and job.state for job in found] == [JobState.CANCELLED, JobState.BLOCKED]


class TestMovingStarts:
    """What has started in a sliding window counts in the store that its jobs move to."""

    @scenario
    async def test_starts_count_there_until_they_would_have_left_here(self, case: Case) -> None:
        """The next one may start there when it might have here, and not before."""
        ids = await add(case, 4, window(quota=2))
        worker = await case.worker()
        for _ in range(2):
            assert len(await worker.claim(1)) == 1
            case.clock.move(3)
        starts = await given(case.store)
        assert [took for _, took in starts.pairs] == [1, 1]
        other = await brought(case, *ids[2:])
        assert await other.moving.receive(starts, "m1")
        case.clock.move(1)
        hand = Hand(other, worker_info("w9"))
        await hand.register()
        assert await claim(hand) == []
        case.clock.move(2.9)
        assert await claim(hand) == []
        case.clock.move(0.1)
        assert ids_of(await claim(hand)) == ids[2:3]
        case.clock.move(2.9)
        assert await claim(hand) == []
        case.clock.move(0.1)
        assert ids_of(await claim(hand)) == ids[3:]

    @scenario
    async def test_starts_that_are_sent_again_count_once(self, case: Case) -> None:
        """Of a move only what came since is added, also at the very instant of the last one."""
        await add(case, 9, window(quota=9))
        worker = await case.worker()
        other = await case.open("elsewhere")
        for started, room in ((2, 7), (1, 6)):
            assert len(await worker.claim(started)) == started
            for _ in range(3):
                assert await other.moving.receive(await given(case.store), "m1")
            assert (await the_gate(other)).room == room
        case.clock.move(1)
        assert len(await worker.claim(2)) == 2
        assert await other.moving.receive(await given(case.store), "m1")
        assert (await the_gate(other)).room == 4
        assert await other.moving.receive(await given(case.store), "m2")
        assert (await the_gate(other)).room == 0
        case.clock.move(9)
        assert (await the_gate(other)).room == 5

    @scenario
    async def test_starts_of_a_store_whose_clock_differs_keep_their_age(self, case: Case) -> None:
        """An hour ahead or behind, they leave the window when they would have at home."""
        await add(case, 2, window(quota=2))
        worker = await case.worker()
        assert len(await worker.claim(1)) == 1
        case.clock.move(4)
        starts = await given(case.store)
        others = [await case.open("ahead"), await case.open("behind")]
        for other, off in zip(others, (60 * MINUTE, -60 * MINUTE), strict=True):
            pairs = [(at + off, took) for at, took in starts.pairs]
            shifted = replace(starts, pairs=pairs, at=starts.at + off)
            assert await other.moving.receive(shifted, "m1")
            assert (await the_gate(other)).room == 1
        for seconds, room in ((5.9, 1), (0.2, 2)):
            case.clock.move(seconds)
            assert [(await the_gate(other)).room for other in others] == [room, room]

    @scenario
    async def test_starts_are_added_to_what_the_gate_knows(self, case: Case) -> None:
        """Its own starts, numbers and pause stand; one that bounds something else is left."""
        await add(case, 3, window(quota=5))
        worker = await case.worker()
        assert len(await claim(worker)) == 3
        starts = await given(case.store)
        other = await case.open("elsewhere")
        await other.set_gate(window(quota=4))
        await other.enqueue(new_id(), [new_job(gates=write_gates([window(quota=4)]))])
        hand = Hand(other, worker_info("w9"))
        await hand.register()
        assert len(await claim(hand)) == 1
        assert await other.moving.receive(starts, "m1")
        shown = await the_gate(other)
        assert (shown.quota, shown.room, shown.is_set) == (4, 0, True)
        shut = await case.open("shut")
        await shut.shut_gate("w", note="by ann")
        assert await shut.moving.receive(starts, "m1")
        shown = await the_gate(shut)
        assert (shown.kind, shown.quota, shown.note) == (WINDOW, 5, "by ann")
        assert await shut.open_gate("w")
        assert (await the_gate(shut)).room == 2
        bound = await case.open("bound")
        await bound.set_gate(places("w", 3))
        assert not await bound.moving.receive(starts, "m1")
        assert (await the_gate(bound)).kind == PLACES

    @scenario
    async def test_no_more_is_kept_than_any_window_counts(self, case: Case) -> None:
        """Of many moves with many starts each the newest ten thousand stay, and shut the gate."""
        use = window(quota=10_000, period=MINUTE)
        first = case.now
        for move in range(10):
            pairs = [(first + 10 * n + move, 1) for n in range(2_000)]
            starts = Starts(use, pairs, first + 30_000)
            assert await case.store.moving.receive(starts, f"m{move}")
        kept = await given(case.store)
        assert (len(kept.pairs), (await the_gate(case.store)).room) == (10_000, 0)
        assert kept.pairs[-1][0] - kept.pairs[0][0] < 20_000

    @scenario
    async def test_what_has_not_started_of_late_is_not_given(self, case: Case) -> None:
        """Nor is what a gate that is no sliding window has let pass."""
        assert await case.store.moving.starts("w") is None
        await add(case, 2, window(quota=1), places(quota=2))
        worker = await case.worker()
        assert len(await claim(worker)) == 1
        assert await case.store.moving.starts("g") is None
        assert (await given(case.store)).use == window(quota=1)
        case.clock.move(10)
        assert await case.store.moving.starts("w") is None


async def given(store: Store) -> Starts:
    """Read the starts of the window `w`, which must have some."""
    starts = await store.moving.starts("w")
    assert starts is not None
    return starts


async def the_gate(store: Store) -> GateRecord:
    """Read the one gate of a store."""
    [found] = await store.gates()
    return found
