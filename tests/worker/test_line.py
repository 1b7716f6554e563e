"""The line: which claims start, which wait, and which go back.

Real parts throughout: a memory store, executors on the running loop, the settler. Only the
loop that exchanges is driven by hand, so that each step can be looked at.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from tests.worker.floor import WAIT_S, until
from treadle import Treadle
from treadle.core.ids import new_id
from treadle.core.job import JobState, NewJob
from treadle.core.lanes import Lanes
from treadle.worker.crew import Crew
from treadle.worker.worker import worker_info


class Hand:
    """A line whose exchanges are made by hand."""

    def __init__(self, crew: Crew, gate: asyncio.Event) -> None:
        self.crew = crew
        self.line = crew.line
        self.gate = gate

    async def exchange(self) -> None:
        """Settle what is pending and claim what there is room for."""
        answer = await self.crew.settler.exchange(self.line.worker, self.line.demand())
        self.line.accept(answer)

    async def settled(self) -> None:
        """Let every running job end, and settle it."""
        self.gate.set()
        async with asyncio.timeout(WAIT_S):
            while self.line.running or not self.crew.settler.idle:
                await asyncio.sleep(0)
                if not self.crew.settler.idle:
                    await self.exchange()
        self.gate.clear()


@asynccontextmanager
async def hand(slots: int, url: str = "memory://") -> AsyncIterator[Hand]:
    """Put a crew together, on a memory store if nothing is said; its task waits at a gate."""
    app = Treadle(url, namespace=f"line_{secrets.token_hex(4)}")
    gate = asyncio.Event()

    @app.task(name="wait")
    async def wait() -> None:
        await gate.wait()

    crew = Crew(app, Lanes(), slots, lambda: None, lambda _: None)
    info = worker_info(slots, Lanes(), 15)
    await crew.store.register(info)
    crew.line.worker = info.id
    try:
        yield Hand(crew, gate)
    finally:
        gate.set()
        crew.executors.close()
        await app.aclose()


async def add(one: Hand, count: int) -> list[bytes]:
    """Enqueue jobs that wait at the gate."""
    jobs = [NewJob(new_id(), "wait", b"[1,[]]") for _ in range(count)]
    await one.crew.store.enqueue(new_id(), jobs)
    return [job.id for job in jobs]


def running(one: Hand) -> set[bytes]:
    """Name the jobs that run."""
    return {attempt.claim.id for attempt in one.line.running.values()}


def suspect(one: Hand, id_: bytes, crashes: int = 1) -> None:
    """Put crashes behind a claim that waits in the buffer."""
    buffer = one.line.held.buffer
    for i, claim in enumerate(buffer):
        if claim.id == id_:
            buffer[i] = replace(claim, crashes=crashes)


async def take_suspects(one: Hand, *crashes: int) -> list[bytes]:
    """Claim as many jobs as there are numbers, each with so many crashes behind it."""
    ids = await add(one, len(crashes))
    answer = await one.crew.settler.exchange(one.line.worker, Lanes().demand(len(crashes)))
    one.line.held.take(answer.claims)
    for id_, number in zip(ids, crashes, strict=True):
        suspect(one, id_, number)
    one.line.dispatch()
    return ids


def test_first_time_suspects_of_a_server_run_among_themselves(redis_url: str) -> None:
    """Most of them had only waited in a buffer; no other job starts beside them, nor is claimed."""

    async def scene() -> None:
        async with hand(4, redis_url) as one:
            first, second, third, clean = await take_suspects(one, 1, 1, 1, 0)
            assert running(one) == {first, second, third}
            assert one.line.room() == 0
            one.gate.set()
            await until(lambda: not one.line.running)
            one.gate.clear()
            one.line.dispatch()
            assert not running(one)
            await one.exchange()
            assert running(one) == {clean}
            assert one.line.room() > 0
            await one.settled()

    asyncio.run(scene())


def test_a_suspect_that_one_more_crash_would_bury_runs_alone(redis_url: str) -> None:
    """It waits for the others, which wait for it in turn."""

    async def scene() -> None:
        async with hand(4, redis_url) as one:
            first, second, last, next_ = await take_suspects(one, 1, 1, 2, 1)
            assert running(one) == {first, second}
            one.gate.set()
            await until(lambda: not one.line.running)
            one.gate.clear()
            await one.exchange()
            assert running(one) == {last}
            one.gate.set()
            await until(lambda: not one.line.running)
            one.gate.clear()
            await one.exchange()
            assert running(one) == {next_}
            await one.settled()

    asyncio.run(scene())


def test_a_suspect_starts_only_when_nothing_runs_and_nothing_is_unsettled() -> None:
    """What has ended but is not written would count a crash that is not its own."""

    async def scene() -> None:
        async with hand(2) as one:
            first, second, third = await add(one, 3)
            one.line.held.learn(1)
            await one.exchange()
            assert running(one) == {first, second}
            suspect(one, third)
            one.gate.set()
            await until(lambda: not one.line.running)
            one.gate.clear()
            one.line.dispatch()
            assert not one.crew.settler.idle
            assert not running(one)
            await one.exchange()
            assert running(one) == {third}

    asyncio.run(scene())


def test_nothing_starts_beside_a_suspect() -> None:
    """Others wait until the suspect's own settlement is written."""

    async def scene() -> None:
        async with hand(4) as one:
            first, second = await add(one, 2)
            answer = await one.crew.settler.exchange(one.line.worker, one.line.demand())
            one.line.held.take([replace(answer.claims[0], crashes=1), answer.claims[1]])
            one.line.dispatch()
            assert running(one) == {first}
            assert one.line.room() == 0
            await one.settled()
            states = [r.state for r in await one.crew.store.get([first, second]) if r]
            assert states == [JobState.SUCCEEDED] * 2

    asyncio.run(scene())


