"""Sides: the same store three times over, what each is asked, and how its answers are read.

What a store is free to choose is not in what is read here: the id of a worker's request, whether
a job that would meet a shut gate is parked already or still ready, and the order of jobs where a
verb promises none.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, Final, TypeVar

from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.gates.gate import (
    BREAKER,
    PLACES,
    RATE,
    REPLACE,
    REPLACED,
    SKIP,
    SWITCH,
    WINDOW,
    GateRecord,
    GateUse,
    read_gates,
    write_gates,
)
from treadle.core.job import Claim, Fate, JobRecord, JobState, Met, NewJob
from treadle.core.keys.key import Conflict, Key, Until
from treadle.core.outcome import Settlement
from treadle.store.contract import BATCH_MAX, QueueRecord, Store
from treadle.store.parts.moving import Parcel
from treadle.testing.conformance.kit import Hand, take, worker_info

START: Final = 1_800_000_000_000_000
"""When a walk begins, with a millisecond for each number of its seed."""
QUEUES: Final = ("q1", "q1", "q-2:x")
KEYS: Final = ("k1", "k{2}:'\"", "k\u00e9")
TASKS: Final = ("shop.mail", "shop.bill")
TENANTS: Final = (None, "t1", "t'{2}\u00e9")
WORKERS: Final = ("w1", "w2")
WIDE: Final = (
    GateUse("g{x}'\"\u00e9", PLACES, quota=10_000),
    GateUse("r", RATE, quota=10_000, period=SECOND, burst=10_000),
    GateUse("sw", SWITCH),
    GateUse("w", WINDOW, quota=9_000, period=SECOND, burst=9_000),
)
"""Gates that nobody waits at while they are open."""
NARROW: Final = (
    GateUse("b'\u00e9", BREAKER, quota=2, period=60 * SECOND, burst=2 * SECOND),
    GateUse("g{x}'\"\u00e9", PLACES, quota=2),
    GateUse("g1", PLACES, quota=1),
    GateUse("n\u00e9", PLACES, quota=1, on_full=REPLACE),
    GateUse("r", RATE, quota=3, period=SECOND, burst=3),
    GateUse("r2", RATE, cost=2, quota=1, period=SECOND, burst=4),
    GateUse("s'", PLACES, quota=1, on_full=SKIP),
    GateUse("sw", SWITCH),
    GateUse("w", WINDOW, quota=3, period=2 * SECOND, burst=3),
)
"""Gates that jobs wait at, or end."""
SHUTS: Final = ("sw", f"task:{TASKS[0]}", "b'\u00e9")
"""Gates that are shut and opened: that of some jobs, that of a task, and one of no job."""
ROUNDS: Final = 200
"""Exchanges after which a store that says there is more has said so for ever."""
T = TypeVar("T")


class Kind(Enum):
    """What a walk is about beside all that each of them is about."""

    ORDER = 0
    """Claims take the best few: no job has a tenant, as the turns of those that one write makes
    ready are open, and no gate is ever full, as whom a claim of a few has met and parked is a
    store's own."""
    TENANTS = 1
    """Jobs have tenants, and a claim takes all that there is."""
    LIMITS = 2
    """Gates are narrow, and a claim takes all that may pass."""


class Side:
    """One store, with its workers and what they hold."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hands: dict[str, Hand] = {}
        self.held: dict[str, dict[bytes, Claim]] = {name: {} for name in WORKERS}
        self.past: dict[bytes, Claim] = {}
        """Claims that are over, however they ended, for what comes late."""

    async def come(self, name: str, incarnation: int) -> None:
        """Let a worker come, under a new name as each incarnation has."""
        self.past |= self.held[name]
        self.held[name] = {}
        self.hands[name] = Hand(self.store, worker_info(f"{name}.{incarnation}"))
        await self.hands[name].register()

    async def drain(
        self, worker: str, limit: int, *queues: str, settlements: Sequence[Settlement] = ()
    ) -> list[Claim]:
        """Settle, and claim until there is no more, as a worker's loop does; what it found."""
        found: list[Claim] = []
        for _ in range(ROUNDS):
            await self.store.stage((), BATCH_MAX)
            demand = take(limit - len(found), *queues)
            answer = await self.hands[worker].exchange(settlements, demand)
            found += answer.claims
            settlements = ()
            if len(found) == limit or (not answer.more and answer.next_due != 0):
                self.held[worker] |= {claim.id: claim for claim in found}
                return sorted(found, key=lambda claim: claim.id)
        raise AssertionError("the store says that there is more, for ever")

    def let_go(self, id_: bytes) -> None:
        """Hold a job no more."""
        for held in self.held.values():
            if (claim := held.pop(id_, None)) is not None:
                self.past[id_] = claim


