"""Gates against an oracle: random lives of jobs with two gates each, and of holds, on every store.

Two of the gates do not let every job wait: of one the newest waits, at the other none does.
The oracle counts by itself what runs or is held behind each gate and what started. After a step no
gate may hold more than it allows; after a second in which workers and holders ask, nobody may wait
who could pass, and at the end nothing holds a place.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.gates.gate import PLACES, RATE, REPLACE, SKIP, GateUse, write_gates
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobRecord, JobState
from treadle.core.outcome import Failed, Outcome, Released, Snoozed, Succeeded
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import ERROR, Hand, new_job, settlement, take, worker_info

STEPS = 120
GATES = {
    "a": GateUse("a", PLACES, quota=2),
    "b": GateUse("b", PLACES, quota=1),
    "c": GateUse("c", PLACES, quota=3),
    "n": GateUse("n", PLACES, quota=1, on_full=REPLACE),
    "s": GateUse("s", PLACES, quota=2, on_full=SKIP),
    "r": GateUse("r", RATE, quota=5, period=SECOND, burst=2),
}
OUTCOMES: Sequence[Outcome] = (
    Succeeded(None), Succeeded(None), Failed(ERROR, delay=0), Released(), Snoozed(SECOND),
    Failed(ERROR, retryable=False),
)  # fmt: skip


class Life:
    """Random jobs, workers and steps on one store, and the oracle's own counts."""

    def __init__(self, store: Store, clock: MovedClock, seed: int) -> None:
        self.store = store
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 -- lives, not secrets
        self.hands = [Hand(store, worker_info(name)) for name in ("w1", "w2")]
        self.gates: dict[bytes, tuple[str, ...]] = {}
        self.running: dict[bytes, tuple[Hand, Claim]] = {}
        self.starts: list[int] = []
        self.claimed: set[bytes] = set()
        self.holds: dict[bytes, str] = {}
        """What is held outside jobs, by its token."""
        self.asking: dict[bytes, str] = {}

    async def begin(self) -> None:
        """Make the workers known."""
        for hand in self.hands:
            await hand.register()

    async def add(self) -> None:
        """Enqueue a few jobs behind up to two gates."""
        jobs = []
        for _ in range(self.random.randint(1, 6)):
            names = self.random.sample(sorted(GATES), self.random.choice((0, 1, 2, 2)))
            job = new_job(
                gates=write_gates([GATES[name] for name in names]),
                priority=self.random.randint(-1, 1),
                delay=self.random.choice((0, 0, SECOND)),
            )
            self.gates[job.id] = tuple(names)
            jobs.append(job)
        await self.store.enqueue(new_id(), jobs)

    async def exchange(self, limit: int) -> int:
        """Settle some of a worker's jobs and claim others, in one exchange."""
        hand = self.random.choice(self.hands)
        own = [one for one in self.running.values() if one[0] is hand]
        ended = self.random.sample(own, self.random.randint(0, len(own)))
        outcomes = [self.random.choice(OUTCOMES) for _ in ended]
        batch = [settlement(c, o) for (_, c), o in zip(ended, outcomes, strict=True)]
        for _, claim in ended:
            del self.running[claim.id]
        return self.took(hand, (await hand.exchange(batch, take(limit))).claims)

    def took(self, hand: Hand, claims: Sequence[Claim]) -> int:
        """Note what a worker was given."""
        for claim in claims:
            assert claim.id not in self.running, "one job runs twice"
            self.running[claim.id] = (hand, claim)
            self.claimed.add(claim.id)
            if "r" in self.gates[claim.id]:
                self.starts.append(self.clock.wall())
        self.check()
        return len(claims)

    def check(self) -> None:
        """No gate lets more pass than it may."""
        held = self.held()
        assert all(held[name] <= GATES[name].quota for name in "abcns"), held
        for place, first in enumerate(self.starts):
            for later in range(place, len(self.starts)):
                span = self.starts[later] - first
                assert later - place + 1 <= 2 + span * 5 / SECOND, "the rate was overrun"

    def held(self) -> Counter[str]:
        """Count what runs behind each gate."""
        jobs = Counter(name for id_ in self.running for name in self.gates[id_])
        return jobs + Counter(name for name in self.holds.values() if name != "r")

    async def hold(self) -> None:
        """Ask for a hold, or let one go."""
        if self.holds and self.random.random() < 0.5:
            token = self.random.choice(sorted(self.holds))
            await self.store.hold_free(self.holds.pop(token), token)
        elif len(self.asking) < 4:
            token = new_id()
            self.asking[token] = self.random.choice(sorted(GATES))
        await self.ask()

    async def ask(self) -> None:
        """Let everybody ask who waits, the longest first."""
        for token, name in list(self.asking.items()):
            if (await self.store.hold_take(GATES[name], token, 3_600 * SECOND)).is_held:
                self.holds[token] = self.asking.pop(token)
                if name == "r":
                    self.starts.append(self.clock.wall())
                self.check()

    async def cancel(self) -> None:
        """Cancel jobs, whatever they are doing."""
        ids = self.random.sample(sorted(self.gates), min(2, len(self.gates)))
        for id_, done in zip(ids, await self.store.cancel(ids), strict=True):
            if done:
                self.running.pop(id_, None)

    async def replay(self) -> None:
        """Make jobs ready again that had ended."""
        ids = self.random.sample(sorted(self.gates), min(2, len(self.gates)))
        await self.store.retry(ids)

    async def settle_down(self) -> None:
        """Let workers ask for a second and a half: then no job waits that could run."""
        for _ in range(15):
            self.clock.move(0.1)
            await self.ask()
            await self.store.stage((), 500)
            for hand in self.hands:
                self.took(hand, (await hand.exchange(demand=take(100))).claims)
        held = self.held()
        waiting = [
            record for record in await self.records() if record.state in ("ready", "blocked")
        ]
        new = [one.gate for one in waiting if one.id not in self.claimed]
        assert new.count("n") <= 1, "two wait where the newest replaces the others"
        assert new.count("s") == 0, "one waits that should have been skipped"
        could = [
            record.id.hex()
            for record in waiting
            if all(held[name] < GATES[name].quota for name in self.gates[record.id] if name != "r")
            and "r" not in self.gates[record.id]
        ]
        assert not could, f"{len(could)} jobs wait beside free places: {held}"
        could = [name for name in self.asking.values() if name != "r"]
        could = [name for name in could if held[name] < GATES[name].quota]
        assert not could, f"who asks waits beside free places of {could}: {held}"

    async def records(self) -> list[JobRecord]:
        """Read every job that is there."""
        return [one for one in await self.store.get(sorted(self.gates)) if one is not None]

    async def drain(self) -> None:
        """End everything: each job gets its turn, and at last nothing is held."""
        states: set[JobState] = set()
        for _ in range(400):
            self.clock.move(0.5)
            await self.ask()
            for token in list(self.holds):
                await self.store.hold_free(self.holds.pop(token), token)
            await self.store.stage((), 500)
            for hand in self.hands:
                own = [claim for by, claim in self.running.values() if by is hand]
                batch = [settlement(claim, Succeeded(None)) for claim in own]
                for claim in own:
                    del self.running[claim.id]
                self.took(hand, (await hand.exchange(batch, take(100))).claims)
            states = {record.state for record in await self.records()}
            if all(JobState(state).is_terminal for state in states) and not self.asking:
                break
        else:
            raise AssertionError(f"jobs are left: {states}")
        shown = await self.store.gates()
        assert [(gate.used, gate.waiting) for gate in shown] == [(0, 0)] * len(shown)


