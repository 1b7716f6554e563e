"""What claiming promises: which jobs `exchange` gives, to whom, and how many."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState
from treadle.core.lanes import Demand, Share
from treadle.core.outcome import Released, Succeeded
from treadle.store.contract import BATCH_MAX, Store
from treadle.testing.conformance.kit import (
    ANY_LIMIT,
    Case,
    Hand,
    ids_of,
    scenario,
    settlement,
    take,
    worker_info,
)

LOOPS = 8


class TestClaim:
    """A claim is atomic with its attempt, its number and its worker."""

    @scenario
    async def test_a_claim_carries_what_execution_needs(self, case: Case) -> None:
        """Attempt and number are raised, worker and start are written, the job is whole."""
        [job] = await case.add(
            queue="mail", priority=3, args=b"[[1],{}]", attempts_max=7, policy=b'{"base":1}',
            tags=b'["a"]', meta=b'{"k":1}', tenant="acme", expires_in=60 * SECOND,
        )  # fmt: skip
        created = case.now
        case.clock.move(2)
        worker = await case.worker("w1")
        assert await worker.claim() == [
            Claim(
                job, 1, "shop.mail", "mail", 3, 1, b"[[1],{}]", attempts_max=7,
                policy=b'{"base":1}', created_at=created, run_at=created,
                expires_at=created + 60 * SECOND, started_at=case.now, tags=b'["a"]',
                meta=b'{"k":1}', tenant="acme",
            )
        ]  # fmt: skip
        record = await case.job(job)
        assert (record.state, record.worker, record.started_at) == ("running", "w1", case.now)
        assert (record.attempt, record.claim) == (1, 1)

    @scenario
    async def test_a_claim_says_when_its_job_was_due(self, case: Case) -> None:
        """It is told from when the job was made, wherever the two differ, and only there."""
        created = case.now
        ids = await case.add()
        ids += await case.add(at=created - SECOND)
        ids += await case.add(delay=SECOND)
        case.clock.move(2)
        assert await case.store.stage([], ANY_LIMIT) == 1
        claims = {claim.id: claim for claim in await (await case.worker()).claim(3)}
        assert [claims[id_].run_at - created for id_ in ids] == [0, -SECOND, SECOND]
        assert {claim.created_at for claim in claims.values()} == {created}

    @scenario
    async def test_each_claim_raises_the_number(self, case: Case) -> None:
        """A claim given back unspent returns the attempt, never the number."""
        await case.add()
        worker = await case.worker()
        for number in range(1, 5):
            [claim] = await worker.claim()
            assert (claim.number, claim.attempt) == (number, 1)
            await worker.finish(claim, Released())

    @scenario
    async def test_jobs_alike_are_claimed_in_the_order_they_came(self, case: Case) -> None:
        """First in, first out, over several claims."""
        ids = await case.add(25)
        worker = await case.worker()
        found = [ids_of(await worker.claim(limit)) for limit in (1, 7, 50)]
        assert found == [ids[:1], ids[1:8], ids[8:]]

    @scenario
    async def test_two_workers_never_hold_the_same_job(self, case: Case) -> None:
        """Workers that take turns share the jobs out."""
        ids = await case.add(40)
        hands = [await case.worker("w1"), await case.worker("w2", store=await case.other())]
        taken: list[bytes] = []
        for turn in range(20):
            taken += ids_of(await hands[turn % 2].claim(3))
        assert taken == ids

    @scenario
    async def test_workers_that_claim_at_the_same_time_share_the_jobs(self, case: Case) -> None:
        """Eight loops at once, each settling what it took: every job is given exactly once."""
        ids = await case.add(400)
        if not case.store.features.shared:
            loops = (_drain(case.store, f"w{n}") for n in range(LOOPS))
            taken = await asyncio.gather(*loops)
        else:
            taken = await asyncio.to_thread(_drain_in_threads, case)
        assert sorted(job for part in taken for job in part) == ids
        assert set(await case.states(ids)) == {JobState.SUCCEEDED}

    @scenario
    async def test_a_claim_without_demand_takes_nothing(self, case: Case) -> None:
        """Settling alone leaves ready jobs where they are."""
        [job] = await case.add()
        worker = await case.worker()
        assert list((await worker.exchange(demand=None)).claims) == []
        assert list((await worker.exchange(demand=Demand(0, (Share(None, 5),)))).claims) == []
        assert (await case.job(job)).state == JobState.READY

    @scenario
    async def test_an_unknown_worker_is_gone_and_gets_nothing(self, case: Case) -> None:
        """Only a registered worker is given claims."""
        [job] = await case.add()
        stranger = Hand(case.store, worker_info("stranger"))
        answer = await stranger.exchange(demand=take(5))
        assert (answer.gone, list(answer.claims)) == (True, [])
        assert (await case.job(job)).state == JobState.READY

    @scenario
    async def test_a_worker_that_left_is_gone_and_gets_nothing(self, case: Case) -> None:
        """A worker that left is as unknown as one that never came."""
        await case.add()
        worker = await case.worker()
        await case.store.leave(worker.name)
        answer = await worker.exchange(demand=take(5))
        assert (answer.gone, list(answer.claims)) == (True, [])


async def _drain(store: Store, name: str) -> list[bytes]:
    """Claim and settle by five until nothing is left."""
    worker = Hand(store, worker_info(name))
    await worker.register()
    taken: list[bytes] = []
    claims = await worker.claim(5)
    while claims:
        taken += ids_of(claims)
        answer = await worker.exchange([settlement(c, Succeeded(None)) for c in claims], take(5))
        claims = list(answer.claims)
    return taken


def _drain_in_threads(case: Case) -> list[list[bytes]]:
    """Drain with a loop, a thread and a store each, all let go at the same moment."""
    start = threading.Barrier(LOOPS)

    async def play(name: str) -> list[bytes]:
        async with Case(case.make, case.clock) as own:
            start.wait(timeout=20)
            return await _drain(own.store, name)

    with ThreadPoolExecutor(LOOPS) as threads:
        parts = threads.map(lambda n: asyncio.run(play(f"w{n}")), range(LOOPS))
        return list(parts)


class TestLimits:
    """A claim is bounded, and says whether to ask again."""

    @scenario
    async def test_total_and_step_both_bound_a_claim(self, case: Case) -> None:
        """Neither the whole demand nor any of its shares is exceeded."""
        ids = await case.add(10)
        worker = await case.worker()
        by_total = await worker.exchange(demand=Demand(3, (Share(None, 9),)))
        by_share = await worker.exchange(demand=Demand(9, (Share("default", 2),)))
        found = [ids_of(by_total.claims), ids_of(by_share.claims)]
        assert found == [ids[:3], ids[3:5]]

    @scenario
    async def test_more_is_said_while_there_is_ready_work(self, case: Case) -> None:
        """A worker told of no more may sleep; one that left work behind is told to ask again."""
        await case.add(5)
        worker = await case.worker()
        assert (await worker.exchange(demand=take(3))).more
        assert not (await worker.exchange(demand=take(9))).more
        assert not (await worker.exchange(demand=take(9))).more

    @scenario
    async def test_the_loop_goes_on_during_an_exchange_where_the_store_says_so(
        self, case: Case
    ) -> None:
        """A worker asks early for its next jobs there, and only there gains by it."""
        await case.add(BATCH_MAX)
        worker = await case.worker()
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(turn())
        await asyncio.sleep(0)
        before = turns
        for _ in range(20):  # An answer that is there at once leaves the loop no turn.
            await worker.exchange(demand=take(BATCH_MAX // 20))
        assert (turns > before) == case.store.features.beside_loop
        beside.cancel()

    @scenario
    async def test_next_due_is_the_time_to_the_next_waiting_job(self, case: Case) -> None:
        """It counts from now, over every queue, and is None when nothing waits."""
        worker = await case.worker()
        assert (await worker.exchange(demand=take(1))).next_due is None
        await case.add(delay=90 * SECOND)
        await case.add(delay=40 * SECOND, queue="far")
        case.clock.move(10)
        answer = await worker.exchange(demand=take(1, "default"))
        assert answer.next_due == 30 * SECOND

    @scenario
    async def test_a_job_past_its_expiry_is_expired_rather_than_claimed(self, case: Case) -> None:
        """It is not given out, no attempt is spent on it, and its neighbours are."""
        stale = await case.add(3, expires_in=SECOND)
        [fresh] = await case.add(expires_in=60 * SECOND)
        case.clock.move(1)
        worker = await case.worker()
        taken = await worker.claim(10) + await worker.claim(10)
        assert ids_of(taken) == [fresh]
        assert set(await case.states(stale)) == {JobState.EXPIRED}
        record = await case.job(stale[0])
        assert (record.attempt, record.finished_at, record.worker) == (0, case.now, None)
        assert list(await case.store.attempts(stale[0])) == []

    @scenario
    async def test_expired_jobs_do_not_hide_the_work_behind_them(self, case: Case) -> None:
        """A claim that met only late jobs gives what comes after, or says to ask again."""
        await case.add(3, expires_in=SECOND)
        fresh = await case.add(2)
        case.clock.move(1)
        worker = await case.worker()
        taken: list[bytes] = []
        for _ in range(5):
            answer = await worker.exchange(demand=take(2))
            taken += ids_of(answer.claims)
            if not answer.more:
                break
        assert taken == fresh

    @pytest.mark.parametrize("demand", [take(5), take(5, "mail"), take(5, "default", "mail")])
    @scenario
    async def test_a_paused_queue_gives_nothing(self, case: Case, demand: Demand) -> None:
        """Neither by its name nor merged with others; what waits in it is no more work."""
        await case.add(3, queue="mail", priority=9)
        others = await case.add(2)
        await case.store.pause("mail")
        worker = await case.worker()
        answer = await worker.exchange(demand=demand)
        assert set(ids_of(answer.claims)) <= set(others)
        answer = await worker.exchange(demand=demand)
        assert (list(answer.claims), answer.more) == ([], False)
        await case.store.resume("mail")
        answer = await worker.exchange(demand=demand)
        assert {claim.queue for claim in answer.claims if claim.id not in others} == {"mail"}

    @scenario
    async def test_a_queue_may_be_paused_before_its_first_job(self, case: Case) -> None:
        """The pause waits for the jobs."""
        assert await case.store.pause("late")
        await case.add(queue="late")
        worker = await case.worker()
        assert await worker.claim(5) == await worker.claim(5, "late") == []

    @scenario
    async def test_now_moves_a_claims_time(self, case: Case) -> None:
        """`now=` is the start of the attempt and judges the expiry."""
        await case.add(2, expires_in=10 * SECOND)
        worker = await case.worker()
        at = [case.now + SECOND, case.now + 10 * SECOND]
        answers = [
            await case.store.exchange(worker.name, new_id(), (), take(1), now=now) for now in at
        ]
        assert [[c.started_at for c in answer.claims] for answer in answers] == [at[:1], []]
