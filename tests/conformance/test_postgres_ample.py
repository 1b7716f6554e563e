"""The short way of an exchange with gates: it takes nothing for granted that may have changed."""
# ruff: noqa: SLF001, ANN401 -- which way an exchange goes is seen inside of the store alone.

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, TypeVar

import pytest

from treadle.core.gates.gate import PLACES, RATE, GateRecord, GateUse, read_gates, write_gates
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.postgres.engine.runner import drive
from treadle.store.postgres.engine.wire import Ask
from treadle.store.postgres.line.exchange import Memory, exchange
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    Hand,
    ids_of,
    new_job,
    settlement,
    take,
    worker_info,
)

PLACE: Final = GateUse("g", PLACES, quota=20)
RATED: Final = GateUse("r", RATE, cost=3, quota=1_000, period=86_400_000_000, burst=1_000)
T = TypeVar("T")
Test = Callable[["Two"], Awaitable[None]]


class DiedError(Exception):
    """The process is gone."""


class Two:
    """Two workers with a store each; `first` has found its gates calm."""

    def __init__(self, url: str) -> None:
        self.first, self.second = (
            Hand(PostgresStore(url, "default", Settings()), worker_info(name))
            for name in ("first", "second")
        )
        self.stores: list[Any] = [self.first.store, self.second.store]

    @property
    def is_calm(self) -> bool:
        """Whether the first one's next exchange goes the short way."""
        return bool(self.stores[0]._scan.calm)

    async def enqueue(self, count: int, *uses: GateUse, **fields: Any) -> list[bytes]:
        """Store jobs behind these gates."""
        jobs = [new_job(gates=write_gates(uses), **fields) for _ in range(count)]
        await self.second.store.enqueue(new_id(), jobs)
        return [job.id for job in jobs]

    async def calm(self, count: int, *uses: GateUse) -> list[Claim]:
        """Let the first one claim so many jobs that its gates have room for as many again."""
        await self.enqueue(count, *uses)
        claims = await self.first.claim(count)
        assert len(claims) == count
        assert self.is_calm
        return claims

    async def gate(self, name: str) -> GateRecord:
        """Read a gate."""
        [found] = await self.first.store.gates(only=name)
        return found

    async def states(self, ids: list[bytes]) -> list[JobState]:
        """Read the states of jobs."""
        found = await self.first.store.get(ids)
        return [one.state for one in found if one is not None]


def play(url: str, test: Test) -> None:
    """Carry a test out with two stores of one schema."""

    async def run() -> None:
        two = Two(url)
        await two.first.store.migrate()
        for hand in (two.first, two.second):
            await hand.register()
        await test(two)
        for store in two.stores:
            await store.close()

    asyncio.run(run())


def done(*claims: Claim) -> list[Any]:
    """Settle these as successes."""
    return [settlement(claim, Succeeded(b"1")) for claim in claims]


def test_what_ends_and_what_starts_is_counted_by_each_gate(postgres_schema: str) -> None:
    """Batches that mix gates and costs charge each gate what each of their jobs takes of it."""

    async def test(two: Two) -> None:
        dear = GateUse("r", RATE, 7, RATED.quota, RATED.period, RATED.burst)
        held = await two.calm(3, PLACE, RATED)
        await two.enqueue(2, PLACE, RATED)
        await two.enqueue(2, dear)
        await two.enqueue(2)
        answer = await two.first.exchange(done(*held), take(6))
        assert two.is_calm
        assert list(answer.verdicts) == [Verdict.APPLIED] * 3
        wanted = [write_gates([PLACE, RATED])] * 2 + [write_gates([dear])] * 2 + [None] * 2
        said = [one.gates for one in answer.claims]
        assert [read_gates(raw) for raw in said] == [read_gates(raw) for raw in wanted]
        assert (await two.gate("g")).used == 2
        assert (await two.gate("r")).room == RATED.burst - 3 * 3 - 2 * 3 - 2 * 7
        await two.first.exchange(done(*answer.claims))
        assert (await two.gate("g")).used == 0

    play(postgres_schema, test)


def test_a_limit_that_another_has_filled_is_kept(postgres_schema: str) -> None:
    """Places that others have taken since are not taken twice; the next exchange parks the rest."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        await two.enqueue(30, PLACE)
        assert len(await two.second.claim(15)) == 15
        answer = await two.first.exchange(done(*held), take(10))
        assert not answer.claims
        assert answer.more
        more = await two.first.claim(10)
        assert len(more) == 5
        assert (await two.gate("g")).used == 20

    play(postgres_schema, test)


def test_who_waits_is_woken_by_the_exchange_that_frees_a_place(postgres_schema: str) -> None:
    """A job that another worker parked meanwhile is ready when that exchange has answered."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        await two.enqueue(18, PLACE)
        assert len(await two.second.claim(18)) == 18
        parked = await two.enqueue(3, PLACE)
        assert await two.states(parked) == [JobState.BLOCKED] * 3
        answer = await two.first.exchange(done(*held))
        assert answer.more
        assert await two.states(parked) == [JobState.READY] * 2 + [JobState.BLOCKED]
        assert ids_of(await two.second.claim(5)) == parked[:2]

    play(postgres_schema, test)


