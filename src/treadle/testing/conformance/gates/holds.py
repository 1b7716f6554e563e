"""What a hold promises: a limit that is used outside jobs is the same limit."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from treadle.core.durations import SECOND
from treadle.core.gates.gate import SWITCH, GateUse
from treadle.core.job import JobState
from treadle.store.parts.holding import ASKS_FOR
from treadle.testing.conformance.gates.kit import add, claim, finish, gate, places, rate
from treadle.testing.conformance.kit import Case, ids_of, scenario

LEASE = 10 * SECOND
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


async def holds(case: Case, use: GateUse, token: bytes) -> bool:
    """Ask for a hold; tell whether it is held."""
    return (await case.store.hold_take(use, token, LEASE)).is_held


class TestHeldOutside:
    """Who holds a gate counts among what it bounds, until he lets go or his lease ends."""

    @scenario
    async def test_jobs_and_holds_share_the_places(self, case: Case) -> None:
        """With two places and one held, one job runs; the next one runs when it is let go."""
        use = places(quota=2)
        assert await holds(case, use, A)
        ids = await add(case, 3, use)
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:1]
        shown = await gate(case, "g")
        assert (shown.used, shown.holds, shown.waiting) == (2, 1, 2)
        assert not await holds(case, use, B)
        assert await case.store.hold_free("g", B)
        assert await case.store.hold_free("g", A)
        assert ids_of(await claim(worker)) == ids[1:2]
        assert (await gate(case, "g")).holds == 0

    @scenario
    async def test_no_more_hold_than_there_are_places(self, case: Case) -> None:
        """The third of three waits until one of the others lets go."""
        use = places(quota=2)
        assert [await holds(case, use, token) for token in (A, B, C)] == [True, True, False]
        assert (await gate(case, "g")).asking == 1
        assert await case.store.hold_free("g", A)
        assert await holds(case, use, C)
        assert (await gate(case, "g")).used == 2

    @scenario
    async def test_a_take_that_is_sent_again_takes_nothing_more(self, case: Case) -> None:
        """The same token has the same place, and the same start of a rate."""
        assert await holds(case, places(quota=2), A)
        assert await holds(case, places(quota=2), A)
        assert (await gate(case, "g")).used == 1
        assert await holds(case, rate(burst=2), A)
        assert await holds(case, rate(burst=2), A)
        assert (await gate(case, "r")).room == 1

    @scenario
    async def test_an_end_that_is_sent_again_ends_nothing_more(self, case: Case) -> None:
        """The second one says that there was nothing to end, and frees no other's place."""
        assert await holds(case, places(quota=2), A)
        assert await holds(case, places(quota=2), B)
        assert await case.store.hold_free("g", A)
        assert not await case.store.hold_free("g", A)
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_a_hold_falls_with_its_lease(self, case: Case) -> None:
        """Upkeep takes it away, and the job that waited for its place runs."""
        use = places()
        assert await holds(case, use, A)
        ids = await add(case, 1, use)
        worker = await case.worker()
        assert await claim(worker) == []
        case.clock.move(11)
        await case.store.prune(100)
        assert ids_of(await claim(worker)) == ids
        assert not await case.store.hold_renew("g", A, LEASE)
        assert not await case.store.hold_free("g", A)
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_who_asks_needs_no_upkeep(self, case: Case) -> None:
        """Where no worker runs, the next one who asks takes the place of a holder who died."""
        assert await holds(case, places(), A)
        case.clock.move(11)
        assert await holds(case, places(), B)
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_a_hold_that_is_renewed_stays(self, case: Case) -> None:
        """Each renewal counts from its own time, and upkeep leaves the place alone."""
        assert await holds(case, places(), A)
        for _ in range(3):
            case.clock.move(9)
            assert await case.store.hold_renew("g", A, LEASE)
            await case.store.prune(100)
        shown = await gate(case, "g")
        assert (shown.used, shown.holds) == (1, 1)
        assert not await holds(case, places(), B)

    @scenario
    async def test_upkeep_counts_holds_and_jobs(self, case: Case) -> None:
        """What it finds in use is what both have, for as long as they have it."""
        use = places(quota=3)
        await add(case, 1, use)
        worker = await case.worker()
        await claim(worker)
        assert await holds(case, use, A)
        case.clock.move(1)
        await case.store.prune(100)
        assert (await gate(case, "g")).used == 2

    @scenario
    async def test_a_gate_that_is_held_is_not_forgotten(self, case: Case) -> None:
        """Hours later its place is still counted."""
        assert await holds(case, places(), A)
        for _ in range(4):
            case.clock.move(3_600)
            assert await case.store.hold_renew("g", A, LEASE)
            await case.store.prune(100)
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_a_rate_is_spent_by_holds_and_jobs(self, case: Case) -> None:
        """What one takes the other does not find, and the answer says when to ask again."""
        use = rate(burst=2)
        assert await holds(case, use, A)
        ids = await add(case, 2, use)
        worker = await case.worker()
        assert ids_of(await claim(worker)) == ids[:1]
        taken = await case.store.hold_take(rate("other"), B, LEASE)
        taken = await case.store.hold_take(rate("other"), C, LEASE)
        assert (taken.is_held, taken.wait) == (False, SECOND)
        case.clock.move(1)
        assert await holds(case, rate("other"), C)
        assert ids_of(await claim(worker)) == ids[1:]

    @scenario
    async def test_the_end_of_a_hold_gives_no_start_back(self, case: Case) -> None:
        """A rate bounds starts, whatever became of them."""
        assert await holds(case, rate(), A)
        assert await case.store.hold_free("r", A)
        assert not await holds(case, rate(), B)

    @scenario
    async def test_a_dear_hold_takes_what_it_costs(self, case: Case) -> None:
        """It waits until there is as much, and one dearer than the bucket for a full one."""
        assert await holds(case, rate(burst=5, cost=3), A)
        assert not await holds(case, rate(burst=5, cost=3), B)
        case.clock.move(1)
        assert await holds(case, rate(burst=5, cost=3), B)
        assert not await holds(case, rate(burst=5, cost=9), C)
        case.clock.move(4)
        assert not await holds(case, rate(burst=5, cost=9), C)
        case.clock.move(1)
        assert await holds(case, rate(burst=5, cost=9), C)

    @scenario
    async def test_a_paused_gate_lets_nobody_through(self, case: Case) -> None:
        """Who holds it goes on, who asks waits until it is open, at the instant that is said."""
        use = places(quota=2)
        assert await holds(case, use, A)
        await case.store.shut_gate("g", delay=3 * SECOND)
        taken = await case.store.hold_take(use, B, LEASE)
        assert (taken.is_held, taken.wait) == (False, 3 * SECOND)
        assert await case.store.hold_renew("g", A, LEASE)
        case.clock.move(3)
        assert await holds(case, use, B)

    @scenario
    async def test_the_newest_definition_counts(self, case: Case) -> None:
        """A hold brings one along as a job does, and numbers set at run time stand above both."""
        assert await holds(case, places(quota=1), A)
        case.clock.move(1)
        assert await holds(case, places(quota=2), B)
        await case.store.set_gate(places(quota=3))
        case.clock.move(1)
        assert await holds(case, places(quota=1), C)

    @scenario
    async def test_a_switch_lets_everybody_through(self, case: Case) -> None:
        """It bounds nothing while it is open."""
        use = GateUse("s", SWITCH)
        assert [await holds(case, use, token) for token in (A, B, C)] == [True] * 3
        assert (await gate(case, "s")).used == 0


