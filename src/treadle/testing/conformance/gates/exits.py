"""What frees a place: each way in which a job stops running, and the count that mends itself."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

import pytest
from msgspec.structs import replace

from treadle.core.durations import SECOND
from treadle.core.gates.gate import PLACES, SKIP, SWITCH, GateUse, write_gates
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState, Met
from treadle.core.keys.key import Conflict, Key
from treadle.core.outcome import (
    Cancelled,
    Failed,
    Outcome,
    Rejected,
    Released,
    Snoozed,
    Succeeded,
    TaskUnknown,
    WorkerLost,
)
from treadle.testing.conformance.gates.kit import add, claim, finish, gate, places
from treadle.testing.conformance.kit import (
    ERROR,
    LEASE_S,
    Case,
    Hand,
    ids_of,
    new_job,
    scenario,
    settlement,
    take,
)

SKIPS = GateUse("g", PLACES, quota=1, on_full=SKIP)
OUTCOMES: list[Outcome] = [
    Succeeded(b"1"),
    Failed(ERROR),
    Failed(ERROR, delay=0),
    Failed(ERROR, retryable=False),
    Snoozed(SECOND),
    Cancelled("enough"),
    Rejected(ERROR, "bad"),
    Released(),
    WorkerLost("w0"),
    TaskUnknown(),
]


async def hand_back(worker: Hand, held: Claim, way: str) -> None:
    """Let a worker's claim go back unspent, in one of the ways in which that happens."""
    if way == "leave":
        await worker.store.leave(worker.name)
    elif way == "release":
        await worker.finish(held, Released())
    else:
        await worker.beat()
        await worker.beat()


