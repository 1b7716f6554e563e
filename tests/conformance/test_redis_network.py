"""A network that fails between the store and its server: answers lost, calls cut, silence."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conformance.own_redis import needs_program
from treadle.core.durations import SECOND
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.store.redis.engine.address import read_address
from treadle.store.redis.engine.pool import WIRES_MAX, Pool
from treadle.store.redis.engine.wire import LostError, Wire
from treadle.testing.conformance.kit import Hand, new_job, settlement, take, worker_info
from treadle.testing.proxy import Proxy
from treadle.testing.servers import Redis

pytestmark = [needs_program, pytest.mark.slow]

PATIENCE_S = 2.0
CUTS = [1, 20, 60, 150, 400, 1_200, 5_000]


class Ends:
    """A store behind the network that fails, and one with a network of its own."""

    def __init__(self, proxy: Proxy, near: Store, far: Store) -> None:
        self.proxy = proxy
        self.far = far
        self.near = near


@asynccontextmanager
async def ends() -> AsyncIterator[Ends]:
    """Open both, on a server of the test's own."""
    with Redis() as server, Proxy(server.port) as proxy:
        settings = Settings(store_timeout=PATIENCE_S)
        far = open_store(f"redis://127.0.0.1:{proxy.port}/0", "default", settings)
        near = open_store(server.url, "default", Settings())
        await far.open()
        await near.open()
        try:
            yield Ends(proxy, near, far)
        finally:
            await far.close()
            await near.close()


async def _worker(store: Store, name: str = "w1") -> Hand:
    hand = Hand(store, worker_info(name))
    await hand.register()
    return hand


def test_an_enqueue_whose_answer_was_lost_is_sent_again_safely() -> None:
    """Unknown outcome; the repeat stores nothing twice, also when the jobs have run meanwhile."""

    async def scene() -> None:
        async with ends() as both:
            # A server that does not know the script yet would carry out nothing.
            await both.near.enqueue(new_id(), [new_job(delay=3_600 * SECOND)])
            request, jobs = new_id(), [new_job() for _ in range(3)]
            both.proxy.lose_answers()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await both.far.enqueue(request, jobs)
            near = await _worker(both.near)
            for claim in await near.claim(5):
                await near.finish(claim, Succeeded(b"1"))
            both.proxy.heal()
            both.proxy.reset()
            assert list(await both.far.enqueue(request, jobs)) == [JobState.READY] * 3
            found = await both.near.get([job.id for job in jobs])
            assert {r and r.state for r in found} == {JobState.SUCCEEDED}
            assert await near.claim(5) == []

    asyncio.run(scene())


def test_an_exchange_whose_answer_was_lost_is_answered_as_it_was() -> None:
    """The same verdicts and the same claims; nothing is settled or claimed twice."""

    async def scene() -> None:
        async with ends() as both:
            await both.near.enqueue(new_id(), [new_job() for _ in range(6)])
            worker, request = await _worker(both.far), new_id()
            held = await worker.claim(2)
            batch = [settlement(claim, Succeeded(b"1")) for claim in held]
            both.proxy.lose_answers()
            with pytest.raises(StoreUnavailable):
                await worker.exchange(batch, take(3), request)
            both.proxy.heal()
            both.proxy.reset()
            answer = await worker.exchange(batch, take(3), request)
            assert list(answer.verdicts) == [Verdict.APPLIED] * 2
            assert len(answer.claims) == 3
            [queue] = await both.near.queues()
            assert queue.counts == {"ready": 1, "running": 3, "succeeded": 2}

    asyncio.run(scene())


def test_claims_on_their_way_are_not_given_back() -> None:
    """Beats go on while an exchange is asked again and again; its claims wait for its answer."""

    async def scene() -> None:
        async with ends() as both:
            await both.near.enqueue(new_id(), [new_job() for _ in range(3)])
            worker, request = await _worker(both.far), new_id()
            assert not (await worker.exchange((), None)).gone
            both.proxy.lose_answers()
            with pytest.raises(StoreUnavailable):
                await worker.exchange((), take(3), request)
            both.proxy.heal()
            both.proxy.reset()
            beats = [await worker.beat() for _ in range(4)]
            assert [beaten.returned for beaten in beats] == [0] * 4
            answer = await worker.exchange((), take(3), request)
            assert len(answer.claims) == 3
            batch = [settlement(claim, Succeeded(b"1")) for claim in answer.claims]
            assert await worker.settle(*batch) == [Verdict.APPLIED] * 3

    asyncio.run(scene())


def test_orphans_whose_answer_was_lost_come_with_the_next_look() -> None:
    """A take-over that the server carried out is asked for again, not forgotten."""

    async def scene() -> None:
        async with ends() as both:
            await both.near.enqueue(new_id(), [new_job()])
            dead = Hand(both.near, worker_info("dead", lease=1_000_000))
            await dead.register()
            [claim] = await dead.claim()
            settings = Settings(store_timeout=PATIENCE_S, suspect_after=0.1)
            far = open_store(f"redis://127.0.0.1:{both.proxy.port}/0", "default", settings)
            rescuer = await _worker(far, "rescuer")
            looks = 0
            while (await both.near.workers())[0].running != 0:
                both.proxy.heal()
                await rescuer.beat()
                await asyncio.sleep(0.2)
                looking = asyncio.ensure_future(rescuer.rescue())
                # The look itself passes; the answer of the take-over that follows does not.
                await asyncio.sleep(0.02 * (looks % 3))
                both.proxy.lose_answers()
                await asyncio.wait({looking})
                looks += 1
                assert looks < 40
                orphans = [] if looking.exception() else looking.result()
                if orphans:
                    break
            both.proxy.heal()
            both.proxy.reset()
            await rescuer.beat()
            orphans = orphans or await rescuer.rescue()
            assert [orphan.claim.id for orphan in orphans] == [claim.id]
            assert await rescuer.finish(orphans[0].claim, Succeeded(b"1")) is Verdict.APPLIED
            await far.close()

    asyncio.run(scene())


