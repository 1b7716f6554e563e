"""Jobs that an enqueue hands to an idle worker: what holds on each store that does so.

A test file of such a store takes these tests with its own `make_store`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest

from treadle.core.ids import new_id
from treadle.core.job import Claim
from treadle.core.outcome import Succeeded, TaskUnknown, Verdict
from treadle.store.contract import Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    Case,
    Hand,
    ids_of,
    new_job,
    scenario,
    take,
    worker_info,
)

T = TypeVar("T")


async def idle(case: Case, store: Store | None = None) -> Hand:
    """Give a worker that has found nothing to do and waits for news."""
    worker = await case.worker(store=store)
    assert await worker.claim(10) == []
    await wait_again(worker)
    return worker


async def wait_again(worker: Hand) -> None:
    """Wait until the worker has nothing more to look for, and is known to wait."""
    heard = True
    while heard:
        hears = _hears(worker.store)
        heard = await worker.store.wait(work=True, ends=False, timeout=0.01) or not hears


def _hears(store: Store) -> bool:
    """Tell whether a store's connection for news is there, which one opens beside the wait."""
    return not isinstance(store, PostgresStore) or store._ears.here().own.key is not None  # noqa: SLF001


def beside(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Carry out a call on a thread of its own, while the worker's loop stands still."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(call())).result()


async def claims_of(worker: Hand) -> AsyncIterator[Claim]:
    """Give all that a worker is given once it has heard what there is to hear."""
    await wait_again(worker)
    while claims := await worker.claim(10):
        for claim in claims:
            yield claim


@scenario
async def test_a_job_that_meets_an_idle_worker_is_claimed_for_it(case: Case) -> None:
    """It is running once the enqueue has returned, and what the worker gets is its first claim."""
    worker, job = await idle(case), new_job(tags=b'["a"]', meta=b"{}", attempts_max=7, cost=3)
    await case.enqueue(job)
    record = await case.job(job.id)
    assert (record.state, record.attempt, record.claim) == ("running", 1, 1)
    assert record.worker == worker.name
    assert record.started_at == record.created_at
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    [claim] = await worker.claim(10)
    assert (claim.id, claim.number, claim.attempt) == (job.id, 1, 1)
    assert (claim.task, claim.queue, claim.args) == (job.task, job.queue, job.args)
    assert (claim.tags, claim.meta, claim.attempts_max) == (job.tags, job.meta, 7)
    assert claim.started_at == record.started_at
    assert await worker.finish(claim, Succeeded(b"1", 5)) is Verdict.APPLIED
    assert await worker.claim(10) == []
    [queue] = await case.store.queues()
    assert {s: n for s, n in queue.counts.items() if n} == {"succeeded": 1}


@scenario
async def test_one_that_others_are_before_is_listed(case: Case) -> None:
    """What a worker would claim first is handed over alone: order is what it was."""
    worker, first, second = await idle(case), new_job(delay=1), new_job()
    await case.enqueue(first)
    case.clock.move(1)
    await case.store.stage([], 10)
    await wait_again(worker)
    await case.enqueue(second)
    assert await case.states([first.id, second.id]) == ["ready", "ready"]
    assert [claim.id for claim in await worker.claim(10)] == [first.id, second.id]


@scenario
async def test_of_two_workers_in_one_loop_each_gets_its_own(case: Case) -> None:
    """What is handed to one is given to no other, and the next job is for whoever has none."""
    first, second, jobs = await idle(case), await case.worker("w2"), [new_job(), new_job()]
    assert await second.claim(10) == []
    await wait_again(second)
    given = dict[bytes, str]()
    for job in jobs:
        await case.enqueue(job)
        for worker in (first, second):
            given |= {claim.id: worker.name async for claim in claims_of(worker)}
    assert set(given) == {job.id for job in jobs}
    assert {(await case.job(job.id)).worker for job in jobs} == set(given.values())


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


@scenario
async def test_an_answer_that_was_lost_does_not_bring_what_the_news_brought(case: Case) -> None:
    """The exchange that is asked again has the claim in its answer; the job has begun already."""
    worker, job, request = await idle(case), new_job(), new_id()
    await case.enqueue(job)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    [claim] = await worker.claim(10)
    # Carried out, and its answer reaches nobody.
    lost = Hand(await case.open(), worker.info)
    assert ids_of((await lost.exchange(demand=take(10), request=request)).claims) == [job.id]
    assert not (await worker.exchange(demand=take(10), request=request)).claims
    assert await worker.finish(claim, Succeeded(b"1", 5)) is Verdict.APPLIED


@scenario
async def test_news_that_come_after_an_answer_that_was_lost_bring_nothing(case: Case) -> None:
    """The exchange that was asked again has given the claim; the news give it no second time."""
    worker, job, request = await idle(case), new_job(), new_id()
    lost = Hand(await case.open(), worker.info)
    case.store.enqueue_now(job.id, [job])
    for asked in (lost, worker):
        answer = beside(partial(asked.exchange, demand=take(10), request=request))
        assert ids_of(answer.claims) == [job.id]
    await wait_again(worker)
    assert await worker.claim(10) == []


@scenario
async def test_news_that_are_read_after_the_beats_gave_up_bring_nothing(case: Case) -> None:
    """A loop that stood still for two beats does not start what is ready for others again."""
    worker, job = await idle(case), new_job()
    case.store.enqueue_now(job.id, [job])
    assert [beside(worker.beat).returned for _ in range(2)] == [0, 1]
    await wait_again(worker)
    [claim] = await worker.claim(10)
    assert (claim.id, claim.number, claim.attempt) == (job.id, 3, 1)
    assert await worker.claim(10) == []


@scenario
async def test_what_comes_between_two_beats_is_not_given_back(case: Case) -> None:
    """The beat that asked before the claim was taken counts it as new: it has begun."""
    worker, job = await idle(case), new_job()
    case.store.enqueue_now(job.id, [job])
    assert beside(worker.beat).returned == 0
    await wait_again(worker)
    [claim] = await worker.claim(10)
    assert (await worker.beat()).returned == 0
    assert not (await worker.beat(claim)).revoked
    assert await worker.finish(claim, Succeeded(b"1", 5)) is Verdict.APPLIED


@scenario
async def test_what_is_cancelled_before_its_worker_looks_does_not_start(case: Case) -> None:
    """The beat finds that the claim is not the worker's any more, and its news are dropped."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    await case.store.cancel([job.id])
    await worker.beat()
    assert await worker.claim(10) == []


@scenario
async def test_a_job_of_another_queue_that_is_ready_is_not_overtaken(case: Case) -> None:
    """What became ready before the worker was known to wait goes first, by its priority."""
    worker, urgent, plain = await case.worker(), new_job(queue="urgent", priority=5), new_job()
    assert await worker.claim(1) == []
    await case.enqueue(urgent)
    await worker.store.wait(work=True, ends=False, timeout=0.01)
    await case.enqueue(plain)
    assert await case.states([urgent.id, plain.id]) == ["ready", "ready"]
    assert ids_of(await worker.claim(1)) == [urgent.id]


@scenario
async def test_an_enqueue_that_is_sent_again_hands_over_once(case: Case) -> None:
    """Its answer was lost: one claim, and another worker that waits by then gets none of it."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    other = Hand(await case.open(), worker_info("w2"))
    await other.register()
    assert await other.claim(10) == []
    await wait_again(other)
    await case.enqueue(job)
    assert not [claim async for claim in claims_of(other)]
    assert [claim.number async for claim in claims_of(worker)] == [1]
    assert (await case.job(job.id)).claim == 1


@scenario
async def test_a_worker_that_does_not_know_a_task_is_handed_nothing_for_a_minute(
    case: Case,
) -> None:
    """In a deploy the others, who know it, are woken for the next job; later it may offer again."""
    worker, jobs = await idle(case), [new_job() for _ in range(3)]
    await case.enqueue(jobs[0])
    [claim] = [claim async for claim in claims_of(worker)]
    await worker.finish(claim, TaskUnknown())
    for job, state in ((jobs[1], "ready"), (jobs[2], "running")):
        assert await worker.claim(10) == []
        await wait_again(worker)
        await case.enqueue(job)
        assert await case.states([job.id]) == [state]
        [claim] = [claim async for claim in claims_of(worker)]
        await worker.finish(claim, Succeeded(b"1", 5))
        case.clock.move(60)
        await worker.beat()
