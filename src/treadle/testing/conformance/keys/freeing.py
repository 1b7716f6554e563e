"""When a key is free again: by the very write that ends its job's claim to it."""

import pytest

from treadle.core.durations import SECOND
from treadle.core.gates.gate import write_gates
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState, Met
from treadle.core.keys.key import Key, Until
from treadle.core.outcome import Cancelled, Failed, Outcome, Rejected, Released, Snoozed, Succeeded
from treadle.testing.conformance.gates import kit as gate_kit
from treadle.testing.conformance.keys.locks import ROUNDS
from treadle.testing.conformance.keys.taking import holder, keyed, store_one
from treadle.testing.conformance.kit import ERROR, LEASE_S, Case, Hand, new_job, scenario

GATE = write_gates([gate_kit.places(quota=9)])
FAILED = Failed(ERROR, retryable=False)
ENDS = [Succeeded(b"1"), FAILED, Cancelled("no"), Rejected(ERROR, "no")]
WAITS = [Failed(ERROR, delay=SECOND), Snoozed(SECOND), Released()]


async def claimed(case: Case, until: Until = Until.END, hold: int = 0) -> tuple[Hand, Claim]:
    """Enqueue a job with a key, and claim it."""
    await case.enqueue(keyed(until=until, hold=hold))
    worker = await case.worker()
    [claim] = await worker.claim()
    return worker, claim


