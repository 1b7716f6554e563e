"""Turns against an oracle: random lives of tenants' jobs, whose order is told beforehand.

The oracle is start-time fair queueing as it is written, over plain lists: no index, no batch. After
each step every store must claim just the jobs that it names, in its order.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import Claim, NewJob
from treadle.core.outcome import Failed, Outcome, Released, Succeeded
from treadle.core.tenants.tenant import STRIDE, TAG_MAX
from treadle.store.contract import Store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import (
    ERROR,
    Hand,
    ids_of,
    new_job,
    settlement,
    take,
    worker_info,
)

STEPS = 150
TENANTS = (None, "a", "a", "b", "c")
QUEUES = ("q1", "q1", "q2")


@dataclass
class Entry:
    """A job as the oracle sees it."""

    job: NewJob
    tag: int = 0
    ready: bool = False


@dataclass
class Fair:
    """The oracle: who is ready, by which tag."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    strides: dict[str, int] = field(default_factory=dict)

    def waiting(self, queue: str | None, priority: int, tenant: str | None = None) -> list[int]:
        """Give the tags of tenants' jobs that are ready."""
        return [
            entry.tag
            for entry in self.entries.values()
            if entry.ready and entry.tag and entry.job.priority == priority
            if queue in (None, entry.job.queue) and tenant in (None, entry.job.tenant)
        ]

    def make_ready(self, id_: bytes, most: int = TAG_MAX) -> None:
        """Give a job its turn."""
        entry = self.entries[id_]
        job = entry.job
        if job.tenant is not None:
            here = self.waiting(job.queue, job.priority) or self.waiting(None, job.priority) or [1]
            own = self.waiting(job.queue, job.priority, job.tenant)
            stride = self.strides.get(job.tenant, STRIDE)
            entry.tag = min(most, max(min(here), max(own) + stride if own else 1))
        entry.ready = True

    def best(self, queue: str | None, limit: int) -> list[bytes]:
        """Give what a claim takes."""
        ready = [
            (-entry.job.priority, entry.tag, id_)
            for id_, entry in self.entries.items()
            if entry.ready and queue in (None, entry.job.queue)
        ]
        return [id_ for *_, id_ in sorted(ready)[:limit]]


class Life:
    """One store and the oracle, side by side."""

    def __init__(self, store: Store, clock: MovedClock, seed: int) -> None:
        self.store = store
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 -- lives, not secrets
        self.hand = Hand(store, worker_info("w1"))
        self.fair = Fair()
        self.held: list[Claim] = []
        self.dead: list[bytes] = []
        self.later: list[bytes] = []

    async def add(self) -> None:
        """Enqueue a batch of anybody's jobs; some are for later."""
        jobs = [
            new_job(
                tenant=self.random.choice(TENANTS),
                queue=self.random.choice(QUEUES),
                priority=self.random.choice((0, 0, 0, 5)),
                delay=self.random.choice((0, 0, 0, SECOND)),
            )
            for _ in range(self.random.randint(1, 12))
        ]
        await self.store.enqueue(new_id(), jobs)
        for job in jobs:
            self.fair.entries[job.id] = Entry(job)
            if job.delay:
                self.later.append(job.id)
            else:
                self.fair.make_ready(job.id)

    async def exchange(self) -> None:
        """End what is held, or let one of it fail or go back; claim in the same call."""
        outcome = self.random.choice((Succeeded(None), Failed(ERROR, delay=0), Released(), None))
        ended = self.held if isinstance(outcome, Succeeded) else self.held[:1]
        batch = [settlement(claim, outcome) for claim in ended] if outcome else []
        if outcome is not None:
            self.held = self.held[len(ended) :]
            for claim in ended:
                self.settled(claim, outcome)
        queue = self.random.choice((None, "q1", "q2"))
        limit = self.random.choice((1, 2, 7, 40))
        wanted = self.fair.best(queue, limit)
        demand = take(limit) if queue is None else take(limit, queue)
        if batch and isinstance(self.store, PostgresStore):
            # A drain there goes on behind its marks, and finds what is before them a second later.
            await self.hand.exchange(batch)
            batch = []
        claims = (await self.hand.exchange(batch, demand)).claims
        assert ids_of(claims) == wanted, f"after {outcome} from {queue}"
        for claim in claims:
            self.fair.entries[claim.id].ready = False
        self.held += claims

    def settled(self, claim: Claim, outcome: Outcome) -> None:
        """Tell the oracle what becomes of a claim."""
        if isinstance(outcome, Released):
            self.fair.make_ready(claim.id, self.fair.entries[claim.id].tag or TAG_MAX)
        elif isinstance(outcome, Failed) and claim.attempt - claim.forgiven < 5:
            self.fair.make_ready(claim.id)
        elif isinstance(outcome, Failed):
            self.dead.append(claim.id)
        else:
            del self.fair.entries[claim.id]

    async def cancel(self) -> None:
        """Take some jobs back that wait."""
        ready = [id_ for id_, entry in self.fair.entries.items() if entry.ready]
        gone = self.random.sample(ready, min(len(ready), self.random.randint(1, 5)))
        assert await self.store.cancel(gone) == [True] * len(gone)
        for id_ in gone:
            del self.fair.entries[id_]

    async def stage(self) -> None:
        """Let time pass: what was for later is ready, the longest due first."""
        self.clock.move(2)
        await self.store.stage((), 1_000)
        for id_ in sorted(self.later):
            self.fair.make_ready(id_)
        self.later = []

    async def replay(self) -> None:
        """Let a dead letter run again, or put a job that waits behind its tenant's others."""
        ready = [id_ for id_, entry in self.fair.entries.items() if entry.ready]
        some = self.dead[-1:] or ready[:1]
        for id_ in some:
            assert await self.store.retry([id_]) == [True]
            self.fair.entries[id_].ready = False
            self.fair.make_ready(id_)
        self.dead = [id_ for id_ in self.dead if id_ not in some]

    async def weigh(self) -> None:
        """Change a weight."""
        name = self.random.choice("abc")
        stride = self.random.choice((None, 100, 333, 500, 4_000))
        await self.store.set_tenant(name, stride)
        self.fair.strides.pop(name, None)
        if stride is not None:
            self.fair.strides[name] = stride


async def live(store: Store, clock: MovedClock, seed: int) -> None:
    """Live through one seed."""
    await store.open()
    life = Life(store, clock, seed)
    await life.hand.register()
    steps = [life.add, life.exchange, life.cancel, life.stage, life.replay, life.weigh]
    try:
        for _ in range(STEPS):
            [step] = life.random.choices(steps, (8, 12, 2, 2, 2, 1))
            await step()
    finally:
        await store.close()


@pytest.mark.parametrize("turn", range(3))
def test_every_claim_is_by_turns(make: Callable[[MovedClock], Store], turn: int) -> None:
    """Whatever happens to the jobs, in every order that the seed comes upon."""
    seed = random.randrange(1 << 30) + turn  # noqa: S311 -- as above
    clock = MovedClock()
    try:
        asyncio.run(live(make(clock), clock, seed))
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
