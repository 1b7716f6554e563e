"""Fairness between tenants: whose job goes first, however much another one has waiting."""

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.lanes import Demand, Share
from treadle.core.outcome import Succeeded
from treadle.testing.conformance.kit import Case, ids_of, new_job, scenario, settlement, take
from treadle.testing.conformance.tenants.kit import add, turns

MANY = 20_000


class TestTurns:
    """Tenants take turns in a queue."""

    @scenario
    async def test_a_late_tenant_is_served_in_turn(self, case: Case) -> None:
        """Its jobs alternate with those that another tenant had waiting before."""
        first = await add(case, "a", 50)
        await add(case, "b", 3)
        claims = await (await case.worker()).claim(9)
        assert turns(claims) == "abababaaa"
        assert ids_of([claim for claim in claims if claim.args == b"a"]) == first[:6]

    @scenario
    async def test_thousands_of_jobs_do_not_keep_another_tenant_waiting(self, case: Case) -> None:
        """The first job of another tenant is the second to be claimed."""
        for _ in range(MANY // 1_000):
            await add(case, "a", 1_000)
        await add(case, "b")
        assert turns(await (await case.worker()).claim(2)) == "ab"

    @scenario
    async def test_a_batch_gets_a_turn_for_each_of_its_jobs(self, case: Case) -> None:
        """Two batches of a thousand share the claims half and half to the last job."""
        await add(case, "a", 1_000)
        await add(case, "b", 1_000)
        worker = await case.worker()
        assert turns([*await worker.claim(1_000), *await worker.claim(1_000)]) == "ab" * 1_000

    @scenario
    async def test_a_tenant_is_served_where_the_queue_has_come_to(self, case: Case) -> None:
        """One that comes late does not make up for turns that it did not ask for."""
        await add(case, "a", 30)
        worker = await case.worker()
        await worker.claim(20)
        await add(case, "b", 8)
        assert turns(await worker.claim(12)) == "ab" * 6

    @scenario
    async def test_three_tenants_in_one_batch_take_turns(self, case: Case) -> None:
        """Of a batch that is mixed, each tenant's jobs are counted by themselves."""
        mixed = [new_job(tenant=name, args=name.encode()) for name in "aabbcc" * 3]
        await case.store.enqueue(new_id(), mixed)
        assert turns(await (await case.worker()).claim(9)) == "abcabcabc"

    @scenario
    async def test_jobs_of_nobody_go_first(self, case: Case) -> None:
        """They are claimed before those of tenants, in the order of their ids."""
        await add(case, "a", 3)
        ids = await add(case, None, 3)
        claims = await (await case.worker()).claim(6)
        assert turns(claims) == "---aaa"
        assert ids_of(claims)[:3] == ids

    @scenario
    async def test_jobs_of_nobody_give_a_newcomer_no_lead(self, case: Case) -> None:
        """While one waits, a new tenant still begins where the queue has come to."""
        await add(case, "a", 20)
        worker = await case.worker()
        await worker.claim(10)
        await add(case, None)
        await add(case, "b", 5)
        assert turns(await worker.claim(7)) == "-ababab"

    @scenario
    async def test_priority_stands_above_turns(self, case: Case) -> None:
        """Within each priority tenants take turns of their own."""
        await add(case, "a", 4)
        await add(case, "a", 3, priority=5)
        await add(case, "b", 2)
        await add(case, "b", 2, priority=5)
        assert turns(await (await case.worker()).claim(11)) == "ababa" + "ababaa"

    @scenario
    async def test_turns_are_of_one_queue(self, case: Case) -> None:
        """What a tenant has waiting in one queue costs it nothing in another."""
        await add(case, "a", 9, queue="bulk")
        await add(case, "b", 2, queue="mail")
        await add(case, "a", 2, queue="mail")
        worker = await case.worker()
        assert turns(await worker.claim(4, "mail")) == "baba"

    @scenario
    async def test_every_queue_merged_goes_by_turns(self, case: Case) -> None:
        """A claim from all queues takes the least turns of all, then the oldest job."""
        await add(case, "a", 3, queue="q1")
        await add(case, "b", 3, queue="q2")
        assert turns(await (await case.worker()).claim(6)) == "ababab"

    @scenario
    async def test_a_queue_that_was_empty_begins_where_the_others_are(self, case: Case) -> None:
        """Its tenants have no lead over those of a queue that has been served for long."""
        await add(case, "a", 30, queue="q1")
        worker = await case.worker()
        await worker.claim(20)
        await add(case, "b", 9, queue="q2")
        assert turns(await worker.claim(8)) == "abababab"

    @scenario
    async def test_a_newcomer_is_seen_in_mid_drain(self, case: Case) -> None:
        """A worker that settles and claims at once goes on to a new tenant's job, not past it."""
        await add(case, "a", 200)
        worker = await case.worker()
        claims = (await worker.exchange(demand=take(10))).claims
        for _ in range(4):
            done = [settlement(claim, Succeeded(None)) for claim in claims]
            claims = (await worker.exchange(done, take(10))).claims
        await add(case, "b", 2)
        await add(case, None)
        done = [settlement(claim, Succeeded(None)) for claim in claims]
        claims = (await worker.exchange(done, take(10))).claims
        assert turns(claims) == "-ababaaaaa"

    @scenario
    async def test_two_queues_are_drained_by_turns(self, case: Case) -> None:
        """A newcomer in either of two named queues is in the next claim of both."""
        await add(case, "a", 100, queue="q1")
        await add(case, "a", 100, queue="q2")
        worker = await case.worker()
        demand = Demand(10, (Share("q1", 5), Share("q2", 5)))
        claims = (await worker.exchange(demand=demand)).claims
        for _ in range(3):
            done = [settlement(claim, Succeeded(None)) for claim in claims]
            claims = (await worker.exchange(done, demand)).claims
        await add(case, "b", queue="q1")
        await add(case, "c", queue="q2")
        done = [settlement(claim, Succeeded(None)) for claim in claims]
        claims = (await worker.exchange(done, demand)).claims
        assert turns(claims) == "abaaa" + "acaaa"


class TestWeights:
    """A weight says how many turns a tenant has for one of the others."""

    @scenario
    async def test_a_weight_counts_for_jobs_that_become_ready_after_it(self, case: Case) -> None:
        """What waited before keeps its place; what comes after has twice the turns."""
        await add(case, "a", 8)
        await add(case, "b", 2)
        await case.store.set_tenant("b", 500)
        await add(case, "b", 6)
        worker = await case.worker()
        assert turns(await worker.claim(16)) == "ababbabbabbabaaa"

    @scenario
    async def test_a_light_tenant_waits_longer(self, case: Case) -> None:
        """A quarter of the weight is one turn for four."""
        await case.store.set_tenant("a", 4_000)
        await add(case, "a", 3)
        await add(case, "b", 9)
        assert turns(await (await case.worker()).claim(12)) == "abbbbabbbbab"

    @scenario
    async def test_weights_are_listed_and_forgotten(self, case: Case) -> None:
        """By name, a page at a time; one that is set to nothing counts as any other."""
        for name, stride in (("b", 500), ("a", 2_000), ("c", 10)):
            await case.store.set_tenant(name, stride)
        await case.store.set_tenant("b", 250)
        shown = [(one.name, one.stride) for one in await case.store.tenants(limit=2)]
        assert shown == [("a", 2_000), ("b", 250)]
        assert [one.name for one in await case.store.tenants(after="b")] == ["c"]
        assert [one.stride for one in await case.store.tenants(only="c")] == [10]
        await case.store.set_tenant("c", None)
        await case.store.set_tenant("c", None)
        assert list(await case.store.tenants(only="c")) == []
        await add(case, "c", 2)
        await add(case, "x", 2)
        assert turns(await (await case.worker()).claim(4)) == "cxcx"


class TestFree:
    """What does not wait to be claimed costs its tenant no turn."""

    @scenario
    async def test_cancelled_and_purged_jobs_cost_nothing(self, case: Case) -> None:
        """A tenant that took its jobs back stands as if it had never sent them."""
        gone = await add(case, "a", 50)
        await add(case, "b", 4)
        await case.store.cancel(gone)
        await add(case, "a", 4)
        worker = await case.worker()
        assert turns(await worker.claim(8)) == "babababa"
        await add(case, "a", 50)
        await case.store.purge("default", limit=100)
        await add(case, "b", 2)
        await add(case, "a", 2)
        assert turns(await worker.claim(4)) == "baba"

    @scenario
    async def test_delayed_jobs_cost_nothing_until_they_are_due(self, case: Case) -> None:
        """Then they get their turns behind what has come meanwhile."""
        await add(case, "a", 3, delay=SECOND)
        await add(case, "b", 4)
        await add(case, "a", 1)
        case.clock.move(2)
        await case.store.stage((), 100)
        assert turns(await (await case.worker()).claim(8)) == "baababab"
