"""Jobs on Redis that an enqueue hands to an idle worker, and the cases in which it must not."""

import asyncio
from typing import Any

from tests.conformance.handed import *  # noqa: F403 -- as the suite is taken
from tests.conformance.handed import idle, wait_again
from tests.conformance.handing import make_store, own, server, until_unheard
from tests.conformance.own_redis import needs_program
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
    worker_info,
)
from treadle.testing.servers import Redis

__all__ = ["case", "make_store", "own", "server"]


@scenario
async def test_a_job_that_is_handed_over_is_counted_once(
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
async def test_what_waits_for_its_worker_is_not_lost(case: Case) -> None:
    """Beats take what came with the news for held, however long the worker does not look."""
    worker, job = await idle(case), new_job()
    await case.enqueue(job)
    assert await worker.store.wait(work=True, ends=False, timeout=10)
    assert [(await worker.beat()).returned for _ in range(3)] == [0, 0, 0]
    assert [claim.id for claim in await worker.claim(10)] == [job.id]


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