class TestExits:
    """A place belongs to the claim that runs: whatever ends that frees it in the same write."""

    @pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: type(o).__name__)
    @scenario
    async def test_each_settlement_frees_the_place(self, case: Case, outcome: Outcome) -> None:
        """Nobody holds it any more, and the next job gets it."""
        await add(case, 2, places())
        worker = await case.worker()
        [running] = await claim(worker)
        await worker.finish(running, outcome)
        assert (await gate(case, "g")).used == 0
        assert len(await claim(worker)) == 1

    @scenario
    async def test_a_mixed_batch_frees_each_place_once(self, case: Case) -> None:
        """Settled together, some of them LOST: the gate counts what still runs."""
        await add(case, 6, places(quota=6))
        worker = await case.worker()
        claims = await claim(worker)
        await worker.finish(claims[0], Released())
        batch = [
            settlement(claims[0], Succeeded(None)),
            settlement(claims[1], Succeeded(None)),
            settlement(claims[1], Succeeded(None)),
            settlement(claims[2], Failed(ERROR)),
            settlement(claims[3], Rejected(ERROR, "bad")),
        ]
        await worker.exchange(batch)
        assert (await gate(case, "g")).used == 2

    @scenario
    async def test_cancelling_a_running_job_frees_its_place(self, case: Case) -> None:
        """Its worker need not have heard of it."""
        ids = await add(case, 2, places())
        worker = await case.worker()
        await claim(worker)
        await case.store.cancel(ids[:1])
        assert ids_of(await claim(worker)) == ids[1:]

    @scenario
    async def test_cancelling_a_parked_job_takes_it_from_its_gate(self, case: Case) -> None:
        """It is woken no more, and the next one is."""
        ids = await add(case, 3, places())
        worker = await case.worker()
        [running] = await claim(worker)
        await case.store.cancel(ids[1:2])
        assert (await gate(case, "g")).waiting == 1
        await finish(worker, running)
        assert ids_of(await claim(worker)) == ids[2:]
        assert (await case.job(ids[1])).state == JobState.CANCELLED

    @scenario
    async def test_a_worker_that_leaves_frees_what_it_held(self, case: Case) -> None:
        """Its jobs go back unspent, and others may take the places."""
        ids = await add(case, 4, places(quota=2))
        first = await case.worker("w1")
        await claim(first)
        await case.store.leave("w1")
        assert (await gate(case, "g")).used == 0
        second = await case.worker("w2")
        taken = ids_of(await claim(second))
        assert len(taken) == 2
        assert set(taken) <= set(ids)

    @scenario
    async def test_claims_that_never_arrived_free_their_places(self, case: Case) -> None:
        """What two beats do not hold goes back, and its place with it."""
        await add(case, 2, places(quota=2))
        worker = await case.worker()
        await claim(worker)
        await worker.beat()
        await worker.beat()
        assert (await gate(case, "g")).used == 0

    @pytest.mark.parametrize("way", ["leave", "beat"])
    @scenario
    async def test_what_is_handed_back_does_not_overtake_who_waits(
        self, case: Case, way: str
    ) -> None:
        """It is parked beside them at once, and the best of all gets the place."""
        worker, other = await case.worker("w1"), await case.worker("w2")
        [back] = await add(case, 1, places())
        [held] = await claim(worker)
        [waiting] = await add(case, 1, places(), priority=5)
        await hand_back(worker, held, way)
        assert await case.states([back, waiting]) == ["blocked"] * 2
        assert ids_of(await claim(other)) == [waiting]

    @pytest.mark.parametrize("way", ["leave", "beat", "release"])
    @scenario
    async def test_what_is_handed_back_meets_a_shut_gate(self, case: Case, way: str) -> None:
        """Whichever of its gates that is, it waits there, and its places are free."""
        worker = await case.worker()
        [back] = await add(case, 1, places("a"), places("b"))
        [held] = await claim(worker)
        await case.store.shut_gate("b")
        await hand_back(worker, held, way)
        record = await case.job(back)
        assert (record.state, record.gate, record.attempt) == (JobState.BLOCKED, "b", 0)
        assert [(await gate(case, name)).used for name in ("a", "b")] == [0, 0]
        await case.store.open_gate("b")
        assert ids_of(await claim(await case.worker("w2"))) == [back]

    @scenario
    async def test_a_rescue_keeps_the_place_until_it_is_decided(self, case: Case) -> None:
        """The dead worker's job holds its place until the rescuer has settled it."""
        ids = await add(case, 2, places())
        dead = await case.worker("w1")
        await claim(dead)
        case.clock.move(LEASE_S + 1)
        rescuer = await case.worker("w2")
        [orphan] = await rescuer.rescue_in_two_looks(case.clock)
        assert (await gate(case, "g")).used == 1
        assert await claim(rescuer) == []
        await rescuer.finish(orphan.claim, WorkerLost("w1"))
        assert len(await claim(rescuer)) == 1
        assert sorted(await case.states(ids)) == ["blocked", "running"]

    @scenario
    async def test_a_job_that_expires_at_the_gate_takes_no_place(self, case: Case) -> None:
        """It ends there; the gate wakes the one behind it."""
        await add(case, 1, places())
        worker = await case.worker()
        [running] = await claim(worker)
        [late] = await add(case, 1, places(), expires_in=SECOND)
        [behind] = await add(case, 1, places())
        case.clock.move(2)
        await case.store.stage((), 10)
        assert await case.states([late]) == ["expired"]
        await finish(worker, running)
        assert ids_of(await claim(worker)) == [behind]

    @scenario
    async def test_a_ready_job_that_has_expired_takes_no_place(self, case: Case) -> None:
        """It ends as it is claimed, and the gate counts nothing for it."""
        await add(case, 1, places(), expires_in=SECOND)
        [good] = await add(case, 1, places())
        case.clock.move(2)
        worker = await case.worker()
        claims = await worker.claim(1) + await worker.claim(1)
        assert ids_of(claims) == [good]
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_purging_a_queue_takes_its_parked_jobs(self, case: Case) -> None:
        """Jobs of other queues stay at the gate."""
        await add(case, 1, places())
        worker = await case.worker()
        await claim(worker)
        purged = await add(case, 3, places(), queue="bulk")
        kept = await add(case, 1, places(), queue="other")
        assert await case.store.purge("bulk", limit=100) == 3
        assert set(await case.states(purged)) == {"cancelled"}
        assert (await gate(case, "g")).waiting == 1
        assert await case.states(kept) == ["blocked"]

    @scenario
    async def test_a_replayed_job_meets_its_gates_again(self, case: Case) -> None:
        """A dead letter that is made ready is parked where its gate is shut."""
        ids = await add(case, 2, places())
        worker = await case.worker()
        [first] = await claim(worker)
        await worker.finish(first, Rejected(ERROR, "bad"))
        [second] = await claim(worker)
        await case.store.retry(ids[:1])
        assert await case.states(ids) == ["blocked", "running"]
        await finish(worker, second)
        [again] = await claim(worker)
        assert again.id == ids[0]

    @scenario
    async def test_places_that_no_job_holds_are_found(self, case: Case) -> None:
        """Upkeep counts what runs, so a place that was lost some other way comes back."""
        await add(case, 1, places())
        worker = await case.worker()
        [held] = await claim(worker)
        # A settlement that names no gates stands for any write that forgot them.
        forgets = settlement(held, Succeeded(None))
        await worker.exchange([replace(forgets, gates=None)])
        [waiting] = await add(case, 1, places())
        assert await claim(worker) == []
        await case.store.prune(100)
        assert ids_of(await claim(worker)) == [waiting]

    @scenario
    async def test_what_runs_is_not_forgotten_by_upkeep(self, case: Case) -> None:
        """Counting anew changes nothing where the count is right."""
        await add(case, 3, places(quota=2))
        worker = await case.worker()
        await claim(worker)
        await case.store.prune(100)
        assert (await gate(case, "g")).used == 2
        assert await claim(worker) == []

    @scenario
    async def test_jobs_without_gates_pass_beside_it_all(self, case: Case) -> None:
        """One batch of both kinds is claimed in its order."""
        jobs = [new_job() for _ in range(2)]
        await case.enqueue(*jobs)
        gated = await add(case, 1, places())
        worker = await case.worker()
        answer = await worker.exchange(demand=take(5))
        assert ids_of(answer.claims) == [*(job.id for job in jobs), *gated]

    @scenario
    async def test_a_job_that_ends_at_a_gate_keeps_its_name(self, case: Case) -> None:
        """Cancelled, purged or expired, until it is put back."""
        await case.store.shut_gate("s")
        shut = GateUse("s", SWITCH)
        [cancelled] = await add(case, 1, shut)
        [purged] = await add(case, 1, shut, queue="other")
        [late] = await add(case, 1, shut, expires_in=SECOND)
        ids = (cancelled, purged, late)
        assert [(await case.job(id_)).state for id_ in ids] == [JobState.BLOCKED] * 3
        await case.store.cancel([cancelled])
        await case.store.purge("other", limit=100)
        case.clock.move(2)
        await case.store.stage((), 100)
        assert await case.states(ids) == ["cancelled", "cancelled", "expired"]
        assert [(await case.job(id_)).gate for id_ in ids] == ["s"] * 3
        await case.store.open_gate("s")
        await case.store.retry(ids)
        assert [(await case.job(id_)).gate for id_ in ids] == [None] * 3


