"""What `register`, `beat` and `leave` promise: a worker's lease over all its claims."""

from treadle.core.durations import SECOND
from treadle.core.job import JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.testing.conformance.kit import LEASE_S, SUSPECT_S, Case, Hand, scenario, worker_info

LOOKS_MAX = 4


async def beat_until_returned(case: Case, worker: Hand) -> list[int]:
    """Beat with empty hands, a while apart, until a claim is given back; bounded."""
    returned: list[int] = []
    while len(returned) < LOOKS_MAX and not sum(returned):
        returned.append((await worker.beat()).returned)
        case.clock.move(SUSPECT_S)
    return returned


class TestBeat:
    """One beat prolongs the lease and compares hands with the store."""

    @scenario
    async def test_a_quiet_beat_has_nothing_to_say(self, case: Case) -> None:
        """A worker that holds what the store thinks it holds is told nothing."""
        await case.add(3)
        worker = await case.worker()
        claims = await worker.claim(2)
        for _ in range(5):
            case.clock.move(LEASE_S / 3)
            beaten = await worker.beat(*claims)
            assert (beaten.gone, list(beaten.revoked), beaten.returned) == (False, [], 0)

    @scenario
    async def test_a_worker_that_beats_keeps_its_claims(self, case: Case) -> None:
        """However long it runs: nobody rescues it, and its settlement applies."""
        await case.add()
        worker, other = await case.worker("w1"), await case.worker("w2")
        [claim] = await worker.claim()
        for _ in range(12):
            case.clock.move(LEASE_S * 0.8)
            await worker.beat(claim)
            await other.beat()
            assert await other.rescue() == []
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED

    @scenario
    async def test_a_beat_names_the_claims_that_were_revoked(self, case: Case) -> None:
        """A worker learns of a cancelled job at its next beat, and only of that one."""
        await case.add(3)
        worker = await case.worker()
        claims = await worker.claim(3)
        await case.store.cancel([claims[1].id])
        beaten = await worker.beat(*claims)
        assert [tuple(pair) for pair in beaten.revoked] == [(claims[1].id, claims[1].number)]
        assert not beaten.gone

    @scenario
    async def test_a_settled_claim_still_in_hand_is_no_news(self, case: Case) -> None:
        """A beat that crosses a settlement may name it or not; the others stay unharmed."""
        await case.add(2)
        worker = await case.worker()
        first, second = await worker.claim(2)
        await worker.finish(first, Succeeded(b"1"))
        beaten = await worker.beat(first, second)
        assert set(beaten.revoked) <= {(first.id, first.number)}
        assert await worker.finish(second, Succeeded(b"2")) is Verdict.APPLIED

    @scenario
    async def test_a_claim_the_worker_does_not_hold_goes_back_after_a_second_look(
        self, case: Case
    ) -> None:
        """The answer that carried it was lost: the job is ready again, unspent."""
        await case.add(2)
        worker = await case.worker()
        lost, held = await worker.claim(2)
        first = await worker.beat(held)
        assert first.returned == 0
        assert (await case.job(lost.id)).state == JobState.RUNNING
        for _ in range(LOOKS_MAX):
            case.clock.move(SUSPECT_S)
            await worker.beat(held)
        record = await case.job(lost.id)
        assert (record.state, record.attempt, record.worker) == (JobState.READY, 0, None)
        assert record.claim > lost.number
        assert await worker.finish(lost, Succeeded(b"late")) is Verdict.LOST
        assert await worker.finish(held, Succeeded(b"1")) is Verdict.APPLIED

    @scenario
    async def test_a_beat_counts_what_went_back(self, case: Case) -> None:
        """The beat that gives claims back says how many."""
        await case.add(3)
        worker = await case.worker()
        await worker.claim(3)
        returned = await beat_until_returned(case, worker)
        assert (returned[0], sum(returned)) == (0, 3)
        assert (await beat_until_returned(case, worker)) == [0] * LOOKS_MAX

    @scenario
    async def test_a_claim_that_was_in_flight_at_the_first_look_stays(self, case: Case) -> None:
        """A beat may cross an exchange; once the worker holds the claim it keeps it."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.beat()
        for _ in range(LOOKS_MAX):
            case.clock.move(SUSPECT_S)
            assert (await worker.beat(claim)).returned == 0
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED

    @scenario
    async def test_a_worker_that_never_registered_is_gone(self, case: Case) -> None:
        """A beat does not make a worker known."""
        stranger = Hand(case.store, worker_info("stranger"))
        assert (await stranger.beat()).gone
        assert (await stranger.beat()).gone

    @scenario
    async def test_a_rescued_worker_is_gone(self, case: Case) -> None:
        """One that wakes up after its rescue learns at its next beat that it must begin anew."""
        await case.add()
        worker = await case.worker("w1")
        [claim] = await worker.claim()
        case.clock.move(LEASE_S + 1)
        await (await case.worker("w2")).rescue_in_two_looks(case.clock)
        assert (await worker.beat(claim)).gone
        assert (await worker.exchange()).gone

    @scenario
    async def test_a_gone_worker_comes_back_as_a_new_one(self, case: Case) -> None:
        """A new incarnation under its own id works at once."""
        [job] = await case.add()
        worker = await case.worker("w1")
        await case.store.leave(worker.name)
        again = await case.worker("w1b")
        assert not (await again.beat()).gone
        assert [claim.id for claim in await again.claim()] == [job]


class TestWorkers:
    """The workers that are registered can be seen."""

    @scenario
    async def test_a_worker_is_shown_as_it_registered(self, case: Case) -> None:
        """With its start, the age of its last beat and what it runs."""
        await case.add(3)
        began = case.now
        worker = await case.worker("w1", queues=("a", "default"), slots=3)
        await worker.claim(2, "default")
        case.clock.move(4)
        [record] = await case.store.workers()
        assert (record.info, record.started_at, record.running) == (worker.info, began, 2)
        assert record.beat_age in {4 * SECOND, None}

    @scenario
    async def test_registering_again_is_harmless(self, case: Case) -> None:
        """The same worker said twice is one worker, which keeps its claims."""
        await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        await worker.register()
        assert len(await case.store.workers()) == 1
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED


class TestLeave:
    """A worker that stops gives back what it still holds."""

    @scenario
    async def test_leaving_gives_claims_back_unspent(self, case: Case) -> None:
        """They are ready for others at once, with their attempt and under a higher number."""
        ids = await case.add(3)
        worker, other = await case.worker("w1"), await case.worker("w2")
        first, *rest = await worker.claim(3)
        await worker.finish(first, Succeeded(b"1"))
        assert await case.store.leave(worker.name) == len(rest)
        again = await other.claim(5)
        assert [(c.id, c.attempt) for c in again] == [(job, 1) for job in ids[1:]]
        for old, new in zip(rest, again, strict=True):
            assert new.number > old.number
            assert await worker.finish(old, Succeeded(b"late")) is Verdict.LOST

    @scenario
    async def test_a_worker_that_left_is_not_shown(self, case: Case) -> None:
        """Leaving forgets the worker; leaving twice, or never having come, gives nothing back."""
        await case.worker("w1")
        assert await case.store.leave("w1") == 0
        assert list(await case.store.workers()) == []
        assert await case.store.leave("w1") == 0
        assert await case.store.leave("nobody") == 0

    @scenario
    async def test_leaving_touches_no_other_workers_claims(self, case: Case) -> None:
        """Each worker's claims are its own."""
        await case.add(2)
        worker, other = await case.worker("w1"), await case.worker("w2")
        await worker.claim()
        [kept] = await other.claim()
        assert await case.store.leave("w1") == 1
        assert await other.finish(kept, Succeeded(b"1")) is Verdict.APPLIED
