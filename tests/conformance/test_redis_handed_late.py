"""Jobs on Redis that an enqueue handed over, when news, answers, beats and orders cross."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from tests.conformance.handing import idle, make_store, own, server, until_unheard, wait_again
from treadle.core.ids import new_id
from treadle.core.job import Claim
from treadle.core.outcome import Succeeded, TaskUnknown, Verdict
from treadle.store.redis.keys import key
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

__all__ = ["case", "make_store", "own", "server"]

T = TypeVar("T")


def beside(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Carry out a call on a thread of its own, while the worker's loop stands still."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(call())).result()


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
    assert not [claim async for claim in _claims(other)]
    assert [claim.number async for claim in _claims(worker)] == [1]
    assert (await case.job(job.id)).claim == 1


@scenario
async def test_a_worker_that_does_not_know_a_task_is_handed_nothing_for_a_minute(
    case: Case,
) -> None:
    """In a deploy the others, who know it, are woken for the next job; later it may offer again."""
    worker, jobs = await idle(case), [new_job() for _ in range(3)]
    await case.enqueue(jobs[0])
    [claim] = [claim async for claim in _claims(worker)]
    await worker.finish(claim, TaskUnknown())
    for job, state in ((jobs[1], "ready"), (jobs[2], "running")):
        assert await worker.claim(10) == []
        await wait_again(worker)
        await case.enqueue(job)
        assert await case.states([job.id]) == [state]
        [claim] = [claim async for claim in _claims(worker)]
        await worker.finish(claim, Succeeded(b"1", 5))
        case.clock.move(60)
        await worker.beat()


@scenario
async def test_of_two_workers_in_one_loop_each_gets_its_own(case: Case) -> None:
    """What is handed to one is given to no other, and the next job is for whoever has none."""
    first, second, jobs = await idle(case), await case.worker("w2"), [new_job(), new_job()]
    assert await second.claim(10) == []
    await wait_again(second)
    await case.enqueue(jobs[0])
    await wait_again(first)
    assert [claim async for claim in _claims(first)] == []
    await case.enqueue(jobs[1])
    assert [claim.id async for claim in _claims(first)] == [jobs[1].id]
    assert [claim.id async for claim in _claims(second)] == [jobs[0].id]


@scenario
async def test_a_listener_that_is_cut_off_is_handed_nothing_till_it_hears_again(
    case: Case,
    server: Any,  # noqa: ANN401 -- the client's own
    own: str,
) -> None:
    """Between its offer and the enqueue its connection breaks: the job is ready, and it looks."""
    worker, jobs = await idle(case), [new_job(), new_job()]
    channel = key(f"{own}_default", "worker", worker.name)
    server.client_kill_filter(_type="pubsub")
    until_unheard(server, channel)
    case.store.enqueue_now(jobs[0].id, jobs[:1])
    assert await case.states([jobs[0].id]) == ["ready"]
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    [claim] = [claim async for claim in _claims(worker)]
    await worker.finish(claim, Succeeded(b"1", 5))
    assert await worker.claim(10) == []
    await wait_again(worker)
    await case.enqueue(jobs[1])
    assert await case.states([jobs[1].id]) == ["running"]


@scenario
async def test_what_is_no_claim_is_a_hint_like_any_other(
    case: Case,
    server: Any,  # noqa: ANN401 -- the client's own
    own: str,
) -> None:
    """Texts that somebody publishes where a worker hears its own wake it, and it goes on."""
    worker, job = await idle(case), new_job()
    channel = key(f"{own}_default", "worker", worker.name)
    for said in ("", "x", "00ff 1", "00ff one 1 5 1 1 0 tq", "00ff 1 1 five 1 1 0 tq"):
        server.publish(channel, said)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    assert await worker.claim(10) == []
    await wait_again(worker)
    await case.enqueue(job)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    assert ids_of(await worker.claim(10)) == [job.id]


async def _claims(worker: Hand) -> AsyncIterator[Claim]:
    """Give all that a worker is given once it has heard what there is to hear."""
    await wait_again(worker)
    while claims := await worker.claim(10):
        for claim in claims:
            yield claim