class TestKeyedAndGated:
    """A job may want a key and have gates: neither forgets the other."""

    @scenario
    async def test_a_parked_job_holds_its_key(self, case: Case) -> None:
        """A second one meets it, and it runs when the gate lets it."""
        await add(case, 1, places())
        worker = await case.worker()
        [running] = await claim(worker)
        [held] = await add(case, 1, places(), key=Key("k"))
        assert await case.states([held]) == ["blocked"]
        await add(case, 1, places(), key=Key("k"))
        assert (await gate(case, "g")).waiting == 1
        await finish(worker, running)
        assert ids_of(await claim(worker)) == [held]

    @scenario
    async def test_a_parked_job_takes_new_values_and_meets_its_new_gate(self, case: Case) -> None:
        """Replaced where it waits, it is bound by what the newest call says."""
        await add(case, 1, places("old"))
        worker = await case.worker()
        await claim(worker)
        replace_it = Key("k", conflict=Conflict.REPLACE)
        [held] = await add(case, 1, places("old"), key=replace_it)
        assert await case.states([held]) == ["blocked"]
        await add(case, 1, places("new"), key=replace_it, args=b"[[2],{}]")
        assert (await gate(case, "old")).waiting == 0
        [one] = await claim(worker)
        assert (one.id, one.args) == (held, b"[[2],{}]")
        assert (await gate(case, "new")).used == 1

    @scenario
    async def test_a_batch_of_all_kinds_is_stored_whole(self, case: Case) -> None:
        """With and without key, with and without gates: each is what it would be alone."""
        raw = write_gates([places("g", 1)])
        jobs = [
            new_job(),
            new_job(gates=raw),
            new_job(key=Key("a")),
            new_job(key=Key("b"), gates=raw),
        ]
        await case.enqueue(*jobs)
        worker = await case.worker()
        taken = ids_of(await claim(worker))
        assert sorted(taken) == sorted(job.id for job in jobs[:3])
        assert (await gate(case, "g")).used == 1
        assert (await gate(case, "g")).waiting == 1

    @scenario
    async def test_a_job_that_waits_for_its_key_says_the_numbers_of_its_gate(
        self, case: Case
    ) -> None:
        """It is stored, so what it says is known before it is ready."""
        [first] = await case.add(key=Key("k"))
        await claim(await case.worker())
        behind = Key("k", conflict=Conflict.REPLACE)
        assert await case.states(await add(case, 1, places(quota=7), key=behind)) == ["blocked"]
        assert await case.states([first]) == ["running"]
        assert (await gate(case, "g")).quota == 7

    @scenario
    async def test_keys_of_a_batch_are_judged_before_its_gates(self, case: Case) -> None:
        """A job that ends as there is no place has stood for those that it was met by."""
        await add(case, 1, SKIPS)
        await claim(await case.worker())
        skipped, met = (new_job(key=Key("k"), gates=write_gates(g)) for g in ([SKIPS], []))
        assert list(await case.store.enqueue(new_id(), [skipped, met])) == [
            JobState.CANCELLED,
            Met(skipped.id, "kept", JobState.READY),
        ]
        assert await case.states([skipped.id, met.id]) == ["cancelled", "gone"]

    @scenario
    async def test_a_job_that_is_replaced_in_its_batch_meets_its_new_gate(self, case: Case) -> None:
        """Where that is full it is parked there, and not at the one of before."""
        await add(case, 1, places("new"))
        await claim(await case.worker())
        first, second = (
            new_job(key=Key("k", conflict=Conflict.REPLACE), gates=write_gates([places(name)]))
            for name in ("old", "new")
        )
        await case.store.enqueue(new_id(), [first, second])
        assert (await case.job(first.id)).gate == "new"
        assert [(await gate(case, name)).waiting for name in ("old", "new")] == [0, 1]

    @scenario
    async def test_a_job_that_is_not_stored_says_nothing_of_gates(self, case: Case) -> None:
        """Its key is held: the numbers of its gates stay, and none is made."""
        await add(case, 1, places("g", 3), key=Key("k"))
        case.clock.move(1)
        for conflict in (Conflict.KEEP, Conflict.REFUSE):
            await add(case, 1, places("g", 7), places("new", 1), key=Key("k", conflict=conflict))
        assert [(one.name, one.quota) for one in await case.store.gates()] == [("g", 3)]

    @scenario
    async def test_a_batch_sent_again_parks_and_ends_nobody(self, case: Case) -> None:
        """Its job waits in a queue that is paused, and its gate has filled meanwhile."""
        await case.store.pause("closed")
        request = new_id()
        jobs = [new_job(key=Key("k"), gates=write_gates([SKIPS]), queue="closed")]
        answer = list(await case.store.enqueue(request, jobs))
        await add(case, 1, SKIPS)
        await claim(await case.worker())
        assert list(await case.store.enqueue(request, jobs)) == answer
        assert await case.states([jobs[0].id]) == ["ready"]

    @pytest.mark.parametrize("key", [None, Key("k")])
    @scenario
    async def test_a_batch_sent_again_says_nothing_of_gates(
        self, case: Case, key: Key | None
    ) -> None:
        """Others have said something newer meanwhile."""
        request, old = new_id(), [new_job(key=key, gates=write_gates([places("g", 3)]))]
        await case.store.enqueue(request, old)
        case.clock.move(1)
        await add(case, 1, places("g", 5))
        case.clock.move(1)
        await case.store.enqueue(request, old)
        assert (await gate(case, "g")).quota == 5
