"""What a bound on running jobs promises: never more, and no place left idle."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from treadle.core.durations import SECOND
from treadle.core.gates.gate import write_gates
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Released, Succeeded
from treadle.store.contract import BATCH_MAX
from treadle.testing.conformance.gates.kit import add, claim, finish, gate, places
from treadle.testing.conformance.kit import Case, ids_of, new_job, scenario, settlement, take


class TestPlaces:
    """At most `quota` jobs of a gate run at once, in every worker together."""

    @scenario
    async def test_the_first_of_a_batch_says_how_many(self, case: Case) -> None:
        """Where jobs that come together disagree about their gate, no chance says which counts."""
        batch = [new_job(gates=write_gates([places(quota=quota)])) for quota in range(3, 9)]
        await case.store.enqueue(new_id(), batch)
        assert ids_of(await claim(await case.worker())) == [job.id for job in batch[:3]]

    @scenario
    async def test_no_more_than_the_quota_run(self, case: Case) -> None:
        """Two workers together are given as many as there are places, the best first."""
        ids = await add(case, 5, places(quota=2))
        hands = [await case.worker("w1"), await case.worker("w2", store=await case.other())]
        taken = [ids_of(await claim(hand)) for hand in hands]
        assert taken == [ids[:2], []]
        assert await case.states(ids) == ["running"] * 2 + ["blocked"] * 3

    @scenario
    async def test_jobs_with_other_gates_between_them_take_the_same_places(
        self, case: Case
    ) -> None:
        """One batch of two kinds of jobs by turns gets the places of the gate that both have."""
        ids = []
        for _ in range(4):
            ids += await add(case, 1, places("shared", 5))
            ids += await add(case, 1, places("own", 9), places("shared", 5))
        worker = await case.worker()
        running = await claim(worker)
        used = [(await gate(case, name)).used for name in ("shared", "own")]
        assert (ids_of(running), used) == (ids[:5], [5, 2])
        await finish(worker, *running)
        assert (ids_of(await claim(worker)), (await gate(case, "shared")).used) == (ids[5:], 3)

    @scenario
    async def test_a_place_that_is_free_is_taken_in_the_same_exchange(self, case: Case) -> None:
        """Settling one job and claiming the next of its gate need one call."""
        ids = await add(case, 3, places())
        worker = await case.worker()
        [first] = await claim(worker)
        answer = await worker.exchange([settlement(first, Succeeded(None))], take(5))
        more = list(answer.claims) or await claim(worker)
        assert ids_of(more) == ids[1:2]

    @scenario
    async def test_jobs_behind_a_shut_gate_hide_no_other_job(self, case: Case) -> None:
        """A worker that asks until nothing more comes is given what can run."""
        await add(case, 700, places())
        [other] = await case.add()
        worker = await case.worker()
        taken = await claim(worker, 10)
        assert len(taken) == 2
        assert other in ids_of(taken)

    @scenario
    async def test_a_parked_job_tells_where_it_waits(self, case: Case) -> None:
        """Its reason is `gate`, and its record names the gate."""
        ids = await add(case, 2, places("stripe"))
        worker = await case.worker()
        await claim(worker)
        record = await case.job(ids[1])
        assert (record.state, record.reason, record.gate) == (JobState.BLOCKED, "gate", "stripe")
        assert (await gate(case, "stripe")).waiting == 1

    @scenario
    async def test_a_job_that_comes_while_the_gate_is_shut_is_parked_at_once(
        self, case: Case
    ) -> None:
        """It never becomes ready, and the answer to its enqueue says so."""
        await add(case, 1, places())
        worker = await case.worker()
        await claim(worker)
        raw = write_gates([places()])
        states = await case.store.enqueue(new_id(), [new_job(gates=raw), new_job()])
        assert list(states) == [JobState.BLOCKED, JobState.READY]

    @scenario
    async def test_a_delayed_job_is_parked_when_its_time_comes(self, case: Case) -> None:
        """Due and behind a shut gate, it waits at the gate and not among the ready."""
        await add(case, 1, places())
        [late] = await add(case, 1, places(), delay=5 * SECOND)
        worker = await case.worker()
        await claim(worker)
        case.clock.move(6)
        await case.store.stage((), 10)
        assert await case.states([late]) == ["blocked"]

    @scenario
    async def test_the_best_job_is_woken_first(self, case: Case) -> None:
        """Priority decides among those that wait, then age."""
        await add(case, 1, places())
        worker = await case.worker()
        [running] = await claim(worker)
        low = await add(case, 2, places(), priority=-5)
        high = await add(case, 1, places(), priority=5)
        order = []
        for _ in range(3):
            await finish(worker, running)
            [running] = await claim(worker)
            order.append(running.id)
        assert order == [*high, *low]

    @scenario
    async def test_a_job_does_not_overtake_those_that_wait(self, case: Case) -> None:
        """One that comes just as a place is free waits behind the parked ones."""
        await add(case, 1, places())
        worker = await case.worker()
        [running] = await claim(worker)
        waiting = await add(case, 2, places())
        await finish(worker, running)
        new = await add(case, 1, places())
        order = []
        for _ in range(3):
            [running] = await claim(worker)
            order += [running.id]
            await finish(worker, running)
        assert order == [*waiting, *new]

    @scenario
    async def test_each_key_has_places_of_its_own(self, case: Case) -> None:
        """A gate that is full keeps no job of another gate back."""
        ids = [
            *(await add(case, 3, places("account:1"))),
            *(await add(case, 3, places("account:2"))),
        ]
        worker = await case.worker()
        assert ids_of(await claim(worker)) == [ids[0], ids[3]]

    @scenario
    async def test_a_job_takes_all_its_gates_or_none(self, case: Case) -> None:
        """One that cannot pass its second gate holds no place of its first."""
        await add(case, 1, places("b"))
        worker = await case.worker()
        [blocker] = await claim(worker)
        [both] = await add(case, 1, places("a"), places("b"))
        [single] = await add(case, 1, places("a"))
        assert ids_of(await claim(worker)) == [single]
        assert (await case.job(both)).gate == "b"
        await finish(worker, blocker)
        assert await claim(worker) == []
        assert (await case.job(both)).gate == "a"

    @scenario
    async def test_a_woken_job_that_parks_again_passes_its_place_on(self, case: Case) -> None:
        """The place that it could not use is used by the next one within a second."""
        worker = await case.worker()
        await add(case, 1, places("a"))
        await add(case, 1, places("b"))
        first, second = await claim(worker)
        [both] = await add(case, 1, places("a"), places("b"))
        [single] = await add(case, 1, places("a"))
        await finish(worker, first)
        case.clock.move(1)
        assert ids_of(await claim(worker)) == [single]
        await finish(worker, second)
        assert await claim(worker) == []
        assert (await case.job(both)).gate == "a"

    @scenario
    async def test_a_woken_job_that_is_cancelled_passes_its_place_on(self, case: Case) -> None:
        """A second later the next one may have it."""
        ids = await add(case, 3, places())
        worker = await case.worker()
        [running] = await claim(worker)
        await finish(worker, running)
        await case.store.stage((), 10)
        assert await case.states(ids[1:]) == ["ready", "blocked"]
        await case.store.cancel(ids[1:2])
        case.clock.move(1)
        assert ids_of(await claim(worker)) == ids[2:]

    @scenario
    async def test_the_newest_definition_counts(self, case: Case) -> None:
        """Enqueueing with another quota changes the gate for every job that waits."""
        ids = await add(case, 4, places(quota=1))
        worker = await case.worker()
        await claim(worker)
        case.clock.move(1)
        ids += await add(case, 1, places(quota=3))
        assert ids_of(await claim(worker)) == ids[1:3]

    @scenario
    async def test_a_batch_that_is_sent_again_changes_nothing(self, case: Case) -> None:
        """The jobs that run and those that are parked stay what they are."""
        jobs = [new_job(gates=write_gates([places()])) for _ in range(2)]
        request = new_id()
        await case.store.enqueue(request, jobs)
        worker = await case.worker()
        await claim(worker)
        await case.store.enqueue(request, jobs)
        assert await case.states([job.id for job in jobs]) == ["running", "blocked"]
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_an_exchange_that_is_sent_again_takes_no_second_place(self, case: Case) -> None:
        """The same request gives the same claims, and the gate counts them once."""
        ids = await add(case, 3, places(quota=2))
        worker = await case.worker()
        request = new_id()
        first = await worker.exchange(demand=take(1), request=request)
        again = await worker.exchange(demand=take(1), request=request)
        assert ids_of(first.claims) == ids_of(again.claims) == ids[:1]
        assert (await gate(case, "g")).used == 1

    @scenario
    async def test_a_settlement_that_is_lost_frees_nothing(self, case: Case) -> None:
        """The place belongs to the claim that runs, not to one that is over."""
        await add(case, 2, places())
        worker = await case.worker()
        [old] = await claim(worker)
        await worker.finish(old, Released())
        [new] = await claim(worker)
        await worker.settle(settlement(old, Succeeded(None)))
        assert (await gate(case, "g")).used == 1
        assert new.number > old.number

    @scenario
    async def test_a_whole_batch_passes_a_gate_that_does_not_bind(self, case: Case) -> None:
        """A thousand jobs behind a wide gate come in one exchange, in their order."""
        ids = await add(case, BATCH_MAX, places(quota=5_000))
        worker = await case.worker()
        claims = (await worker.exchange(demand=take(BATCH_MAX))).claims
        assert ids_of(claims) == ids
        await worker.settle(*(settlement(one, Succeeded(None)) for one in claims))
        assert (await gate(case, "g")).used == 0

    @scenario
    async def test_a_bound_holds_among_jobs_of_several_priorities(self, case: Case) -> None:
        """Bounded jobs that come while a worker drains others are bounded from the first one."""
        for priority in (5, 0):
            await add(case, 60, priority=priority)
        worker = await case.worker()
        claims = (await worker.exchange(demand=take(100))).claims
        bounded = await add(case, 5, places(), priority=3)
        batch = [settlement(one, Succeeded(None)) for one in claims]
        claims = [*(await worker.exchange(batch, take(10))).claims, *await claim(worker)]
        assert len({one.id for one in claims} & set(bounded)) == 1
        assert (await gate(case, "g")).used == 1


class TestPlacesGoOn:
    """Who gets the next place, where several want it."""

    @scenario
    async def test_a_place_is_for_the_queue_that_is_named_first(self, case: Case) -> None:
        """Whatever the priority and the age of the jobs in the queues behind it."""
        await add(case, 2, places(), queue="bulk", priority=5)
        [urgent] = await add(case, 1, places(), queue="urgent")
        worker = await case.worker()
        claims = (await worker.exchange(demand=take(10, "urgent", "bulk"))).claims
        assert ids_of(claims) == [urgent]

    @scenario
    async def test_a_newcomer_takes_no_woken_job_its_place(self, case: Case) -> None:
        """What was woken and is not claimed yet counts on while others are parked behind it."""
        ids = await add(case, 6, places(quota=2))
        worker = await case.worker()
        first, second = await claim(worker)
        await finish(worker, first)
        await add(case, 1, places(quota=2))
        await finish(worker, second)
        assert await case.states(ids[2:]) == ["ready", "ready", "blocked", "blocked"]

    @scenario
    async def test_a_place_is_not_kept_for_a_job_that_another_gate_keeps(self, case: Case) -> None:
        """That job waits at the other gate from now on, and the next one gets the place at once."""
        worker = await case.worker()
        await add(case, 1, places("a"))
        await add(case, 1, places("b"))
        first, second = await claim(worker)
        [both] = await add(case, 1, places("a"), places("b"), queue="nobody's", priority=5)
        [single] = await add(case, 1, places("a"))
        await finish(worker, first)
        await case.store.stage((), 10)
        assert ids_of(await worker.claim(5, "default")) == [single]
        assert (await case.job(both)).gate == "b"
        await finish(worker, second)
        await case.store.stage((), 10)
        assert (await case.job(both)).gate == "a"

    @scenario
    async def test_a_woken_job_that_a_claim_leaves_keeps_its_place(self, case: Case) -> None:
        """Whatever a claim has seen of its other gate, nobody else is woken for what is its own."""
        worker = await case.worker()
        await add(case, 1, places("b"))
        [running] = await claim(worker)
        [best] = await add(case, 1, places("a"), places("b"), queue="late", priority=5)
        await add(case, 1, places("b"), queue="early")
        await finish(worker, running)
        found: list[bytes] = []
        for _ in range(5):
            found += ids_of((await worker.exchange(demand=take(5, "early", "late"))).claims)
            await case.store.stage((), 10)
        assert found == [best]