class TestHoldsInLine:
    """Jobs and those who ask take turns, so that neither keeps the other out."""

    @scenario
    async def test_who_asks_first_passes_first(self, case: Case) -> None:
        """One that asks later does not take the place that was let go meanwhile."""
        assert await holds(case, places(), A)
        assert not await holds(case, places(), B)
        case.clock.move(1)
        assert not await holds(case, places(), C)
        assert await case.store.hold_free("g", A)
        assert not await holds(case, places(), C)
        assert await holds(case, places(), B)

    @scenario
    async def test_who_asks_is_told_how_many_stand_before_him(self, case: Case) -> None:
        """Those who left the line, or ask no more, do not count."""

        async def ahead(token: bytes) -> int:
            case.clock.move(0.001)
            return (await case.store.hold_take(places(), token, LEASE)).ahead

        assert await holds(case, places(), A)
        tokens = [bytes([n]) * 16 for n in (9, 5, 7, 6)]
        assert [await ahead(token) for token in tokens] == [0, 1, 2, 3]
        await case.store.hold_free("g", tokens[0])
        case.clock.move(0.6 * ASKS_FOR / SECOND)
        assert [await ahead(token) for token in tokens[2:]] == [1, 2]
        case.clock.move(0.6 * ASKS_FOR / SECOND)
        assert [await ahead(token) for token in tokens[2:]] == [0, 1]

    @scenario
    async def test_who_asks_no_more_loses_his_turn(self, case: Case) -> None:
        """One that died in the line, or left it, holds nobody up."""
        assert await holds(case, places(), A)
        assert not await holds(case, places(), B)
        assert await case.store.hold_free("g", A)
        case.clock.move(ASKS_FOR / SECOND)
        assert await holds(case, places(), C)
        assert not await holds(case, places(), A)
        assert not await holds(case, places(), B)
        assert await case.store.hold_free("g", A)
        assert await case.store.hold_free("g", C)
        assert await holds(case, places(), B)

    @scenario
    async def test_jobs_that_wait_do_not_keep_a_hold_out(self, case: Case) -> None:
        """After the next job it is the turn of who asks, however many jobs are parked."""
        ids = await add(case, 5, places())
        worker = await case.worker()
        [first] = await claim(worker)
        assert not await holds(case, places(), A)
        await finish(worker, first)
        [second] = await claim(worker)
        assert second.id == ids[1]
        await finish(worker, second)
        assert await claim(worker) == []
        assert await holds(case, places(), A)
        assert await case.store.hold_free("g", A)
        assert ids_of(await claim(worker)) == ids[2:3]

    @scenario
    async def test_who_ask_do_not_keep_jobs_out(self, case: Case) -> None:
        """While others ask and ask, each second place goes to a job."""
        assert await holds(case, places(), A)
        ids = await add(case, 2, places())
        worker = await case.worker()
        assert await claim(worker) == []
        order = []
        tokens = [bytes([n]) * 16 for n in range(3)]
        for token in tokens:
            assert not await holds(case, places(), token)
        await case.store.hold_free("g", A)
        for _ in range(10):
            for one in await claim(worker):
                order.append(one.id)
                await finish(worker, one)
            for token in tokens:
                if token not in order and await holds(case, places(), token):
                    order.append(token)
                    await case.store.hold_free("g", token)
        assert sorted(order) == sorted([*ids, *tokens])
        assert order.index(ids[1]) < order.index(tokens[2])
        assert order.index(tokens[0]) < order.index(ids[1])

    @scenario
    async def test_a_new_job_does_not_overtake_who_asks(self, case: Case) -> None:
        """It is parked, though there is room just then, and runs when its turn comes."""
        assert await holds(case, places(), A)
        assert not await holds(case, places(), B)
        assert await case.store.hold_free("g", A)
        [job] = await add(case, 1, places())
        assert await case.states([job]) == [JobState.BLOCKED]
        worker = await case.worker()
        assert not (await worker.exchange()).claims
        assert await holds(case, places(), B)
        assert await case.store.hold_free("g", B)
        assert ids_of(await claim(worker)) == [job]

    @scenario
    async def test_who_asks_passes_where_no_worker_runs(self, case: Case) -> None:
        """Jobs that nobody claims hold him up for a second."""
        assert await holds(case, places(), A)
        await add(case, 5, places())
        assert not await holds(case, places(), B)
        await case.store.hold_free("g", A)
        assert not await holds(case, places(), B)
        case.clock.move(1)
        assert await holds(case, places(), B)