def test_a_buffer_that_does_not_move_is_handed_back() -> None:
    """Claims behind long jobs go to other workers, and no more than the slots are taken after."""

    async def scene() -> None:
        async with hand(2) as one:
            jobs = await add(one, 6)
            one.line.held.learn(1)
            await one.exchange()
            assert len(one.line.held.buffer) == 4
            assert one.line.hand_back() == 4
            await one.exchange()
            records = await one.crew.store.get(jobs)
            states = [record.state for record in records if record]
            assert states.count(JobState.READY) == 4
            assert [r.attempt for r in records if r and r.state is JobState.READY] == [0] * 4
            assert one.line.room() == 0

    asyncio.run(scene())


def test_a_suspect_that_waits_is_not_handed_back_at_once() -> None:
    """It keeps its place at the head; what is behind it goes back."""

    async def scene() -> None:
        async with hand(1) as one:
            _, second, third = await add(one, 3)
            one.line.held.learn(1)
            await one.exchange()
            suspect(one, second)
            assert one.line.hand_back() == 1
            assert [claim.id for claim in one.line.held.buffer] == [second]
            await one.exchange()
            (record,) = await one.crew.store.get([third])
            assert record is not None
            assert record.state is JobState.READY

    asyncio.run(scene())


def test_nothing_new_starts_while_cut_off() -> None:
    """A worker that cannot reach the store lets run what runs, and starts nothing."""

    async def scene() -> None:
        async with hand(1) as one:
            first, second = await add(one, 2)
            one.line.held.learn(1)
            await one.exchange()
            one.line.kit.surroundings.cut_off = True
            await one.settled()
            assert not running(one)
            assert one.line.room() == 0
            assert [claim.id for claim in one.line.held.buffer] == [second]
            one.line.kit.surroundings.cut_off = False
            one.line.dispatch()
            assert running(one) == {second}
            (record,) = await one.crew.store.get([first])
            assert record is not None
            assert record.state is JobState.SUCCEEDED

    asyncio.run(scene())


def test_a_revoked_claim_keeps_its_place_until_it_is_answered() -> None:
    """A claim that another worker took over cannot lend its place to a new job meanwhile."""

    async def scene() -> None:
        async with hand(2) as one:
            first, second = await add(one, 2)
            await one.exchange()
            (attempt,) = [a for a in one.line.running.values() if a.claim.id == first]
            await one.crew.store.cancel([first])
            one.line.revoke([(first, attempt.claim.number)])
            assert (first, attempt.claim.number) in one.line.held.claims
            await one.settled()
            assert not one.line.held.claims
            assert one.crew.settler.lost == 1
            records = await one.crew.store.get([first, second])
            states = [record.state for record in records if record]
            assert states == [JobState.CANCELLED, JobState.SUCCEEDED]

    asyncio.run(scene())
