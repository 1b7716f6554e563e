"""A network that fails between a store and its server: the same request sent again is safe.

Each test goes through a proxy that cuts, halves, delays or swallows. What holds for every
server store: an answer that was lost is given again, nothing is written twice, a dead
connection is noticed in time and never used again, and what was acknowledged is there.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState, NewJob
from treadle.core.lanes import Demand
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import load_settings
from treadle.store.contract import Exchanged, Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import Hand, new_job, settlement, take, worker_info
from treadle.testing.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STORES: Final = ("redis", "postgres")
TIMEOUT_S: Final = 2.0
"""After this a call gives up; far longer than a call takes here, also on a busy machine."""
NOTICED_S: Final = 3 * TIMEOUT_S + 10.0
"""A call over a connection that is dead would not end at all by itself."""
BATCH: Final = 40
CUTS: Final = (1, 7, 60, 200, 450, 900, 1_500, 2_500, 4_000)


class Line:
    """A store behind a proxy, and one beside it that always reaches the server."""

    def __init__(self, store: Store, beside: Store, proxy: Proxy) -> None:
        self.store = store
        self.beside = beside
        self.proxy = proxy

    async def again(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401
        """Make a call whose answer is lost, then the same one over a healthy network."""
        self.proxy.lose_answers()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await call()
        assert time.monotonic() - begun < NOTICED_S
        self.proxy.heal()
        return await call()

    async def states(self, ids: list[bytes]) -> list[JobState | None]:
        """Read the states of jobs beside the failing network."""
        return [None if record is None else record.state for record in await self.beside.get(ids)]


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest) -> str:
    """Give the URL of each server store in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    """Open a store through a proxy."""
    parts = urlsplit(url)
    assert parts.port is not None, "the test servers' URLs name their port"
    settings = load_settings({"store_timeout": TIMEOUT_S}, {})
    namespace = f"net_{secrets.token_hex(4)}"
    with Proxy(parts.port) as proxy:
        beside = open_store(url, namespace, settings)
        through = open_store(url.replace(f":{parts.port}", f":{proxy.port}"), namespace, settings)
        try:
            await beside.migrate()
            await beside.open()
            await through.open()
            yield Line(through, beside, proxy)
        finally:
            await through.close()
            await beside.close()


def scenario(
    test: Callable[[Line], Coroutine[Any, Any, None]],
) -> Callable[[str], None]:
    """Run a test on the line to each server."""

    @wraps(test)
    def run(server: str) -> None:
        async def main() -> None:
            async with line(server) as made:
                await test(made)

        asyncio.run(main())

    del run.__wrapped__  # pytest would look for its arguments
    return run


def batch() -> list[NewJob]:
    """Make jobs to enqueue."""
    return [new_job() for _ in range(BATCH)]


def all_of() -> Demand:
    """Ask for the whole batch."""
    return take(BATCH)


@scenario
async def test_an_enqueue_whose_answer_was_lost_is_stored_once(line: Line) -> None:
    """The caller learns that it is unknown; the same batch again gives the states, once."""
    jobs, request = batch(), new_id()
    states = await line.again(lambda: line.store.enqueue(request, jobs))
    assert states == [JobState.READY] * BATCH
    assert sum((await line.beside.queues())[0].counts.values()) == BATCH


@scenario
async def test_an_exchange_whose_answer_was_lost_gives_the_same_claims(line: Line) -> None:
    """Claims given in a lost answer are handed over by the repeat, and only they."""
    jobs = batch()
    await line.store.enqueue(new_id(), jobs)
    hand = Hand(line.store, worker_info("w1"))
    await hand.register()
    request = new_id()

    async def exchange() -> Exchanged:
        return await line.store.exchange("w1", request, (), all_of())

    first = await line.again(exchange)
    second = await exchange()
    assert [c.id for c in first.claims] == [job.id for job in jobs]
    assert [(c.id, c.number) for c in second.claims] == [(c.id, c.number) for c in first.claims]
    assert set(await line.states([job.id for job in jobs])) == {JobState.RUNNING}


