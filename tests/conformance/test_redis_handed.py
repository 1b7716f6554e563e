"""Jobs on Redis that an enqueue hands to an idle worker, and the cases in which it must not."""

import asyncio
from typing import Any

import pytest

from tests.conformance.handing import idle, make_store, own, server, until_unheard, wait_again
from tests.conformance.own_redis import needs_program
from treadle.core.ids import new_id
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.redis.keys import key
from treadle.store.redis.line.claims import Handed
from treadle.store.redis.rows import call_words
from treadle.testing.conformance.kit import (
    Case,
    Hand,
    case,
    ids_of,
    new_job,
    scenario,
    take,
    worker_info,
)
from treadle.testing.servers import Redis

__all__ = ["case", "make_store", "own", "server"]


@scenario
async def test_a_job_that_meets_an_idle_worker_is_claimed_for_it(
    case: Case,
    server: Any,  # noqa: ANN401 -- the client's own
    own: str,
) -> None:
    """It is running once the enqueue has returned, and what the worker gets is its first claim."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    record = await case.job(job.id)
    assert (record.state, record.attempt, record.claim) == ("running", 1, 1)
    assert record.worker == worker.name
    assert record.started_at == record.created_at
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    [claim] = await worker.claim(10)
    assert (claim.id, claim.number, claim.attempt) == (job.id, 1, 1)
    assert (claim.task, claim.queue, claim.args) == (job.task, job.queue, job.args)
    assert claim.started_at == record.started_at
    assert await worker.finish(claim, Succeeded(b"1", 5)) is Verdict.APPLIED
    assert await worker.claim(10) == []
    assert server.hgetall(key(f"{own}_default", "counts")) == {
        f"{job.queue}:succeeded".encode(): b"1"
    }


@scenario
async def test_a_claim_comes_once_however_late_its_news_is(case: Case) -> None:
    """An exchange that is faster than the news gives the claim, and the news nothing more."""
    worker, job = await idle(case), new_job()
    case.store.enqueue_now(job.id, [job])
    # The loop has read nothing yet: the server gives what it has sent.
    [claim] = await worker.claim(10)
    assert claim.id == job.id
    await worker.store.wait(work=True, ends=False, timeout=0.01)
    assert await worker.claim(10) == []
    assert (await worker.beat(claim)).revoked == []
    assert await worker.finish(claim, Succeeded(b"1", 5)) is Verdict.APPLIED


@scenario
async def test_a_claim_that_came_with_the_news_is_not_given_by_the_server_too(case: Case) -> None:
    """The exchange after the one that the news answered has no claim, though the job still runs."""
    worker = await idle(case)
    await case.enqueue(new_job())
    await worker.store.wait(work=True, ends=False, timeout=10)
    [claim] = await worker.claim(10)
    assert await worker.claim(10) == []
    assert (await worker.beat(claim)).revoked == []


@scenario
async def test_a_worker_that_holds_a_job_is_handed_none(case: Case) -> None:
    """The second job is ready for whoever has time for it, also where the first waits again."""
    worker = await idle(case)
    jobs = [new_job(), new_job()]
    await case.enqueue(jobs[0])
    await worker.store.wait(work=True, ends=False, timeout=0.01)
    await case.enqueue(jobs[1])
    assert await case.states([job.id for job in jobs]) == ["running", "ready"]


@scenario
async def test_a_worker_that_hears_nothing_is_handed_none(
    case: Case,
    server: Any,  # noqa: ANN401 -- the client's own
    own: str,
) -> None:
    """Its process is gone, and its connection with it: the job is ready for the others."""
    worker, job = await idle(case, await case.open()), new_job()
    channel = key(f"{own}_default", "worker", worker.name)
    await worker.store.close()
    until_unheard(server, channel)
    await case.enqueue(job)
    assert await case.states([job.id]) == ["ready"]


@scenario
async def test_a_worker_that_has_not_beaten_of_late_is_handed_none(case: Case) -> None:
    """After two thirds of its lease it may be cut off: the job is ready."""
    worker, job = await idle(case), new_job()
    case.clock.move(worker.info.lease * 2 / 3 / 1e6)
    await case.enqueue(job)
    assert await case.states([job.id]) == ["ready"]


@scenario
async def test_a_job_with_a_priority_is_listed(case: Case) -> None:
    """Only what a plain claim can tell is handed over."""
    await idle(case)
    job = new_job(priority=5)
    await case.enqueue(job)
    assert await case.states([job.id]) == ["ready"]


@scenario
async def test_a_worker_that_was_rescued_does_not_start_what_came_for_it(case: Case) -> None:
    """Stopped past its lease with the news unread: it asks the server, which does not know it."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    case.clock.move(worker.info.lease / 1e6 + 1)
    rescuer = await case.worker("w2", store=await case.open())
    assert [one.claim.id for one in await rescuer.rescue_in_two_looks(case.clock)] == [job.id]
    answer = await worker.exchange(demand=take(10))
    assert answer.gone
    assert not answer.claims