async def live(store: Store, clock: MovedClock, seed: int) -> None:
    """Live through one seed."""
    await store.open()
    life = Life(store, clock, seed)
    await life.begin()
    try:
        for _ in range(STEPS):
            step = life.random.random()
            if step < 0.25:
                await life.add()
            elif step < 0.35:
                await life.hold()
            elif step < 0.75:
                await life.exchange(life.random.choice((1, 2, 5, 50)))
            elif step < 0.8:
                await life.cancel()
            elif step < 0.85:
                await life.replay()
            elif step < 0.95:
                clock.move(life.random.choice((0.01, 0.3, 1.2)))
                await store.stage((), life.random.choice((1, 10, 500)))
            else:
                await life.settle_down()
        await life.drain()
    finally:
        await store.close()


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: object) -> Callable[[MovedClock], Store]:
    """Make a store of each kind with a clock of the test's."""

    def made(clock: MovedClock) -> Store:
        own = f"m_{secrets.token_hex(6)}"
        if request.param == "memory":
            return open_store("memory://", own, Settings(), clock)
        if request.param == "sqlite":
            return open_store(f"sqlite:///{tmp_path}/jobs.db", own, Settings(), clock)
        url = request.getfixturevalue(f"{request.param}_url")
        if request.param == "redis":
            return open_store(url, own, Settings(), clock)
        store = PostgresStore(url, own, Settings(), clock)
        store.migrate_now()
        return store

    return made


@pytest.mark.parametrize("turn", range(3))
def test_gates_let_pass_what_they_may_and_leave_no_place_idle(
    make: Callable[[MovedClock], Store], turn: int
) -> None:
    """Whatever happens to the jobs, in every order that the seed comes upon."""
    seed = random.randrange(1 << 30) + turn  # noqa: S311 -- as above
    clock = MovedClock()
    try:
        asyncio.run(live(make(clock), clock, seed))
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