@scenario
async def test_a_settlement_whose_answer_was_lost_applies_once(line: Line) -> None:
    """The repeat answers APPLIED, though the jobs are no longer running."""
    jobs = batch()
    await line.store.enqueue(new_id(), jobs)
    hand = Hand(line.store, worker_info("w1"))
    await hand.register()
    claims = await hand.claim(BATCH)
    settlements = [settlement(claim, Succeeded(b"1")) for claim in claims]
    request = new_id()
    answer = await line.again(lambda: line.store.exchange("w1", request, settlements, None))
    assert list(answer.verdicts) == [Verdict.APPLIED] * BATCH
    assert set(await line.states([job.id for job in jobs])) == {JobState.SUCCEEDED}


@scenario
async def test_claims_on_their_way_are_not_given_back(line: Line) -> None:
    """Beats go on while an exchange is asked again and again; its claims wait for its answer."""
    await line.store.enqueue(new_id(), batch())
    hand = Hand(line.store, worker_info("w1"))
    await hand.register()
    [first] = await hand.claim()
    settled, request = [settlement(first, Succeeded(b"1"))], new_id()
    line.proxy.lose_answers()
    with pytest.raises(StoreUnavailable):
        await hand.exchange(settled, all_of(), request)
    line.proxy.heal()
    line.proxy.reset()
    assert [(await hand.beat()).returned for _ in range(4)] == [0] * 4
    answer = await hand.exchange(settled, all_of(), request)
    settlements = [settlement(claim, Succeeded(b"1")) for claim in answer.claims]
    assert await hand.settle(*settlements) == [Verdict.APPLIED] * (BATCH - 1)


@scenario
async def test_a_pulled_cable_is_noticed_in_time(line: Line) -> None:
    """Each call gives up within its time, and the next one after the cable is back works."""
    await line.store.enqueue(new_id(), batch())
    line.proxy.swallow()
    for call in (
        lambda: line.store.enqueue(new_id(), batch()),
        lambda: line.store.get([new_id()]),
        lambda: line.store.beat("w1", ()),
    ):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await call()
        assert time.monotonic() - begun < NOTICED_S
    line.proxy.heal()
    assert await line.store.enqueue(new_id(), [new_job()]) == [JobState.READY]


@scenario
async def test_cuts_anywhere_in_a_request_write_all_or_nothing(line: Line) -> None:
    """A connection that is reset in the middle of a request is thrown away; no half batch."""
    for cut in CUTS:
        jobs, request = batch(), new_id()
        line.proxy.cut_after(cut)
        try:
            await line.store.enqueue(request, jobs)
        except StoreUnavailable:
            stored = [state for state in await line.states([j.id for j in jobs]) if state]
            assert len(stored) in (0, BATCH)
        line.proxy.heal()
        assert await line.store.enqueue(request, jobs) == [JobState.READY] * BATCH
    assert sum((await line.beside.queues())[0].counts.values()) == BATCH * len(CUTS)


@scenario
async def test_a_server_that_refuses_comes_back_without_a_restart(line: Line) -> None:
    """While nobody listens each call says so at once or in time; then all goes on."""
    await line.store.enqueue(new_id(), batch())
    line.proxy.refuse()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await line.store.enqueue(new_id(), batch())
    line.proxy.heal()
    assert await line.store.enqueue(new_id(), [new_job()]) == [JobState.READY]


@scenario
async def test_a_slow_network_costs_time_and_nothing_else(line: Line) -> None:
    """Answers that come late but in time are answers."""
    line.proxy.delay(TIMEOUT_S / 12)
    assert await line.store.enqueue(new_id(), batch()) == [JobState.READY] * BATCH


@scenario
async def test_a_waiter_outlives_its_connection(line: Line) -> None:
    """A wait over a connection that was reset ends in its time, and hears again later."""
    await line.store.wait(work=True, ends=False, timeout=0.01)
    line.proxy.reset()
    begun = time.monotonic()
    await line.store.wait(work=True, ends=False, timeout=0.5)
    assert time.monotonic() - begun < NOTICED_S
    # The first wait after a breakdown may end for nothing; one that is quiet listens for certain.
    for _ in range(50):
        if not await line.store.wait(work=True, ends=False, timeout=0.2):
            break
    else:
        raise AssertionError("the wait never became quiet")
    waiting = asyncio.create_task(line.store.wait(work=True, ends=False, timeout=10.0))
    heard = False
    for _ in range(100):
        await line.beside.enqueue(new_id(), [new_job()])
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        if done:
            heard = waiting.result()
            break
    assert heard
