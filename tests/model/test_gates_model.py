"""Gates against an oracle: random lives of jobs with two gates each, and of holds, on every store.

Two of the gates do not let every job wait: of one the newest waits, at the other none does.
The oracle counts by itself what runs behind each gate, what started when, and what a breaker has
learnt. After each step no gate may hold more than it allows, nothing may have passed one that was
shut or be a job of a paused task, and the store must say of the breaker what the oracle says; after
a second in which workers ask, no job may wait that could run, and at the end nothing holds a place.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.gates.gate import (
    BREAKER,
    FOREVER,
    PLACES,
    RATE,
    REPLACE,
    SKIP,
    WINDOW,
    GateUse,
    write_gates,
)
from treadle.core.gates.tells import Tell
from treadle.core.ids import new_id
from treadle.core.job import Claim, JobRecord, JobState
from treadle.core.outcome import Failed, Outcome, Released, Snoozed, Succeeded
from treadle.store.contract import Store
from treadle.testing.conformance.kit import ERROR, Hand, new_job, settlement, take, worker_info

STEPS = 120
GATES = {
    "a": GateUse("a", PLACES, quota=2),
    "b": GateUse("b", PLACES, quota=1),
    "c": GateUse("c", PLACES, quota=3),
    "n": GateUse("n", PLACES, quota=1, on_full=REPLACE),
    "s": GateUse("s", PLACES, quota=2, on_full=SKIP),
    "k": GateUse("k", BREAKER, quota=2, period=2 * SECOND, burst=SECOND),
    "r": GateUse("r", RATE, quota=5, period=SECOND, burst=2),
    "w": GateUse("w", WINDOW, quota=4, period=SECOND, burst=4),
}
TASKS = ("shop.mail", "shop.bill")
BY_CLOCK = {"r", "w"}
"""Those that bound starts, and hold nothing."""
OUTCOMES: Sequence[Outcome] = (
    Succeeded(None), Succeeded(None), Failed(ERROR, delay=0), Released(), Snoozed(SECOND),
    Failed(ERROR, retryable=False),
    Failed(ERROR, delay=0, tells=(Tell("k", "failed", why="down"),)),
    Failed(ERROR, delay=SECOND, tells=(Tell("k", "failed", why="down"),)),
    Snoozed(SECOND, tells=(Tell("c", "shut", SECOND, "busy"),)),
)  # fmt: skip


def _ends_well(outcome: Outcome) -> bool:
    return isinstance(outcome, Succeeded)


class Switchboard:
    """What the oracle knows of the breaker `k`, and of holds."""

    def __init__(self) -> None:
        self.tripped = 0
        self.shut: dict[str, int] = {}
        self.probe: bytes | None = None
        self.failed: list[int] = []

    def passes(self, name: str, now: int) -> bool:
        """Tell whether another job may pass."""
        if self.shut.get(name, 0) > now:
            return False
        return name != "k" or not self.tripped or self.probe is None

    def passed(self, id_: bytes) -> None:
        """Note a job that passes the breaker."""
        if self.tripped:
            self.probe = id_

    def left(self, id_: bytes, *, has: bool, outcome: Outcome | None, now: int) -> None:
        """Note how a job ended, or that somebody ended it."""
        tells = getattr(outcome, "tells", ())
        fails = any(tell.says == "failed" for tell in tells)
        heard = self.shut.get("k", 0) <= now
        if heard and self.tripped == 0 and fails:
            self.failed = [at for at in self.failed if at > now - 2 * SECOND] + [now]
            if len(self.failed) == 2:
                self._open(now)
        elif heard and self.tripped and self.probe == id_:
            if fails:
                self._open(now)
            elif isinstance(outcome, Succeeded) and has:
                self.tripped, self.failed = 0, []
        if self.probe == id_:
            self.probe = None

    def _open(self, now: int) -> None:
        self.tripped += 1
        self.shut["k"] = now + SECOND * 2 ** min(self.tripped - 1, 4)
        self.probe, self.failed = None, []


class Life:
    """Random jobs, workers and steps on one store, and the oracle's own counts."""

    def __init__(self, store: Store, clock: MovedClock, seed: int) -> None:
        self.store = store
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 -- lives, not secrets
        self.hands = [Hand(store, worker_info(name)) for name in ("w1", "w2")]
        self.gates: dict[bytes, tuple[str, ...]] = {}
        self.tasks: dict[bytes, str] = {}
        self.running: dict[bytes, tuple[Hand, Claim]] = {}
        self.starts: dict[str, list[int]] = {"r": [], "w": []}
        self.claimed: set[bytes] = set()
        self.holds: dict[bytes, str] = {}
        """What is held outside jobs, by its token."""
        self.asking: dict[bytes, str] = {}
        self.board = Switchboard()

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
                task=self.random.choice(TASKS),
                gates=write_gates([GATES[name] for name in names]),
                priority=self.random.randint(-1, 1),
                delay=self.random.choice((0, 0, SECOND)),
            )
            self.gates[job.id], self.tasks[job.id] = tuple(names), job.task
            jobs.append(job)
        await self.store.enqueue(new_id(), jobs)

    async def exchange(self, limit: int) -> int:
        """Settle some of a worker's jobs and claim others, in one exchange."""
        hand = self.random.choice(self.hands)
        own = [one for one in self.running.values() if one[0] is hand]
        ended = self.random.sample(own, self.random.randint(0, len(own)))
        outcomes = [self.outcome(has="k" in self.gates[claim.id]) for _, claim in ended]
        batch = [settlement(c, o) for (_, c), o in zip(ended, outcomes, strict=True)]
        self.ended([claim for _, claim in ended], outcomes)
        return self.took(hand, (await hand.exchange(batch, take(limit))).claims)

    def outcome(self, *, has: bool) -> Outcome:
        """Give some outcome; only a job behind the breaker says of it that it failed."""
        outcome = self.random.choice(OUTCOMES)
        says = any(tell.name == "k" for tell in getattr(outcome, "tells", ()))
        return outcome if has or not says else Released()

    def ended(self, claims: Sequence[Claim], outcomes: Sequence[Outcome]) -> None:
        """Note what a worker settles in one exchange."""
        now = self.clock.wall()
        # Of those that end together, failures count first.
        pairs = sorted(zip(claims, outcomes, strict=True), key=lambda pair: _ends_well(pair[1]))
        for claim, outcome in pairs:
            del self.running[claim.id]
            has = "k" in self.gates[claim.id]
            self.board.left(claim.id, has=has, outcome=outcome, now=now)
        for outcome in outcomes:
            for tell in getattr(outcome, "tells", ()):
                if tell.says == "shut":
                    self.board.shut[tell.name] = now + tell.span

    def took(self, hand: Hand, claims: Sequence[Claim]) -> int:
        """Note what a worker was given."""
        for claim in claims:
            assert claim.id not in self.running, "one job runs twice"
            now, names = self.clock.wall(), self.gates[claim.id]
            met = (*names, f"task:{self.tasks[claim.id]}")
            shut = [name for name in met if not self.board.passes(name, now)]
            assert not shut, f"a job has passed {shut}, which was shut"
            if "k" in names:
                self.board.passed(claim.id)
            self.running[claim.id] = (hand, claim)
            self.claimed.add(claim.id)
            for name in BY_CLOCK.intersection(names):
                self.starts[name].append(now)
        self.check()
        return len(claims)

    def check(self) -> None:
        """No gate lets more pass than it may."""
        held = self.held()
        assert all(held[name] <= GATES[name].quota for name in "abcns"), held
        rated, slid = self.starts["r"], self.starts["w"]
        for place, first in enumerate(rated):
            for later in range(place, len(rated)):
                span = rated[later] - first
                assert later - place + 1 <= 2 + span * 5 / SECOND, "the rate was overrun"
        for first in slid:
            assert sum(first <= at < first + SECOND for at in slid) <= 4, "a window was overrun"

    def held(self) -> Counter[str]:
        """Count what runs behind each gate."""
        jobs = Counter(name for id_ in self.running for name in self.gates[id_])
        return jobs + Counter(name for name in self.holds.values() if name not in BY_CLOCK)

    async def hold(self) -> None:
        """Ask for a hold, or let one go."""
        if self.holds and self.random.random() < 0.5:
            token = self.random.choice(sorted(self.holds))
            await self.store.hold_free(self.holds.pop(token), token)
        elif len(self.asking) < 4:
            token = new_id()
            self.asking[token] = self.random.choice(sorted(GATES.keys() - {"k"}))
        await self.ask()

    async def ask(self) -> None:
        """Let everybody ask who waits, the longest first."""
        for token, name in list(self.asking.items()):
            if (await self.store.hold_take(GATES[name], token, 3_600 * SECOND)).is_held:
                self.holds[token] = self.asking.pop(token)
                if name in BY_CLOCK:
                    self.starts[name].append(self.clock.wall())
                self.check()

    async def cancel(self) -> None:
        """Cancel jobs, whatever they are doing."""
        ids = self.random.sample(sorted(self.gates), min(2, len(self.gates)))
        for id_, done in zip(ids, await self.store.cancel(ids), strict=True):
            if done and self.running.pop(id_, None) is not None:
                self.board.left(id_, has=False, outcome=None, now=self.clock.wall())

    async def leave(self) -> None:
        """Let a worker go, with all that it holds, and come again."""
        hand = self.random.choice(self.hands)
        await self.store.leave(hand.name)
        own = [id_ for id_, (by, _) in self.running.items() if by is hand]
        for id_ in own:
            del self.running[id_]
            self.board.left(id_, has=False, outcome=None, now=self.clock.wall())
        await hand.register()

    async def pause(self) -> None:
        """Pause a task for a while, or until it is resumed; or resume it."""
        name, now = f"task:{self.random.choice(TASKS)}", self.clock.wall()
        if self.board.passes(name, now):
            delay = self.random.choice((None, SECOND))
            await self.store.shut_gate(name, delay=delay)
            self.board.shut[name] = FOREVER if delay is None else now + delay
        else:
            assert await self.store.open_gate(name)
            self.board.shut[name] = now

    async def compare(self) -> None:
        """The store says of the breaker what the oracle says."""
        shown = await self.store.gates(only="k", limit=1)
        now, until = self.clock.wall(), self.board.shut.get("k", 0)
        if shown:
            said = (shown[0].tripped, shown[0].shut_until)
            assert said == (self.board.tripped, until if until > now else None)

    async def replay(self) -> None:
        """Make jobs ready again that had ended."""
        ids = self.random.sample(sorted(self.gates), min(2, len(self.gates)))
        await self.store.retry(ids)

    async def settle_down(self) -> None:
        """Let workers ask for a while: then no job waits that could have run for that long."""
        for _ in range(15):
            self.clock.move(0.1)
            await self.ask()
            await self.store.stage((), 500)
            for hand in self.hands:
                self.took(hand, (await hand.exchange(demand=take(100))).claims)
        held, begun = self.held(), self.clock.wall() - 3 * SECOND // 2
        waiting = [
            record for record in await self.records() if record.state in ("ready", "blocked")
        ]
        new = [one.gate for one in waiting if one.id not in self.claimed]
        assert new.count("n") <= 1, "two wait where the newest replaces the others"
        assert new.count("s") == 0, "one waits that should have been skipped"
        could = [
            record.id.hex()
            for record in waiting
            if all(name == "k" or held[name] < GATES[name].quota for name in self.gates[record.id])
            and all(self.board.passes(name, begun) for name in self.gates[record.id])
            and self.board.passes(f"task:{record.task}", begun)
            and BY_CLOCK.isdisjoint(self.gates[record.id])
        ]
        assert not could, f"{len(could)} jobs wait beside free places: {held}"
        could = [name for name in self.asking.values() if name not in BY_CLOCK]
        could = [name for name in could if held[name] < GATES[name].quota]
        assert not could, f"who asks waits beside free places of {could}: {held}"

    async def records(self) -> list[JobRecord]:
        """Read every job that is there."""
        return [one for one in await self.store.get(sorted(self.gates)) if one is not None]

    async def drain(self) -> None:
        """End everything: each job gets its turn, and at last nothing is held."""
        states: set[JobState] = set()
        for task in TASKS:
            await self.store.open_gate(f"task:{task}")
            self.board.shut[f"task:{task}"] = self.clock.wall()
        for _ in range(400):
            self.clock.move(0.5)
            await self.ask()
            for token in list(self.holds):
                await self.store.hold_free(self.holds.pop(token), token)
            await self.store.stage((), 500)
            for hand in self.hands:
                own = [claim for by, claim in self.running.values() if by is hand]
                batch = [settlement(claim, Succeeded(None)) for claim in own]
                self.ended(own, [Succeeded(None)] * len(own))
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
            elif step < 0.83:
                await life.replay()
            elif step < 0.85:
                await life.leave()
            elif step < 0.88:
                await life.pause()
            elif step < 0.95:
                clock.move(life.random.choice((0.01, 0.3, 1.2)))
                await store.stage((), life.random.choice((1, 10, 500)))
            else:
                await life.settle_down()
            await life.compare()
        await life.drain()
    finally:
        await store.close()


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