class TestKeyFreed:
    """A key goes with what its job holds it until."""

    @pytest.mark.parametrize("outcome", ENDS, ids=lambda o: type(o).__name__)
    @scenario
    async def test_an_end_frees_the_key(self, case: Case, outcome: Outcome) -> None:
        """However a job ends, the next one has the key."""
        worker, claim = await claimed(case)
        await worker.finish(claim, outcome)
        assert await holder(case) is None
        assert await store_one(case, keyed()) is JobState.READY

    @pytest.mark.parametrize("outcome", WAITS, ids=lambda o: type(o).__name__)
    @scenario
    async def test_a_job_that_goes_on_keeps_its_key(self, case: Case, outcome: Outcome) -> None:
        """A retry, a snooze and a release leave it with its job."""
        worker, claim = await claimed(case)
        await worker.finish(claim, outcome)
        assert await holder(case) == claim.id
        assert isinstance(await store_one(case, keyed()), Met)

    @scenario
    async def test_a_late_settlement_frees_no_key(self, case: Case) -> None:
        """What is LOST changes nothing, also not of the key that another attempt holds."""
        worker, claim = await claimed(case)
        await worker.finish(claim, Released())
        [again] = await worker.claim()
        await worker.finish(claim, Succeeded(b"1"))
        assert await holder(case) == again.id

    @scenario
    async def test_a_rescued_job_keeps_its_key(self, case: Case) -> None:
        """The key belongs to the job, not to the worker that has died."""
        worker, claim = await claimed(case)
        assert worker.info.lease == LEASE_S * SECOND
        other = await case.worker("w2")
        case.clock.move(LEASE_S + 1)
        await other.beat()
        [orphan] = await other.rescue_in_two_looks(case.clock)
        assert orphan.claim.key == "k"
        assert await holder(case) == claim.id
        await other.finish(orphan.claim, Succeeded(b"1"))
        assert await holder(case) is None

    @scenario
    async def test_cancel_and_discard_free_the_key(self, case: Case) -> None:
        """A person's word ends a waiting job and a running one alike."""
        _, claim = await claimed(case)
        assert list(await case.store.cancel([claim.id])) == [True]
        waiting = keyed()
        assert await store_one(case, waiting) is JobState.READY
        assert list(await case.store.cancel([waiting.id])) == [True]
        assert await holder(case) is None
        assert list(await case.store.discard([waiting.id])) == [True]

    @scenario
    async def test_a_purge_frees_the_keys(self, case: Case) -> None:
        """What is purged, ready or scheduled, holds nothing."""
        await case.enqueue(keyed("a"), keyed("b", fields={"delay": SECOND}))
        assert await case.store.purge("default", limit=10) == len("ab")
        assert [await holder(case, name) for name in "ab"] == [None, None]

    @pytest.mark.parametrize("met", ["stage", "claim"])
    @scenario
    async def test_an_expiry_frees_the_key(self, case: Case, met: str) -> None:
        """Whether a stage or a claim finds that a job was not started in time."""
        await case.enqueue(keyed(fields={"expires_in": SECOND}))
        worker = await case.worker()
        case.clock.move(2)
        if met == "stage":
            await case.store.stage([], 10)
        else:
            assert await worker.claim() == []
        assert await holder(case) is None

    @scenario
    async def test_the_first_claim_frees_a_key_until_started(self, case: Case) -> None:
        """From then on another job may wait, and a retry does not take the key again."""
        worker, claim = await claimed(case, Until.CLAIM)
        assert await holder(case) is None
        second = keyed(until=Until.CLAIM)
        assert await store_one(case, second) is JobState.READY
        await worker.finish(claim, Failed(ERROR, delay=SECOND))
        case.clock.move(1)
        await case.store.stage([], 10)
        assert await case.states([claim.id, second.id]) == ["ready", "ready"]
        assert await holder(case) == second.id

    @scenario
    async def test_a_key_until_started_stays_free_behind_a_gate(self, case: Case) -> None:
        """A job that has passed its gate once does not hold the key when it waits again."""
        worker = await case.worker()
        for turn in range(3):
            name = f"k{turn}"
            await case.enqueue(keyed(name, until=Until.CLAIM, fields={"gates": GATE}))
            [claim] = await gate_kit.claim(worker, 1)
            await worker.finish(claim, Snoozed(60 * SECOND))
            assert await holder(case, name) is None
            assert await store_one(case, keyed(name)) is JobState.READY
            await gate_kit.finish(worker, *await gate_kit.claim(worker))

    @pytest.mark.parametrize("end", ["cancel", "purge"])
    @scenario
    async def test_a_key_until_started_goes_with_a_job_that_never_starts(
        self, case: Case, end: str
    ) -> None:
        """The end of a job that nobody has claimed frees it."""
        job = keyed(until=Until.CLAIM)
        await case.enqueue(job)
        if end == "cancel":
            await case.store.cancel([job.id])
        else:
            await case.store.purge("default", limit=1)
        assert await holder(case) is None

    @scenario
    async def test_a_key_with_a_time_is_held_until_then(self, case: Case) -> None:
        """Its job may have ended long ago, or still run."""
        worker, claim = await claimed(case, Until.TIME, hold=60 * SECOND)
        await worker.finish(claim, Succeeded(b"1"))
        case.clock.move(59.999_999)
        again = keyed(until=Until.TIME, hold=60 * SECOND)
        assert await store_one(case, again) == Met(claim.id, "kept", JobState.SUCCEEDED)
        case.clock.move(0.000_001)
        assert await store_one(case, again) is JobState.READY
        case.clock.move(61)
        assert await holder(case) is None
        assert await store_one(case, keyed()) is JobState.READY

    @scenario
    async def test_a_time_ends_by_the_clock_of_the_store_alone(self, case: Case) -> None:
        """While that stands still a key of a microsecond is held, however many calls are made."""
        job = keyed(until=Until.TIME, hold=1)
        await case.enqueue(job)
        for _ in range(ROUNDS):
            assert await holder(case) == job.id
        case.clock.move(0.000_001)
        assert await holder(case) is None

    @scenario
    async def test_a_key_that_lasts_with_the_record_outlives_a_success(self, case: Case) -> None:
        """The job is met for as long as it is kept, and the key goes with its record."""
        worker, claim = await claimed(case, Until.RECORD)
        await worker.finish(claim, Succeeded(b"1"))
        met = Met(claim.id, "kept", JobState.SUCCEEDED)
        assert await store_one(case, keyed(until=Until.RECORD)) == met
        case.clock.move(30 * 86_400)
        await case.store.prune(100)
        assert await holder(case) is None
        assert await store_one(case, keyed(until=Until.RECORD)) is JobState.READY

    @scenario
    async def test_a_discarded_record_frees_the_key_that_lasts_with_it(self, case: Case) -> None:
        """Who deletes the record deletes what the key stands for."""
        worker, claim = await claimed(case, Until.RECORD)
        await worker.finish(claim, Succeeded(b"1"))
        await case.store.discard([claim.id])
        assert await holder(case) is None

    @pytest.mark.parametrize("outcome", ENDS[1:], ids=lambda o: type(o).__name__)
    @scenario
    async def test_a_bad_end_frees_the_key_that_lasts_with_the_record(
        self, case: Case, outcome: Outcome
    ) -> None:
        """A call that has come to nothing may be made again under its key."""
        worker, claim = await claimed(case, Until.RECORD)
        await worker.finish(claim, outcome)
        assert await holder(case) is None

    @scenario
    async def test_keys_of_a_mixed_batch_of_settlements_are_freed(self, case: Case) -> None:
        """Each settlement frees its own job's key, and no other."""
        jobs = [keyed("a"), new_job(), keyed("b"), keyed("c", until=Until.RECORD)]
        await case.enqueue(*jobs)
        worker = await case.worker()
        claims = {claim.id: claim for claim in await worker.claim(9)}
        outcomes: list[Outcome] = [Succeeded(b"1"), FAILED, Snoozed(SECOND), Succeeded(b"1")]
        for job, outcome in zip(jobs, outcomes, strict=True):
            await worker.finish(claims[job.id], outcome)
        assert [await holder(case, n) for n in "abc"] == [None, jobs[2].id, jobs[3].id]


