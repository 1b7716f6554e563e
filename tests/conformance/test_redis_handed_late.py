"""Jobs on Redis that an enqueue handed over, when news, answers, beats and orders cross."""

from typing import Any

from tests.conformance.handed import claims_of, idle, wait_again
from tests.conformance.handing import make_store, own, server, until_unheard
from treadle.core.outcome import Succeeded
from treadle.store.redis.keys import key
from treadle.testing.conformance.kit import (
    Case,
    case,
    ids_of,
    new_job,
    scenario,
)

__all__ = ["case", "make_store", "own", "server"]


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
    [claim] = [claim async for claim in claims_of(worker)]
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
