"""A task that is paused: its jobs wait at the gate of their task, which they do not carry."""
# ruff: noqa: PLR2004 -- a literal in a test is the expected value

from treadle.core.durations import SECOND
from treadle.core.gates.gate import FOREVER
from treadle.core.gates.tells import Tell
from treadle.core.job import JobState
from treadle.core.lanes import Demand, Share
from treadle.core.outcome import Failed, Released, Snoozed, Succeeded
from treadle.testing.conformance.gates.kit import add, check_due, claim, finish, gate, places
from treadle.testing.conformance.kit import ERROR, Case, ids_of, scenario, settlement, take

MAIL = "task:shop.mail"


class TestPausedTasks:
    """The jobs of a paused task are parked when a claim meets them, and woken at its resume."""

    @scenario
    async def test_a_paused_task_starts_nothing_until_it_is_resumed(self, case: Case) -> None:
        """What runs goes on, other tasks' jobs are claimed, and resume wakes them in order."""
        mails = await case.add(3)
        worker = await case.worker()
        [running] = await worker.claim(1)
        await case.store.shut_gate(MAIL, note="wrong sender")
        bills = await case.add(2, task="shop.bill")
        mails += await case.add(2)
        assert ids_of(await claim(worker)) == bills
        shown = await gate(case, MAIL)
        assert (shown.kind, shown.waiting, shown.shut_until) == ("switch", 4, FOREVER)
        parked = await case.job(mails[1])
        assert (parked.state, parked.reason, parked.gate) == (JobState.BLOCKED, "gate", MAIL)
        await finish(worker, running)
        assert await case.store.open_gate(MAIL)
        claims = await claim(worker)
        assert ids_of(claims) == mails[1:]
        await finish(worker, *claims)
        assert set(await case.states(mails)) == {"succeeded"}

    @scenario
    async def test_parked_jobs_are_looked_at_no_more(self, case: Case) -> None:
        """Nothing is ready, nothing is due, and a claim finds nothing to do."""
        await case.add(20)
        await case.store.shut_gate(MAIL)
        worker = await case.worker()
        assert await claim(worker) == []
        assert not await case.store.ready(None)
        answer = await worker.exchange(demand=take(5))
        assert (answer.more, answer.next_due) == (False, None)

    @scenario
    async def test_a_pause_counts_from_the_next_claim_on(self, case: Case) -> None:
        """Also in the middle of a drain, for a worker that knows nothing of it, by any demand."""
        await case.add(200)
        for demand in (take(4), take(4, "default"), take(4, "other", "default")):
            worker = await case.worker()
            claims = await worker.claim(4)
            for _ in range(4):
                done = [settlement(one, Succeeded(None)) for one in claims]
                claims = list((await worker.exchange(done, demand)).claims)
                assert len(claims) == 4
            await (await case.other()).shut_gate(MAIL)
            done = [settlement(one, Succeeded(None)) for one in claims]
            answer = await worker.exchange(done, demand)
            for _ in range(100):
                assert not answer.claims
                if not answer.more:
                    break
                answer = await worker.exchange((), demand)
            assert not answer.more
            await case.store.open_gate(MAIL)
            while await worker.store.stage((), 1_000):
                pass

    @scenario
    async def test_a_backlog_of_a_paused_task_hides_no_other(self, case: Case) -> None:
        """It is parked a bounded part at a time, and what is behind it is found."""
        mails = await case.add(1_200)
        bills = await case.add(2, task="shop.bill")
        await case.store.shut_gate(MAIL)
        worker = await case.worker()
        assert ids_of(await claim(worker)) == bills
        assert (await gate(case, MAIL)).waiting == 1_200
        await case.store.open_gate(MAIL)
        assert ids_of(await claim(worker, 500)) == mails

    @scenario
    async def test_a_backlog_is_parked_in_few_claims(self, case: Case) -> None:
        """Hundreds at a time, however few jobs a worker asks for."""
        await case.add(1_200)
        await case.store.shut_gate(MAIL)
        worker = await case.worker()
        for _ in range(10):
            if not (await worker.exchange(demand=take(4))).more:
                break
        assert (await gate(case, MAIL)).waiting == 1_200

    @scenario
    async def test_what_becomes_ready_again_is_parked(self, case: Case) -> None:
        """A retry, a hand-back, a job whose time has come, and one that a person sends again."""
        failing, released = await case.add(2)
        worker = await case.worker()
        claims = await worker.claim(2)
        [sent] = await case.add(1)
        await case.store.cancel([sent])
        [due] = await case.add(1, delay=5 * SECOND)
        await case.store.shut_gate(MAIL)
        await worker.finish(claims[0], Failed(ERROR))
        await worker.finish(claims[1], Released())
        await case.store.retry([sent])
        assert await claim(worker) == []
        case.clock.move(3_600)
        assert await claim(worker) == []
        ids = [failing, released, due, sent]
        assert await case.states(ids) == ["blocked"] * 4
        await case.store.open_gate(MAIL)
        assert set(ids_of(await claim(worker))) == set(ids)

    @scenario
    async def test_a_pause_for_a_time_ends_by_itself(self, case: Case) -> None:
        """The store tells when, and jobs that come later than that never wait."""
        ids = await case.add(2)
        await case.store.shut_gate(MAIL, delay=30 * SECOND)
        worker = await case.worker()
        assert await claim(worker) == []
        await check_due(worker, 29, 30)
        case.clock.move(30.1)
        ids += await case.add(1)
        assert ids_of(await claim(worker)) == ids

    @scenario
    async def test_a_paused_job_holds_no_place_of_its_limits(self, case: Case) -> None:
        """It takes its gates after the resume, or waits at the one that has no room then."""
        ids = await add(case, 3, places(quota=2))
        await case.store.shut_gate(MAIL)
        worker = await case.worker()
        assert await claim(worker) == []
        assert (await gate(case, "g")).used == 0
        [other] = await add(case, 1, places(quota=2), task="shop.bill")
        assert ids_of(await claim(worker)) == [other]
        await case.store.open_gate(MAIL)
        [first] = await claim(worker)
        assert first.id == ids[0]
        assert (await case.job(ids[1])).gate == "g"
        await finish(worker, first)
        assert ids_of(await claim(worker)) == ids[1:2]

    @scenario
    async def test_every_queue_is_held(self, case: Case) -> None:
        """A task's jobs wait wherever they are, and a share for another queue goes on."""
        await case.add(2, queue="a")
        await case.add(2, queue="b")
        bills = await case.add(1, queue="b", task="shop.bill")
        await case.store.shut_gate(MAIL)
        worker = await case.worker()
        demand = Demand(10, (Share("a", 5), Share("b", 5)))
        found = []
        for _ in range(20):
            answer = await worker.exchange(demand=demand)
            found += ids_of(answer.claims)
            if not answer.more:
                break
        assert found == bills
        assert (await gate(case, MAIL)).waiting == 4

    @scenario
    async def test_tenants_keep_their_turns_over_a_pause(self, case: Case) -> None:
        """A backlog of one tenant does not stand before the others when the task is resumed."""
        await case.add(6, tenant="big")
        [small] = await case.add(1, tenant="small")
        await case.store.shut_gate(MAIL)
        worker = await case.worker()
        assert await claim(worker) == []
        await case.store.open_gate(MAIL)
        await case.store.stage((), 100)
        assert small in ids_of(await worker.claim(2))

    @scenario
    async def test_an_attempt_can_hold_its_whole_task(self, case: Case) -> None:
        """What it tells of the gate of its task counts for the claim in the same write."""
        await case.add(3)
        worker = await case.worker()
        [first] = await worker.claim(1)
        told = Snoozed(60 * SECOND, tells=(Tell(MAIL, "shut", 10 * SECOND),))
        answer = await worker.exchange([settlement(first, told)], take(5))
        assert not answer.claims
        case.clock.move(10.1)
        assert len(await claim(worker)) == 2

    @scenario
    async def test_a_name_that_begins_like_it_is_another_task(self, case: Case) -> None:
        """Only the task of exactly this name is paused."""
        await case.store.shut_gate("task:shop.mai")
        await case.store.shut_gate("task:shop.mail2")
        await case.store.shut_gate("task")
        ids = await case.add(2)
        assert ids_of(await claim(await case.worker())) == ids

    @scenario
    async def test_what_a_claim_has_left_keeps_its_turn(self, case: Case) -> None:
        """A claim that meets a pause unforeseen may bring nothing; the next brings the best job."""
        await add(case, 1, places(quota=100), task="shop.bill")
        worker = await case.worker()
        assert len(await worker.claim(1)) == 1
        await case.store.shut_gate(MAIL)
        low = await case.add(2, task="shop.bill")
        best = await case.add(1, task="shop.bill", priority=5)
        last = await add(case, 1, places(quota=100), task="shop.bill", priority=-5)
        assert ids_of(await claim(worker, 1)) == [*best, *low, *last]
