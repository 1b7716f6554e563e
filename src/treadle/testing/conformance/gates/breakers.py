"""What a breaker promises: it opens on failures, lets one job through at a time, and closes."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

import pytest
from msgspec.structs import replace

from treadle.core.durations import SECOND
from treadle.core.gates.gate import FOREVER, GateUse
from treadle.core.gates.tells import Tell
from treadle.core.job import Claim, JobState
from treadle.core.outcome import (
    Cancelled,
    Failed,
    Outcome,
    Released,
    Snoozed,
    Succeeded,
    WorkerLost,
)
from treadle.testing.conformance.gates.kit import (
    add,
    breaker,
    check_due,
    claim,
    finish,
    gate,
    places,
)
from treadle.testing.conformance.kit import (
    ERROR,
    LEASE_S,
    Case,
    Hand,
    ids_of,
    scenario,
    settlement,
)

BAD = Failed(ERROR, delay=0, tells=(Tell("b", "failed", why="ValueError: no such order"),))
"""An attempt that counts as a failure of the breaker `b`; its job is ready again at once."""
SAYS_NOTHING: list[Outcome] = [
    Failed(ERROR, delay=SECOND),
    Snoozed(SECOND),
    Cancelled("enough"),
    Released(),
    WorkerLost("w0"),
]


async def fail(worker: Hand, *claims: Claim) -> None:
    """End these claims with a failure, in one exchange."""
    await worker.settle(*(settlement(one, BAD) for one in claims))


async def open_by_failures(case: Case, jobs: int = 5) -> tuple[Hand, list[bytes]]:
    """Let two of some jobs fail at a breaker that opens with the second, for ten seconds."""
    ids = await add(case, jobs, breaker())
    worker = await case.worker()
    await fail(worker, *(await worker.claim(2)))
    return worker, ids


class TestBreakerOpens:
    """So many failures in so long a time shut the gate; its jobs wait and spend nothing."""

    @scenario
    async def test_closed_it_bounds_nothing(self, case: Case) -> None:
        """All may run, and what ends well changes nothing."""
        ids = await add(case, 50, breaker())
        worker = await case.worker()
        claims = await claim(worker)
        assert ids_of(claims) == ids
        await finish(worker, *claims)
        shown = await gate(case, "b")
        assert (shown.tripped, shown.shut_until) == (0, None)

    @scenario
    async def test_the_last_failure_opens_it_for_its_cool_down(self, case: Case) -> None:
        """One failure less does not; the gate says until when, and what the last one was."""
        await add(case, 3, breaker(failures=3))
        worker = await case.worker()
        claims = await claim(worker)
        await fail(worker, *claims[:2])
        assert (await gate(case, "b")).tripped == 0
        await fail(worker, claims[2])
        shown = await gate(case, "b")
        assert shown.tripped == 1
        assert shown.shut_until is not None
        assert 9.9 * SECOND < shown.shut_until - case.now <= 10 * SECOND
        assert shown.note == "ValueError: no such order"

    @scenario
    async def test_failures_count_within_the_window(self, case: Case) -> None:
        """One a minute never opens it; the last two within a minute do, whatever came before."""
        await add(case, 20, breaker(failures=2))
        worker = await case.worker()
        claims = await claim(worker)
        for one in claims[:3]:
            await fail(worker, one)
            case.clock.move(61)
            await worker.beat(*claims)
        assert (await gate(case, "b")).tripped == 0
        await fail(worker, claims[3])
        case.clock.move(59)
        await worker.beat(*claims)
        await fail(worker, claims[4])
        assert (await gate(case, "b")).tripped == 1

    @scenario
    async def test_its_jobs_are_parked_without_an_attempt(self, case: Case) -> None:
        """What failed, what was ready and what comes: all wait there, none is claimed."""
        worker, ids = await open_by_failures(case)
        ids += await add(case, 1, breaker())
        assert await claim(worker) == []
        assert set(await case.states(ids)) == {"blocked"}
        assert [(await case.job(id_)).attempt for id_ in ids] == [1, 1, 0, 0, 0, 0]
        assert (await gate(case, "b")).waiting == 6
        await check_due(worker, 9, 10)

    @scenario
    async def test_more_failures_than_it_takes_count_once(self, case: Case) -> None:
        """Those that ran as it opened, in the same exchange or later, open it no further."""
        await add(case, 6, breaker())
        worker = await case.worker()
        claims = await claim(worker)
        await fail(worker, *claims[:4])
        first = await gate(case, "b")
        case.clock.move(1)
        await fail(worker, *claims[4:])
        again = await gate(case, "b")
        assert (first.tripped, again.tripped) == (1, 1)
        assert first.shut_until == again.shut_until

    @scenario
    async def test_a_success_while_it_is_open_does_not_close_it(self, case: Case) -> None:
        """A job that began before proves nothing of what came since."""
        await add(case, 3, breaker())
        worker = await case.worker()
        claims = await claim(worker)
        await fail(worker, *claims[:2])
        await finish(worker, claims[2])
        assert (await gate(case, "b")).room == 0

    @scenario
    async def test_jobs_without_it_go_on(self, case: Case) -> None:
        """The rest of the queue does not notice."""
        worker, _ = await open_by_failures(case)
        others = await add(case, 3)
        assert ids_of(await claim(worker)) == others

    @scenario
    async def test_two_workers_count_together(self, case: Case) -> None:
        """A failure here and a failure there are two."""
        await add(case, 4, breaker())
        one, two = await case.worker("w1"), await case.worker("w2", store=await case.other())
        [first], [second] = await one.claim(1), await two.claim(1)
        await fail(one, first)
        await fail(two, second)
        assert (await gate(case, "b")).tripped == 1
        assert await claim(two) == []

    @scenario
    async def test_a_repeated_exchange_counts_its_failures_once(self, case: Case) -> None:
        """Sent again under the same request it changes nothing."""
        await add(case, 2, breaker())
        worker = await case.worker()
        [first] = await worker.claim(1)
        batch, request = [settlement(first, BAD)], b"r" * 16
        await worker.exchange(batch, request=request)
        await worker.exchange(batch, request=request)
        assert (await gate(case, "b")).tripped == 0

    @scenario
    async def test_a_lost_settlement_says_nothing(self, case: Case) -> None:
        """What a worker reports of a claim that is not its own any more counts for nothing."""
        await add(case, 1, breaker(failures=1))
        worker = await case.worker()
        [one] = await worker.claim(1)
        await worker.finish(one, Released())
        await fail(worker, one)
        assert (await gate(case, "b")).tripped == 0


class TestBreakerProbes:
    """After the cool-down one job is let through at a time; what it comes to decides."""

    @scenario
    async def test_one_job_is_let_through(self, case: Case) -> None:
        """The best one; the others wait, however long it takes."""
        worker, ids = await open_by_failures(case)
        case.clock.move(10.1)
        probes = await claim(worker)
        assert ids_of(probes) == ids[:1]
        case.clock.move(60)
        await worker.beat(*probes)
        assert await claim(worker) == []
        assert (await gate(case, "b")).room == 0

    @scenario
    async def test_one_job_is_let_through_for_all_workers(self, case: Case) -> None:
        """Two that ask at once get one between them."""
        first, _ = await open_by_failures(case)
        second = await case.worker("w2", store=await case.other())
        case.clock.move(10.1)
        assert len(await claim(first)) + len(await claim(second)) == 1

    @scenario
    async def test_a_probe_that_ends_well_closes_it(self, case: Case) -> None:
        """The same exchange wakes all that wait, and failures count from none."""
        worker, ids = await open_by_failures(case)
        case.clock.move(10.1)
        [probe] = await claim(worker)
        await finish(worker, probe)
        claims = await claim(worker)
        assert ids_of(claims) == ids[1:]
        assert (await gate(case, "b")).tripped == 0
        await fail(worker, claims[0])
        assert (await gate(case, "b")).tripped == 0

    @scenario
    async def test_it_wakes_more_than_a_page(self, case: Case) -> None:
        """Whatever waited, all of it runs once the breaker is closed."""
        worker, ids = await open_by_failures(case, jobs=1_200)
        assert await claim(worker, 500) == []
        case.clock.move(10.1)
        await finish(worker, *(await claim(worker)))
        assert ids_of(await claim(worker, 500)) == ids[1:]

    @scenario
    async def test_a_probe_that_fails_opens_it_for_longer(self, case: Case) -> None:
        """Twice as long each time, and at most sixteen times."""
        worker, _ = await open_by_failures(case)
        waits = []
        for _ in range(6):
            shown = await gate(case, "b")
            assert shown.shut_until is not None
            waits.append((shown.shut_until - case.now) / SECOND)
            case.clock.move(waits[-1] + 0.1)
            await worker.beat()
            [probe] = await claim(worker)
            await fail(worker, probe)
        assert waits == [10, 20, 40, 80, 160, 160]

    @pytest.mark.parametrize("outcome", SAYS_NOTHING, ids=lambda o: type(o).__name__)
    @scenario
    async def test_a_probe_that_says_nothing_makes_room_for_the_next(
        self, case: Case, outcome: Outcome
    ) -> None:
        """Neither good nor bad: the breaker stays half open, and another job is let through."""
        worker, _ = await open_by_failures(case)
        case.clock.move(10.1)
        [probe] = await claim(worker)
        await worker.finish(probe, outcome)
        assert len(await claim(worker)) == 1
        assert (await gate(case, "b")).tripped == 1

    @scenario
    async def test_a_job_from_before_is_no_probe(self, case: Case) -> None:
        """What began before it opened neither closes nor opens it when it ends half open."""
        await add(case, 5, breaker())
        worker = await case.worker()
        claims = await worker.claim(4)
        await fail(worker, *claims[:2])
        case.clock.move(10.1)
        assert len(await claim(worker)) == 1
        await finish(worker, claims[2])
        await fail(worker, claims[3])
        shown = await gate(case, "b")
        assert (shown.tripped, shown.shut_until, shown.room) == (1, None, 0)

    @scenario
    async def test_a_failure_from_before_does_not_outlive_the_probe_beside_it(
        self, case: Case
    ) -> None:
        """Settled together, in whatever order, the probe closes it and no failure is counted."""
        for turn in (1, -1):
            await case.store.open_gate("b")
            await add(case, 4, breaker())
            worker = await case.worker()
            claims = await worker.claim(3)
            await fail(worker, *claims[:2])
            case.clock.move(10.1)
            [probe] = await claim(worker)
            batch = [settlement(probe, Succeeded(None)), settlement(claims[2], BAD)]
            await worker.settle(*batch[::turn])
            [one, *_] = await worker.claim(1)
            await fail(worker, one)
            assert (await gate(case, "b")).tripped == 0
            await finish(worker, *(await claim(worker)))
            case.clock.move(61)
            await worker.beat()

    @scenario
    async def test_a_probe_whose_worker_dies_keeps_its_place_until_it_is_decided(
        self, case: Case
    ) -> None:
        """Its rescuer settles it, which counts as nothing; then the next one is let through."""
        await open_by_failures(case)
        case.clock.move(10.1)
        dead = await case.worker("w2")
        [probe] = await claim(dead)
        case.clock.move(LEASE_S + 1)
        rescuer = await case.worker("w3")
        orphans = await rescuer.rescue_in_two_looks(case.clock)
        [orphan] = [one for one in orphans if one.claim.id == probe.id]
        assert await claim(rescuer) == []
        await rescuer.finish(orphan.claim, WorkerLost("w2"))
        assert len(await claim(rescuer)) == 1

    @scenario
    async def test_a_cancelled_probe_makes_room(self, case: Case) -> None:
        """Its worker need not have heard of it."""
        worker, ids = await open_by_failures(case)
        case.clock.move(10.1)
        [probe] = await claim(worker)
        await case.store.cancel([probe.id])
        assert ids_of(await claim(worker)) == ids[1:2]

    @scenario
    async def test_a_probe_of_a_worker_that_leaves_makes_room(self, case: Case) -> None:
        """It goes back, and is let through again."""
        _, ids = await open_by_failures(case)
        case.clock.move(10.1)
        leaving = await case.worker("w2")
        await claim(leaving)
        await case.store.leave("w2")
        worker = await case.worker("w3")
        assert ids_of(await claim(worker)) == ids[:1]

    @scenario
    async def test_a_probe_that_was_forgotten_is_found(self, case: Case) -> None:
        """Upkeep sees that no such job runs, and the next one is let through."""
        worker, _ = await open_by_failures(case)
        case.clock.move(10.1)
        [probe] = await claim(worker)
        # A settlement that names no gates stands for any write that forgot them.
        forgets = replace(settlement(probe, Succeeded(None)), gates=None, tells=())
        await worker.settle(forgets)
        assert await claim(worker) == []
        await case.store.prune(100)
        assert len(await claim(worker)) == 1

    @scenario
    async def test_half_open_it_holds_places_of_others_only_while_it_runs(self, case: Case) -> None:
        """A job takes all of its gates or none: parked at the breaker it holds no place."""
        worker, _ = await open_by_failures(case, jobs=2)
        await add(case, 2, breaker(), places("p"))
        case.clock.move(10.1)
        assert len(await claim(worker)) == 1
        assert (await gate(case, "p")).used == 0


class TestBreakerByHand:
    """People open and close it, and it says what it is."""

    @scenario
    async def test_opened_by_hand_it_closes_at_resume(self, case: Case) -> None:
        """As any gate: what was parked runs."""
        await case.store.shut_gate("b", note="by ann")
        ids = await add(case, 3, breaker())
        worker = await case.worker()
        assert await claim(worker) == []
        assert await case.store.open_gate("b")
        assert ids_of(await claim(worker)) == ids
        assert (await gate(case, "b")).tripped == 0

    @scenario
    async def test_resume_closes_one_that_has_opened(self, case: Case) -> None:
        """Before its time, open or half open, and failures count from none."""
        worker, _ = await open_by_failures(case)
        assert await case.store.open_gate("b")
        claims = await claim(worker)
        assert len(claims) == 5
        await fail(worker, claims[0])
        assert (await gate(case, "b")).tripped == 0
        await fail(worker, claims[1])
        case.clock.move(10.1)
        await claim(worker)
        assert await case.store.open_gate("b")
        assert (await gate(case, "b")).tripped == 0
        assert not await case.store.open_gate("b")

    @scenario
    async def test_a_pause_stands_over_failures(self, case: Case) -> None:
        """What fails while a person holds it shut changes neither the time nor the note."""
        await add(case, 3, breaker())
        worker = await case.worker()
        claims = await claim(worker)
        await case.store.shut_gate("b", note="by ann")
        await fail(worker, *claims)
        shown = await gate(case, "b")
        assert (shown.tripped, shown.shut_until, shown.note) == (0, FOREVER, "by ann")

    @scenario
    async def test_numbers_that_are_set_count(self, case: Case) -> None:
        """A breaker that opens with the first failure, set at run time."""
        await add(case, 2, breaker())
        await case.store.set_gate(breaker(failures=1))
        worker = await case.worker()
        [one] = await worker.claim(1)
        await fail(worker, one)
        assert (await gate(case, "b")).tripped == 1


class TestHolds:
    """A task says until when nobody shall pass a gate; that is written with its settlement."""

    @scenario
    async def test_a_held_gate_parks_the_others_until_then(self, case: Case) -> None:
        """They wait without an attempt, and are woken at that instant."""
        ids = await add(case, 4, places(quota=2))
        worker = await case.worker()
        claims = await claim(worker)
        held = Tell("g", "shut", 30 * SECOND, "mail: busy")
        await worker.finish(claims[0], Failed(ERROR, delay=30 * SECOND, tells=(held,)))
        assert await claim(worker) == []
        shown = await gate(case, "g")
        assert (shown.shut_until, shown.note) == (case.now + 30 * SECOND, "mail: busy")
        await finish(worker, claims[1])
        case.clock.move(29)
        assert await claim(worker) == []
        case.clock.move(1.1)
        assert ids_of(await claim(worker)) == sorted([ids[0], *ids[2:]])[:2]

    @scenario
    async def test_the_latest_instant_counts(self, case: Case) -> None:
        """Of several in one exchange and of one that comes later; a shorter one changes nothing."""
        await add(case, 4, places(quota=4))
        worker = await case.worker()
        claims = await claim(worker)
        spans = [20, 50, 10]
        await worker.settle(
            *(
                settlement(one, Snoozed(span * SECOND, tells=(Tell("g", "shut", span * SECOND),)))
                for one, span in zip(claims[:3], spans, strict=True)
            )
        )
        until = case.now + 50 * SECOND
        assert (await gate(case, "g")).shut_until == until
        await worker.finish(claims[3], Snoozed(SECOND, tells=(Tell("g", "shut", SECOND),)))
        assert (await gate(case, "g")).shut_until == until

    @scenario
    async def test_a_pause_by_hand_is_not_shortened(self, case: Case) -> None:
        """It stays until somebody opens it, with its note."""
        await add(case, 1, places())
        worker = await case.worker()
        [one] = await claim(worker)
        await case.store.shut_gate("g", note="by ann")
        await worker.finish(one, Snoozed(SECOND, tells=(Tell("g", "shut", SECOND, "busy"),)))
        shown = await gate(case, "g")
        assert (shown.shut_until, shown.note) == (FOREVER, "by ann")

    @scenario
    async def test_a_gate_that_nobody_has_named_is_made(self, case: Case) -> None:
        """So a job without limits can hold one that others will meet."""
        [plain] = await add(case, 1)
        worker = await case.worker()
        [one] = await claim(worker)
        assert one.id == plain
        await worker.finish(one, Snoozed(SECOND, tells=(Tell("new", "shut", 60 * SECOND),)))
        ids = await add(case, 1, GateUse("new"))
        assert await case.states(ids) == ["blocked"]

    @scenario
    async def test_a_lost_settlement_holds_nothing(self, case: Case) -> None:
        """Nor does one that is sent again hold for longer."""
        await add(case, 2, places(quota=2))
        worker = await case.worker()
        one, two = await claim(worker)
        hold = Snoozed(SECOND, tells=(Tell("g", "shut", 60 * SECOND),))
        await worker.finish(one, Released())
        await worker.finish(one, hold)
        assert (await gate(case, "g")).shut_until is None
        batch, request = [settlement(two, hold)], b"r" * 16
        await worker.exchange(batch, request=request)
        until = case.now + 60 * SECOND
        case.clock.move(5)
        await worker.exchange(batch, request=request)
        assert (await gate(case, "g")).shut_until == until

    @scenario
    async def test_a_job_that_ends_for_good_holds_its_gate_too(self, case: Case) -> None:
        """With no attempt left the server has still said when it wants to hear from us."""
        await add(case, 1, places(), attempts_max=1)
        worker = await case.worker()
        [one] = await claim(worker)
        hold = Tell("g", "shut", 60 * SECOND)
        await worker.finish(one, Failed(ERROR, delay=60 * SECOND, tells=(hold,)))
        assert (await case.job(one.id)).state == JobState.FAILED
        assert (await gate(case, "g")).room == 0
