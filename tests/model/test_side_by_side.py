"""All stores side by side: one walk of random verbs over all features, and the same answers.

Where the other models ask each store whether it keeps the rules of one feature, this one has no
rules: SQLite, PostgreSQL and Redis are given the same verbs by the same clock, and whatever one of
them says, the others say, too. Keys, gates, schedules, locks, rescue and control meet each other.

What is left to a store does not differ here: the gates are wide, so that nobody waits at one but
while it is shut, and whether such a job is parked or still ready is one, so nobody retries it; no
job has a tenant, for who comes first of those that one write makes ready is open; and a claim comes
a second after the last one, when PostgreSQL has let go of marks.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from treadle.core.clock import MovedClock
from treadle.core.durations import SECOND
from treadle.core.gates.gate import PLACES, RATE, SWITCH, GateUse, read_gates, write_gates
from treadle.core.ids import new_id
from treadle.core.job import TERMINAL, Claim, Fate, JobRecord, JobState, Met, NewJob
from treadle.core.keys.key import Conflict, Key, Until
from treadle.core.outcome import (
    Cancelled,
    Failed,
    Outcome,
    Rejected,
    Released,
    Snoozed,
    Succeeded,
    TaskUnknown,
    WorkerLost,
)
from treadle.core.settings import Settings
from treadle.store.contract import BATCH_MAX, QueueRecord, Store
from treadle.store.open import open_store
from treadle.store.parts.scheduled import Move, Unfired
from treadle.testing.conformance.kit import (
    ERROR,
    LEASE_S,
    SUSPECT_S,
    Hand,
    new_job,
    settlement,
    take,
    worker_info,
)

STEPS: Final = 120
QUEUES: Final = ("q1", "q1", "q-2:x")
KEYS: Final = ("k1", "k{2}:'\"", "k\u00e9")
LOCKS: Final = ("l1", "l:{2}\u00e9")
SCHEDULES: Final = ("s1", "s'2{}", "s\u00e9")
TASKS: Final = ("shop.mail", "shop.bill")
WORKERS: Final = ("w1", "w2")
GATES: Final = (
    GateUse("g{x}'\"\u00e9", PLACES, quota=10_000),
    GateUse("r", RATE, quota=10_000, period=SECOND, burst=10_000),
    GateUse("sw", SWITCH),
)
OUTCOMES: Final[tuple[Outcome, ...]] = (
    Succeeded(b"1"), Succeeded(None), Failed(ERROR, delay=0), Failed(ERROR, delay=SECOND),
    Failed(ERROR, retryable=False), Released(), Snoozed(SECOND), Cancelled("no"),
    Rejected(ERROR, "bad"), TaskUnknown(),
)  # fmt: skip
T = TypeVar("T")


class Side:
    """One store, with its workers and what they hold."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hands = {name: Hand(store, worker_info(name)) for name in WORKERS}
        self.held: dict[str, dict[bytes, Claim]] = {name: {} for name in WORKERS}

    async def begin(self) -> None:
        """Open it, and let its workers come."""
        await self.store.open()
        for hand in self.hands.values():
            await hand.register()


def shown(record: JobRecord | None) -> object:
    """Give what the stores have to agree about of a job."""
    if record is None:
        return None
    parked = record.state is JobState.BLOCKED and record.reason == "gate"
    state = (JobState.READY, None) if parked else (record.state, record.reason)
    when = (record.created_at, record.run_at, record.started_at, record.finished_at)
    ends = (record.expires_at, record.keep_until, record.outcome, record.result, record.error)
    tried = (record.attempt, record.forgiven, record.crashes, record.attempts_max, record.worker)
    said = (record.task, record.queue, record.priority, record.args, record.key)
    return state, when, ends, tried, said, read_gates(record.gates)


def told(claim: Claim) -> object:
    """Give the same of a claim."""
    tried = (claim.attempt, claim.forgiven, claim.crashes)
    return claim.id.hex(), tried, claim.args, claim.key, read_gates(claim.gates)


def counted(queue: QueueRecord) -> object:
    """Give the same of a queue that is not empty."""
    counts = {state: n for state, n in queue.counts.items() if n and state in TERMINAL}
    return queue.name, queue.paused, sorted(counts.items()), sum(queue.counts.values())


def fate_of(fate: Fate) -> object:
    """Give the same of what became of a new job."""
    if not isinstance(fate, Met):
        return JobState.READY if fate is JobState.BLOCKED else fate
    return fate.how, fate.job.hex()