class Sides:
    """All stores, the clock that they go by, and the draws of one walk."""

    def __init__(self, stores: Sequence[Store], clock: MovedClock, seed: int) -> None:
        self.sides = [Side(store) for store in stores]
        self.clock = clock
        self.seed = seed
        self.draw = random.Random(seed)  # noqa: S311 -- it has to come again
        self.kind = Kind(seed % len(Kind))
        self.made = 0
        self.jobs: list[bytes] = []
        self.batches: list[tuple[int, bytes, list[NewJob]]] = []

    @property
    def whole(self) -> bool:
        """Whether a claim takes all that there is."""
        return self.kind is not Kind.ORDER

    @property
    def gates(self) -> Sequence[GateUse]:
        """The gates of jobs."""
        return NARROW if self.kind is Kind.LIMITS else WIDE

    async def all(
        self, what: str, verb: Callable[[Side], Awaitable[T]], read: Callable[[T], Any]
    ) -> list[T]:
        """Do one thing to every store; what each says must read the same."""
        said = [await verb(side) for side in self.sides]
        wanted = read(said[0])
        for side, answer in zip(self.sides, said, strict=True):
            other = read(answer)
            name = type(side.store).__name__
            assert other == wanted, f"{what}: {name} says {_apart(other, wanted)}"
        return said

    async def pass_time(self, seconds: float) -> None:
        """Let time go by; where gates are narrow, upkeep comes before anything else does.

        A gate of which it is time is looked at by upkeep, and by an exchange that touches it, so
        who is woken would hang on which of them comes first.
        """
        self.clock.move(seconds)
        if self.kind is Kind.LIMITS:
            for side in self.sides:
                await side.store.stage((), BATCH_MAX)

    def id(self) -> bytes:
        """Make the next id, as ids are made: they rise, and come again with the seed."""
        self.made += 1
        number = (self.clock.wall() // 1_000 << 80) | (7 << 76) | (self.made << 64) | (2 << 62)
        return (number | self.draw.getrandbits(62)).to_bytes(16, "big")

    def some(self) -> list[bytes]:
        """Draw up to three jobs."""
        return self.draw.sample(self.jobs, min(len(self.jobs), self.draw.choice((1, 2, 3))))

    async def some_alike(self) -> list[bytes]:
        """Draw jobs that are parked everywhere or nowhere: what a person may do hangs on that."""
        ids = self.some()
        found = [await side.store.get(ids) for side in self.sides]
        states = [{job and job.state for job in jobs} for jobs in zip(*found, strict=True)]
        return [id_ for id_, ones in zip(ids, states, strict=True) if len(ones) == 1]

    def key(self) -> Key:
        """Draw a key."""
        until, conflict = self.draw.choice(list(Until)), self.draw.choice(list(Conflict))
        if until is Until.TIME:
            return Key(self.draw.choice(KEYS), until, Conflict.KEEP, hold=SECOND)
        most = self.draw.choice((None, SECOND)) if conflict is Conflict.REPLACE else None
        hashed = self.draw.choice((None, None, b"h" * 32, b"g" * 32))
        return Key(self.draw.choice(KEYS), until, conflict, max_wait=most, hash=hashed)

    def job(self) -> NewJob:
        """Draw a job, behind gates or not, with a key or without."""
        job = NewJob(
            self.id(),
            task=self.draw.choice(TASKS),
            queue=self.draw.choice(QUEUES),
            gates=write_gates(self.draw.sample(self.gates, self.draw.choice((0, 1, 2)))),
            priority=self.draw.choice((0, 0, 5, -3)),
            delay=self.draw.choice((0, 0, SECOND)),
            expires_in=self.draw.choice((None, None, 4 * SECOND)),
            tenant=self.draw.choice(TENANTS) if self.kind is Kind.TENANTS else None,
            key=self.key() if self.draw.random() < 1 / 2 else None,
            tags=self.draw.choice((None, b'["new","t{1}"]')),
            args=b"[[%d],{}]" % len(self.jobs),
        )
        self.jobs.append(job.id)
        return job


def _apart(other: object, wanted: object) -> str:
    """Tell two answers apart; of jobs, those alone that differ."""
    if isinstance(other, dict) and isinstance(wanted, dict):
        keys = [key for key in wanted | other if other.get(key) != wanted.get(key)]
        other, wanted = (
            {key: other.get(key) for key in keys},
            {key: wanted.get(key) for key in keys},
        )
    return f"{other}, not {wanted}"


def is_parked(record: JobRecord) -> bool:
    """Tell whether a job waits at a gate."""
    return record.state is JobState.BLOCKED and record.reason == "gate"


def shown(record: JobRecord | None) -> object:
    """Give what the stores have to agree about of a job."""
    if record is None:
        return None
    state = (JobState.READY, None) if is_parked(record) else (record.state, record.reason)
    if (record.reason or "").startswith(REPLACED):
        # By which of a batch, its first newer one or its newest, is a store's own.
        state = (record.state, REPLACED)
    when = (record.created_at, record.run_at, record.started_at, record.finished_at)
    ends = (record.expires_at, record.keep_until, record.outcome, record.result, record.error)
    tried = (record.attempt, record.forgiven, record.crashes, record.attempts_max, record.worker)
    said = (record.task, record.queue, record.priority, record.args, record.key, record.tenant)
    more = (record.tags, record.meta, record.progress, record.policy)
    return state, when, ends, tried, said, more, read_gates(record.gates)


def told(claim: Claim) -> object:
    """Give the same of a claim."""
    tried = (claim.attempt, claim.forgiven, claim.crashes, claim.parked_at)
    when = (claim.created_at, claim.run_at, claim.expires_at, claim.started_at)
    said = (claim.args, claim.key, claim.tags, claim.tenant)
    return claim.id.hex(), tried, when, said, read_gates(claim.gates)


def packed(parcel: Parcel | None) -> object:
    """Give the same of a job on its way to another store."""
    if parcel is None:
        return None
    rest = (parcel.cost, parcel.parked_at, parcel.ran, parcel.attempts, parcel.logs)
    return shown(parcel.record), rest


def counted(queue: QueueRecord) -> object:
    """Give the same of a queue."""
    counts = {state: n for state, n in queue.counts.items() if n}
    waiting = counts.pop("ready", 0) + counts.pop("blocked", 0)
    return queue.name, queue.paused, waiting, sorted(counts.items())


def is_used(gate: GateRecord) -> bool:
    """Tell whether a gate says anything; when one goes that does not is a store's own."""
    return bool(gate.used or gate.shut_until or gate.is_set or gate.tripped)


def gated(gate: GateRecord) -> object:
    """Give the same of a gate at which jobs may be parked or not."""
    # One that has nothing but its being shut may have gone before, and be a switch by now.
    is_known = gate.used or gate.is_set or gate.tripped
    numbers = (gate.kind, gate.quota, gate.period, gate.burst) if is_known else ()
    return gate.name, numbers, gate.is_set, gate.used, gate.shut_until, gate.note, gate.tripped


def fate_of(fate: Fate) -> object:
    """Give the same of what became of a new job."""
    if not isinstance(fate, Met):
        return JobState.READY if fate is JobState.BLOCKED else fate
    return fate.how, fate.job.hex()