@pytest.mark.parametrize("after", CUTS)
def test_a_call_that_is_cut_crosses_no_answers(after: int) -> None:
    """Wherever a connection breaks, the next call has its own answer, and every job is there."""

    async def scene() -> None:
        async with ends() as both:
            jobs = [new_job(args=b"[[%d],{}]" % n) for n in range(12)]
            for number, job in enumerate(jobs):
                if number % 3 == 0:
                    both.proxy.cut_after(after)
                request = new_id()
                for _ in range(20):
                    try:
                        await both.far.enqueue(request, [job])
                        break
                    except StoreUnavailable:
                        both.proxy.heal()
                both.proxy.heal()
                [record] = await both.far.get([job.id])
                assert record is not None
                assert (record.id, record.args) == (job.id, job.args)
            worker = await _worker(both.near)
            assert [claim.id for claim in await worker.claim(99)] == [job.id for job in jobs]

    asyncio.run(scene())


def test_a_network_that_goes_silent_is_noticed_in_time() -> None:
    """Nothing arrives and nothing ends: each call ends within its time, and then all goes on."""

    async def scene() -> None:
        async with ends() as both:
            worker = await _worker(both.far)
            await both.far.wait(work=True, ends=False, timeout=0.01)
            both.proxy.swallow()
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await worker.beat()
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(both.far.get_now, [new_id()])
            await both.far.wait(work=True, ends=False, timeout=0.2)
            assert time.monotonic() - begun < 5 * PATIENCE_S
            both.proxy.heal()
            both.proxy.reset()
            assert not (await worker.beat()).gone

    asyncio.run(scene())


def test_a_listener_that_was_cut_off_hears_again() -> None:
    """Its connection is opened again at the next wait, and meanwhile a wait is never a hang."""

    async def scene() -> None:
        async with ends() as both:
            for _ in range(3):
                for _ in range(20):
                    if not await both.far.wait(work=True, ends=False, timeout=0.05):
                        break
                waiting = asyncio.ensure_future(both.far.wait(work=True, ends=False, timeout=20))
                await asyncio.sleep(0.05)
                await both.near.enqueue(new_id(), [new_job()])
                begun = time.monotonic()
                assert await waiting
                assert time.monotonic() - begun < 15
                both.proxy.reset()
            both.proxy.refuse()
            begun = time.monotonic()
            for _ in range(3):
                await both.far.wait(work=True, ends=True, timeout=0.3)
            assert 0.05 < time.monotonic() - begun < 10
            both.proxy.heal()

    asyncio.run(scene())


def test_a_call_that_the_connection_takes_in_pieces_arrives_whole() -> None:
    """Megabytes wait on the caller's own thread until the server has taken them."""

    async def scene() -> None:
        async with ends() as both:
            jobs = [new_job(args=b"[[%d],{}]" % n + b" " * 100_000) for n in range(100)]
            await asyncio.to_thread(both.near.enqueue_now, new_id(), jobs)
            found = await both.near.get([job.id for job in jobs])
            assert [one and one.args for one in found] == [job.args for job in jobs]

    asyncio.run(scene())


def test_a_call_that_the_connection_does_not_take_ends_in_time() -> None:
    """A caller whose bytes nobody reads is told so; nothing is left of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        wire = Wire((host, port), None, time.monotonic() + PATIENCE_S)
        begun = time.monotonic()
        with pytest.raises(LostError, match="no answer in time"):
            wire.call_now(b"x" * 50_000_000, time.monotonic() + PATIENCE_S)
        assert PATIENCE_S <= time.monotonic() - begun < 10 * PATIENCE_S
        assert wire.fileno() == -1


def test_an_enqueue_that_may_be_stored_says_so_whatever_came_after() -> None:
    """Its answer was lost, and the server refuses whoever comes then: it is not known."""

    async def scene() -> None:
        async with ends() as both:
            await asyncio.to_thread(both.far.enqueue_now, new_id(), [new_job()])
            both.proxy.lose_answers()
            job = new_job()
            call = asyncio.create_task(asyncio.to_thread(both.far.enqueue_now, new_id(), [job]))
            async with asyncio.timeout(PATIENCE_S):
                while (await both.near.get([job.id]))[0] is None:  # noqa: ASYNC110 -- no event
                    await asyncio.sleep(0.01)
            both.proxy.refuse()
            both.proxy.reset()
            with pytest.raises(StoreUnavailable, match=r"refused.*it is not known whether"):
                await call

    asyncio.run(scene())


def test_a_wire_whose_holder_was_struck_is_lent_again() -> None:
    """Whoever an error strikes gives nothing back: what he was lent is free all the same."""
    with Redis() as server:
        pool = Pool(read_address(server.url))
        for _ in range(WIRES_MAX):
            pool.take_now(time.monotonic() + PATIENCE_S).close()
        pool.give(pool.take_now(time.monotonic() + PATIENCE_S))
        pool.close()