class Walk:
    """The stores, and one random walk over all of them."""

    def __init__(self, stores: list[Store], clock: MovedClock, seed: int) -> None:
        self.sides = [Side(store) for store in stores]
        self.clock = clock
        self.draw = random.Random(seed)  # noqa: S311 -- it has to come again
        self.jobs: list[bytes] = []
        self.plain: set[bytes] = set()
        """Those of them that have no gate."""
        self.revisions: dict[str, int] = {}

    async def all(
        self, what: str, verb: Callable[[Side], Awaitable[T]], read: Callable[[T], Any]
    ) -> T:
        """Do one thing to every store; what each says must read the same."""
        said = [await verb(side) for side in self.sides]
        wanted = read(said[0])
        for side, answer in zip(self.sides, said, strict=True):
            other = read(answer)
            assert other == wanted, (
                f"{what}: {type(side.store).__name__} says {other}, not {wanted}"
            )
        return said[0]

    def some(self) -> list[bytes]:
        """Draw up to three jobs."""
        return self.draw.sample(self.jobs, min(len(self.jobs), self.draw.choice((1, 2, 3))))

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
        uses = self.draw.sample(GATES, self.draw.choice((0, 1, 2)))
        job = new_job(
            task=self.draw.choice(TASKS),
            queue=self.draw.choice(QUEUES),
            gates=write_gates(uses),
            priority=self.draw.choice((0, 0, 5, -3)),
            delay=self.draw.choice((0, 0, SECOND)),
            expires_in=self.draw.choice((None, None, 4 * SECOND)),
            key=self.key() if self.draw.random() < 1 / 2 else None,
            args=b"[[%d],{}]" % len(self.jobs),
        )
        self.jobs.append(job.id)
        if not uses:
            self.plain.add(job.id)
        return job

    async def add(self) -> None:
        """Enqueue a batch, now and then twice."""
        batch, request = [self.job() for _ in range(self.draw.randint(1, 5))], new_id()
        for _ in range(self.draw.choice((1, 1, 1, 2))):
            await self.all(
                "enqueue",
                lambda side: side.store.enqueue(request, batch),
                lambda fates: [fate_of(fate) for fate in fates],
            )

    async def settle(self) -> None:
        """End one claim of a worker."""
        worker, outcome = self.draw.choice(WORKERS), self.draw.choice(OUTCOMES)
        if not (held := sorted(self.sides[0].held[worker])):
            return
        id_ = self.draw.choice(held)
        await self.all(
            f"settle as {outcome}",
            lambda side: side.hands[worker].settle(settlement(side.held[worker].pop(id_), outcome)),
            lambda verdicts: verdicts,
        )

    async def claim(self) -> None:
        """Claim some until there is no more."""
        worker, limit = self.draw.choice(WORKERS), self.draw.choice((1, 2, 5, 50))
        queues = self.draw.choice(((), (), ("q1",), ("q-2:x",)))
        self.clock.move(1.1)

        async def ask(side: Side) -> list[Claim]:
            found: list[Claim] = []
            await side.store.stage((), BATCH_MAX)
            for _ in range(20):
                answer = await side.hands[worker].exchange(demand=take(limit - len(found), *queues))
                found += answer.claims
                if not answer.more or len(found) == limit:
                    break
            side.held[worker] |= {claim.id: claim for claim in found}
            return sorted(found, key=lambda claim: claim.id)

        await self.all("claim", ask, lambda claims: [told(claim) for claim in claims])

    async def control(self) -> None:
        """Say a person's word about jobs or a queue."""
        ids, queue, limit = self.some(), self.draw.choice(QUEUES), self.draw.choice((1, 100))

        async def cancel(side: Side) -> object:
            done = await side.store.cancel(ids)
            for held in side.held.values():
                for id_, ended in zip(ids, done, strict=True):
                    if ended:
                        held.pop(id_, None)
            return list(done)

        verbs: dict[str, Callable[[Side], Awaitable[Any]]] = {
            "cancel": cancel,
            "retry": lambda side: side.store.retry([id_ for id_ in ids if id_ in self.plain]),
            "discard": lambda side: side.store.discard(ids),
            "purge": lambda side: side.store.purge(queue, limit=limit),
            "pause": lambda side: side.store.pause(queue),
            "resume": lambda side: side.store.resume(queue),
        }
        what = self.draw.choice(("cancel", "retry", "retry", "resume", "resume", *verbs))
        await self.all(what, verbs[what], lambda said: said if type(said) is int else repr(said))

    async def gate(self) -> None:
        """Shut the switch or a task for a while, or open it."""
        name = self.draw.choice(("sw", f"task:{TASKS[0]}"))
        if self.draw.random() < 1 / 3:
            await self.all(
                "shut",
                lambda side: side.store.shut_gate(name, delay=2 * SECOND, note="x'\"\u00e9"),
                lambda none: none,
            )
        else:
            await self.all("open", lambda side: side.store.open_gate(name), lambda was: was)

    async def lock(self) -> None:
        """Take a lock, or prolong or free it."""
        name, token = self.draw.choice(LOCKS), self.draw.choice((b"t1" * 8, b"t2" * 8))
        what = self.draw.choice(("lock_take", "lock_renew", "lock_free"))
        words = (name, token) if what == "lock_free" else (name, token, SECOND)
        await self.all(
            what,
            lambda side: getattr(side.store, what)(*words),
            lambda said: said if isinstance(said, bool) else (said.fence is None, said.wait),
        )

    async def fire(self) -> None:
        """Move a schedule on, with jobs that may meet others."""
        name, jobs = self.draw.choice(SCHEDULES), tuple(self.job() for _ in range(2))
        revision = self.draw.choice((self.revisions.get(name, 0),) * 4 + (99,))
        body = self.draw.choice((b"1", b"2", b"3", None)) if revision else b"0"
        due = self.clock.wall() + self.draw.choice((-1, 1)) * SECOND
        kept = self.draw.choice((None, Unfired(b"un", None)))
        move = Move(name, revision, body, due, jobs[: self.draw.randint(0, 2)], kept)
        await self.all("fire", lambda side: side.store.fire([move]), list)
        rows = await self.all("page", lambda s: s.store.schedules_page("", 100), list)
        self.revisions = {row.name: row.revision for row in rows}
        await self.all(
            "due",
            lambda side: side.store.due_schedules(10),
            lambda found: ({row.name for row in found.rows}, found.next_due, found.first),
        )

    async def leave(self) -> None:
        """Let a worker go, and come again."""
        name = self.draw.choice(WORKERS)

        async def go(side: Side) -> int:
            count = await side.store.leave(name)
            side.held[name] = {}
            await side.hands[name].register()
            return count

        await self.all("leave", go, lambda count: count)

    async def die(self) -> None:
        """Let a worker fall silent until the other one has taken its jobs over."""
        dead, other = self.draw.sample(WORKERS, 2)
        outcome = self.draw.choice((WorkerLost(dead), Released()))

        async def rescue(side: Side) -> object:
            hand = side.hands[other]
            beaten = await hand.beat(*side.held[other].values())
            found = sorted(await hand.rescue(), key=lambda orphan: orphan.claim.id)
            for orphan in found:
                await hand.finish(orphan.claim, outcome)
                side.held[dead].pop(orphan.claim.id, None)
            return beaten.gone, [told(orphan.claim) for orphan in found]

        for seconds in (LEASE_S + 1, SUSPECT_S + 1):
            self.clock.move(seconds)
            await self.all("rescue", rescue, lambda said: said)
        for side in self.sides:
            side.held[dead] = {}
            await side.hands[dead].register()

    async def time(self) -> None:
        """Let time go by, and upkeep come."""
        self.clock.move(self.draw.choice((0.01, 0.3, 1.2, 3)))
        tasks = self.draw.choice(((), TASKS[:1]))
        for side in self.sides:
            await side.store.stage(tasks, BATCH_MAX)
            await side.store.prune(BATCH_MAX)

    async def compare(self) -> None:
        """Every job, key and queue is the same everywhere."""
        jobs = self.jobs[-BATCH_MAX:]
        await self.all(
            "jobs",
            lambda side: side.store.get(jobs),
            lambda found: dict(zip(jobs, map(shown, found), strict=True)),
        )
        await self.all("keys", lambda side: side.store.keys(KEYS), list)
        await self.all(
            "queues",
            lambda side: side.store.queues(),
            lambda queues: [
                counted(one) for one in queues if one.paused or any(one.counts.values())
            ],
        )

    async def go(self) -> None:
        """Take all steps."""
        for side in self.sides:
            await side.begin()
        steps = {
            self.add: 14, self.claim: 14, self.settle: 20, self.control: 8, self.gate: 3,
            self.lock: 3, self.fire: 5, self.leave: 1, self.die: 1, self.time: 8,
        }  # fmt: skip
        try:
            for _ in range(STEPS):
                self.clock.move(0.001)
                [step] = self.draw.choices(list(steps), list(steps.values()))
                await step()
                await self.compare()
        finally:
            for side in self.sides:
                await side.store.close()


def test_every_store_says_the_same(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Whatever is done in whatever order, over keys, gates, schedules, locks and rescue."""
    clock, own = MovedClock(), f"model_{secrets.token_hex(6)}"
    urls = (f"sqlite:///{tmp_path / 'jobs.db'}", postgres_url, redis_url)
    stores = [open_store(url, own, Settings(), clock) for url in urls]
    asyncio.run(stores[1].migrate())
    seed = random.randrange(1 << 30)  # noqa: S311 -- as above
    try:
        asyncio.run(Walk(stores, clock, seed).go())
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