def test_nobody_overtakes_who_waits(postgres_schema: str) -> None:
    """A place that is free again is for the best job that waits, not for one that is met first."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        [*_, other] = await two.enqueue(19, PLACE)
        assert len(await two.second.claim(18)) == 18
        [best] = await two.enqueue(1, PLACE, priority=5)
        assert await two.states([other, best]) == [JobState.READY, JobState.BLOCKED]
        answer = await two.first.exchange(done(*held[:1]), take(1))
        assert not answer.claims
        assert ids_of(await two.first.claim(1)) == [best]

    play(postgres_schema, test)


def test_who_waits_is_woken_by_stage_where_the_exchange_dies(postgres_schema: str) -> None:
    """A process that dies with the place freed and nobody woken leaves that to anybody's stage."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        await two.enqueue(18, PLACE)
        assert len(await two.second.claim(18)) == 18
        parked = await two.enqueue(1, PLACE)
        store = two.stores[0]
        memory = Memory(store._scan, store._history)
        talk = exchange(store._sql, "first", new_id(), done(*held), None, (), memory)
        with pytest.raises(DiedError):
            await drive(store._runner.run(lambda: _until_the_second(talk)))
        assert (await two.gate("g")).used == 18
        assert await two.states(parked) == [JobState.BLOCKED]
        assert (await two.second.exchange(demand=take(1))).next_due == 0
        assert await two.second.store.stage([], 100) == 1
        assert await two.states(parked) == [JobState.READY]

    play(postgres_schema, test)


def _until_the_second(talk: Generator[Ask, Any, T]) -> Generator[Ask, Any, T]:
    """Carry the first transaction of a conversation, and die before the second."""
    ask = next(talk)
    talk.send((yield ask))
    raise DiedError


@pytest.mark.parametrize("what", ["gate", "task"])
def test_a_pause_holds_at_once(postgres_schema: str, what: str) -> None:
    """A gate or a task that has been paused since lets nobody pass, and its jobs are parked."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        ids = await two.enqueue(3, PLACE)
        await two.second.store.shut_gate("g" if what == "gate" else "task:shop.mail")
        answer = await two.first.exchange(done(*held), take(3))
        assert not answer.claims
        assert answer.more
        assert not await two.first.claim(3)
        assert await two.states(ids) == [JobState.BLOCKED] * 3

    play(postgres_schema, test)


def test_gates_that_were_not_seen_are_met_by_the_next_exchange(postgres_schema: str) -> None:
    """A job behind a gate that is new to the worker is claimed by its second exchange."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        ids = await two.enqueue(2, GateUse("new", PLACES, quota=1))
        answer = await two.first.exchange(done(*held), take(2))
        assert not answer.claims
        assert answer.more
        assert ids_of(await two.first.claim(2)) == ids[:1]

    play(postgres_schema, test)


def test_a_repeated_exchange_frees_and_takes_once(postgres_schema: str) -> None:
    """The same request gives the same claims with their gates, and counts nothing again."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        await two.enqueue(6, PLACE)
        request = new_id()
        first = await two.first.exchange(done(*held), take(3), request)
        again = await two.first.exchange(done(*held), take(3), request)
        assert len(first.claims) == 3
        assert first.claims == again.claims
        assert first.verdicts == again.verdicts
        assert (await two.gate("g")).used == 3

    play(postgres_schema, test)


def test_a_lost_settlement_frees_nothing(postgres_schema: str) -> None:
    """A claim that was handed on keeps the place that its next holder has."""

    async def test(two: Two) -> None:
        held = await two.calm(2, PLACE)
        await two.first.store.leave("first")
        assert len(await two.second.claim(2)) == 2
        await two.first.register()
        answer = await two.first.exchange(done(*held))
        assert list(answer.verdicts) == [Verdict.LOST] * 2
        assert (await two.gate("g")).used == 2

    play(postgres_schema, test)


def test_a_job_whose_time_is_over_takes_nothing(postgres_schema: str) -> None:
    """Of a batch those that have expired end, and only the others take a place."""

    async def test(two: Two) -> None:
        held = await two.calm(1, PLACE)
        late = await two.enqueue(2, PLACE, expires_at=1)
        ids = await two.enqueue(2, PLACE)
        answer = await two.first.exchange(done(*held), take(4))
        assert ids_of(answer.claims) == ids
        assert answer.more
        assert await two.states(late) == [JobState.EXPIRED] * 2
        assert (await two.gate("g")).used == 2

    play(postgres_schema, test)