@pytest.mark.parametrize("what", ["queue", "task"])
@scenario
async def test_what_is_paused_is_handed_to_nobody(case: Case, what: str) -> None:
    """A job of a paused queue, or beside a paused task, waits where a claim would find it."""
    worker, job = await idle(case), new_job()
    if what == "queue":
        await case.store.pause(job.queue)
    else:
        await case.store.shut_gate(f"task:{job.task}")
    await wait_again(worker)
    await case.enqueue(job)
    assert await case.states([job.id]) == ["ready"]


@scenario
async def test_one_that_others_are_before_is_listed(
    case: Case,
    server: Any,  # noqa: ANN401 -- the client's own
    own: str,
) -> None:
    """What a worker would claim first is handed over alone: order is what it was."""
    worker, first, second = await idle(case), new_job(delay=1), new_job()
    await case.enqueue(first)
    case.clock.move(1)
    await case.store.stage([], 10)
    await wait_again(worker)
    await case.enqueue(second)
    assert await case.states([first.id, second.id]) == ["ready", "ready"]
    listed = server.zrange(key(f"{own}_default", "ready", second.queue), 0, -1)
    assert listed == [first.id.hex().encode(), second.id.hex().encode()]


@scenario
async def test_what_was_handed_goes_back_when_its_worker_leaves(case: Case) -> None:
    """A worker that stops in that moment has not begun it: the attempt is not spent."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    assert await worker.store.leave(worker.name) == 1
    record = await case.job(job.id)
    assert (record.state, record.attempt) == ("ready", 0)
    await worker.register()
    assert [(claim.number, claim.attempt) for claim in await worker.claim(10)] == [(3, 1)]


@scenario
async def test_what_waits_for_its_worker_is_not_lost(case: Case) -> None:
    """Beats take what came with the news for held, however long the worker does not look."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    assert [(await worker.beat()).returned for _ in range(3)] == [0, 0, 0]
    assert [claim.id for claim in await worker.claim(10)] == [job.id]


@pytest.mark.parametrize("by", ["exchange", "beats"])
@scenario
async def test_a_claim_whose_news_is_lost_comes_back(case: Case, by: str) -> None:
    """The next exchange gives it; where none comes, the second beat gives it back unspent."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    # The same worker on another connection, which has heard nothing.
    deaf = Hand(await case.open(), worker.info)
    if by == "beats":
        assert [(await deaf.beat()).returned for _ in range(2)] == [0, 1]
        assert await case.states([job.id]) == ["ready"]
    number = 1 if by == "exchange" else 3
    [claim] = await deaf.claim(10)
    assert (claim.id, claim.number, claim.attempt) == (job.id, number, 1)
    assert await deaf.finish(claim, Succeeded(b"1", 5)) is Verdict.APPLIED


@scenario
async def test_an_exchange_with_such_a_claim_is_answered_again_with_it(case: Case) -> None:
    """The same request gives the same claim, which the news then adds nothing to."""
    worker, job, request = await idle(case), new_job(), new_id()
    case.store.enqueue_now(job.id, [job])
    for _ in range(2):
        answer = await worker.exchange(demand=take(10), request=request)
        assert ids_of(answer.claims) == [job.id]
    await worker.store.wait(work=True, ends=False, timeout=0.01)
    assert await worker.claim(10) == []


@needs_program
def test_what_came_with_the_news_is_claimed_without_the_server() -> None:
    """A server that dies right after the enqueue is not needed for the claim."""

    async def play() -> None:
        with Redis() as server:
            store = open_store(server.url, "default", Settings(store_timeout=1))
            await store.open()
            worker, job = Hand(store, worker_info("w1")), new_job()
            await worker.register()
            await worker.claim(10)
            await wait_again(worker)
            await store.enqueue(job.id, [job])
            assert await store.wait(work=True, ends=False, timeout=10)
            server.kill()
            assert ids_of(await worker.claim(10)) == [job.id]
            await store.close()

    asyncio.run(play())


def test_news_that_are_late_bring_nothing() -> None:
    """The claim has been given by an exchange that was faster; twice the same news is one claim."""
    row, handed = b"00ff 1 1 5 1 1 0 tq" + call_words(new_job(), 1), Handed()
    assert handed.others("w", b"r", [row], handed=True) == [row]
    handed.came("w", row)
    assert handed.take("w") == ([], [])
