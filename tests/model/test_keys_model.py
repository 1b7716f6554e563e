"""Random walks over jobs with keys, beside a model of twenty lines: who holds what, and who waits.

Each step is a call of the contract; after each, every key has the holder and the follower that the
model gives it, in each store. A failing walk prints its seed.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobState, Met
from treadle.core.keys.key import Conflict, Key, Until
from treadle.core.outcome import Failed, Outcome, Snoozed, Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import ERROR, Hand, new_job, settlement, take, worker_info

NAMES: Final = ["a", "b", "c"]
STEPS: Final = 120
WAITS: Final = {"ready", "scheduled", "retrying", "blocked"}


class Model:
    """What the keys should be: the holder of each, who waits behind it, and all jobs' states."""

    def __init__(self) -> None:
        self.holder: dict[str, bytes] = {}
        self.behind: dict[str, bytes] = {}
        self.name: dict[bytes, str] = {}
        self.until: dict[bytes, Until] = {}

    def enqueue(self, job: bytes, key: Key, state: Callable[[bytes], str]) -> str:
        """Tell what becomes of a new job, and remember it."""
        holder, behind = self.holder.get(key.name), self.behind.get(key.name)
        if holder is None:
            self.holder[key.name] = job
        elif key.conflict is not Conflict.REPLACE:
            return "refused" if key.conflict is Conflict.REFUSE else "kept"
        elif behind is not None or state(holder) in WAITS:
            self.until[behind or holder] = key.until
            return "replaced"
        else:
            self.behind[key.name] = job
        self.name[job], self.until[job] = key.name, key.until
        return "stored"

    def started(self, job: bytes) -> None:
        """Free a key that is held until the first start."""
        if self.until[job] is Until.CLAIM:
            self.ended(job)

    def ended(self, job: bytes) -> None:
        """Free the key of a job that has ended, or let it wait no more."""
        name = self.name[job]
        if self.behind.get(name) == job:
            del self.behind[name]
        elif self.holder.get(name) == job:
            del self.holder[name]
            if name in self.behind:
                self.holder[name] = self.behind.pop(name)


class Walk:
    """One store and the model, step by step."""

    def __init__(self, store: Store, clock: MovedClock, draw: random.Random) -> None:
        self.store, self.clock, self.draw = store, clock, draw
        self.model = Model()
        self.hand = Hand(store, worker_info("w"))
        self.claims: list[Claim] = []
        self.jobs: list[bytes] = []

    async def enqueue(self) -> None:
        """Enqueue a batch of one or two."""
        batch = [
            new_job(key=self.key(), args=b"[1,[]]") for _ in range(self.draw.choice([1, 1, 2]))
        ]
        known = {job: await self.state(job) for job in self.model.holder.values()}
        fates = await self.store.enqueue(new_id(), batch)
        for job, fate in zip(batch, fates, strict=True):
            assert job.key is not None
            said = self.model.enqueue(job.id, job.key, lambda one: known.get(one, "ready"))
            assert (fate.how if isinstance(fate, Met) else "stored") == said
            if said == "stored":
                self.jobs.append(job.id)

    def key(self) -> Key:
        """Draw a key; of one name every job holds it until the same time."""
        name = self.draw.choice(NAMES)
        conflict = self.draw.choice([Conflict.KEEP, Conflict.REFUSE, Conflict.REPLACE])
        return Key(name, Until.CLAIM if name == "c" else Until.END, conflict)

    async def state(self, job: bytes) -> str:
        """Read a job's state."""
        [record] = await self.store.get([job])
        return "gone" if record is None else record.state

    async def claim(self) -> None:
        """Claim one or two."""
        claims = (await self.hand.exchange((), take(self.draw.choice([1, 2])))).claims
        self.claims += claims
        for claim in claims:
            assert claim.id not in self.model.behind.values(), "a job that waits behind runs"
            self.model.started(claim.id)

    async def settle(self) -> None:
        """Settle a claim in some way."""
        if not self.claims:
            return
        claim = self.claims.pop(self.draw.randrange(len(self.claims)))
        outcomes: list[Outcome] = [
            Succeeded(b"1"), Failed(ERROR, retryable=False), Snoozed(SECOND),
            Failed(ERROR, delay=SECOND),
        ]  # fmt: skip
        done = settlement(claim, self.draw.choice(outcomes))
        await self.hand.settle(done)
        if done.state.is_terminal:
            self.model.ended(claim.id)

    async def cancel(self) -> None:
        """Cancel one or two jobs, waiting or running."""
        which = self.draw.sample(self.jobs, min(len(self.jobs), self.draw.choice([1, 2])))
        for job, done in zip(which, await self.store.cancel(which), strict=True):
            if done:
                self.claims = [claim for claim in self.claims if claim.id != job]
        states = [await self.state(job) for job in which]
        for job, state in zip(which, states, strict=True):
            if state == JobState.CANCELLED:
                self.model.ended(job)

    async def time(self) -> None:
        """Let time go by, and upkeep come."""
        self.clock.move(self.draw.choice([0.5, 2]))
        await self.store.stage([], 100)
        await self.store.prune(100)

    async def check(self) -> None:
        """Compare every key."""
        found = await self.store.keys(NAMES)
        assert [one and one.job for one in found] == [self.model.holder.get(n) for n in NAMES]
        assert [one and one.next for one in found] == [self.model.behind.get(n) for n in NAMES]

    async def walk(self) -> None:
        """Take all steps."""
        await self.store.open()
        await self.hand.register()
        steps: list[Callable[[], Awaitable[None]]] = [
            self.enqueue, self.enqueue, self.claim, self.settle, self.cancel, self.time,
        ]  # fmt: skip
        for _ in range(STEPS):
            await self.draw.choice(steps)()
            await self.check()
        await self.store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres", "redis"])
def test_keys_are_as_the_model_says(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Whatever comes in whatever order, each key has the holder and the follower it should."""
    clock = MovedClock()
    namespace = f"model_{secrets.token_hex(4)}"
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'jobs.db'}"}.get(kind)
    url = url or str(request.getfixturevalue(f"{kind}_url"))
    store = open_store(url, namespace, Settings(), clock)
    if kind == "postgres":
        asyncio.run(store.migrate())
    seed = random.randrange(2**32)  # noqa: S311 -- it has to come again
    walk = Walk(store, clock, random.Random(seed))  # noqa: S311 -- as above
    try:
        asyncio.run(walk.walk())
    except AssertionError as error:
        error.add_note(f"the seed of this walk is {seed}")
        raise