class TestKeyAgain:
    """An ended job that a person puts back takes its key again, or stays."""

    @scenario
    async def test_a_job_put_back_holds_its_key_again(self, case: Case) -> None:
        """A retry of a dead letter is as good as an enqueue."""
        worker, claim = await claimed(case)
        await worker.finish(claim, FAILED)
        assert list(await case.store.retry([claim.id])) == [True]
        assert await holder(case) == claim.id
        [again] = await worker.claim()
        await worker.finish(again, Succeeded(b"1"))
        assert await holder(case) is None

    @scenario
    async def test_a_job_whose_key_is_another_s_stays_a_dead_letter(self, case: Case) -> None:
        """Put back, there would be two of one key: it is refused until the other has ended."""
        worker, claim = await claimed(case)
        await worker.finish(claim, FAILED)
        other = keyed()
        await case.enqueue(other)
        assert list(await case.store.retry([claim.id])) == [False]
        assert await case.states([claim.id]) == ["failed"]
        assert await holder(case) == other.id
        await case.store.cancel([other.id])
        assert list(await case.store.retry([claim.id])) == [True]

    @scenario
    async def test_of_two_dead_letters_of_one_key_one_is_put_back(self, case: Case) -> None:
        """A batch of retries is judged as a batch of enqueues is."""
        ids = []
        for _ in range(2):
            worker, claim = await claimed(case)
            await worker.finish(claim, FAILED)
            ids.append(claim.id)
        assert sorted(await case.store.retry(ids)) == [False, True]
        assert sorted(await case.states(ids)) == ["failed", "ready"]

    @scenario
    async def test_a_throttled_job_may_be_put_back_at_any_time(self, case: Case) -> None:
        """A key with a time says when jobs are enqueued, and a person knows what he does."""
        worker, claim = await claimed(case, Until.TIME, hold=SECOND)
        await worker.finish(claim, FAILED)
        case.clock.move(2)
        await case.store.enqueue(new_id(), [new_job(key=Key("k", Until.TIME, hold=SECOND))])
        assert list(await case.store.retry([claim.id])) == [True]

    @scenario
    async def test_a_waiting_job_made_ready_keeps_its_key(self, case: Case) -> None:
        """It holds it already."""
        job = keyed(fields={"delay": SECOND})
        await case.enqueue(job)
        assert list(await case.store.retry([job.id])) == [True]
        assert await holder(case) == job.id
