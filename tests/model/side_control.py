"""Steps of a walk side by side: control, gates, holds, locks, schedules, moves and reads."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec.structs import replace

from tests.model.sides import (
    KEYS,
    QUEUES,
    SHUTS,
    TASKS,
    TENANTS,
    Kind,
    Side,
    Sides,
    counted,
    gated,
    is_used,
    packed,
    shown,
)
from treadle.core.durations import SECOND
from treadle.core.gates.gate import PLACES, RATE, SWITCH, WINDOW, GateUse
from treadle.core.job import JobState
from treadle.store.contract import BATCH_MAX, Filter
from treadle.store.parts.holding import HoldTaken
from treadle.store.parts.moving import Parcel, Seal
from treadle.store.parts.scheduled import Move, Unfired

LOCKS: Final = ("l1", "l:{2}\u00e9")
SCHEDULES: Final = ("s1", "s'2{}", "s\u00e9")
TOKENS: Final = (b"t1" * 8, b"t2" * 8, b"t3" * 8)
OUTSIDE: Final = (
    GateUse("o1'\u00e9", PLACES, quota=2),
    GateUse("o2", RATE, cost=2, quota=3, period=SECOND, burst=4),
    GateUse("o3", WINDOW, quota=3, period=2 * SECOND, burst=3),
)
"""Gates that are passed outside jobs alone."""


class Control:
    """What people say about jobs, queues, tenants and gates."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides

    async def control(self) -> None:
        """Say a person's word about jobs or a queue."""
        sides, ids = self.sides, self.sides.some()
        alike = await sides.some_alike()
        queue, limit = sides.draw.choice(QUEUES), sides.draw.choice((1, 100))

        async def cancel(side: Side) -> object:
            done = await side.store.cancel(ids)
            for id_, ended in zip(ids, done, strict=True):
                if ended:
                    side.let_go(id_)
            return list(done)

        async def purge(side: Side) -> int:
            """Purge by as many calls as it takes: which jobs one call takes is open."""
            gone = [await side.store.purge(queue, limit=limit)]
            while gone[-1]:
                gone.append(await side.store.purge(queue, limit=limit))
            return sum(gone)

        verbs: dict[str, Callable[[Side], Awaitable[Any]]] = {
            "cancel": cancel,
            "retry": lambda side: side.store.retry(alike),
            "discard": lambda side: side.store.discard(ids),
            "purge": purge,
            "pause": lambda side: side.store.pause(queue),
            "resume": lambda side: side.store.resume(queue),
        }
        what = sides.draw.choice(("cancel", "retry", "retry", "resume", "resume", *verbs))
        await sides.all(what, verbs[what], lambda said: said if type(said) is int else repr(said))

    async def tenant(self) -> None:
        """Weigh a tenant, and read what was weighed."""
        name, stride = self.sides.draw.choice(TENANTS[1:]), self.sides.draw.choice((None, 10, 500))
        await self.sides.all(
            "weigh", lambda side: side.store.set_tenant(str(name), stride), lambda none: none
        )
        await self.sides.all("tenants", lambda side: side.store.tenants(), list)

    async def gate(self) -> None:
        """Shut the switch or a task for a while, or open it."""
        name = self.sides.draw.choice(SHUTS)
        if self.sides.draw.random() < 1 / 3:
            await self.sides.all(
                "shut",
                lambda side: side.store.shut_gate(name, delay=2 * SECOND, note="x'\"\u00e9"),
                lambda none: none,
            )
        else:
            await self.sides.all("open", lambda side: side.store.open_gate(name), lambda was: was)

    async def numbers(self) -> None:
        """Set or reset a gate's numbers."""
        use = self.sides.draw.choice(self.sides.gates)
        if use.kind == SWITCH:
            return
        if self.sides.draw.random() < 1 / 2:
            use = self.sides.draw.choice((use, replace(use, quota=use.quota + 1)))
            if use.kind != PLACES and self.sides.draw.random() < 1 / 4:
                # Another kind is refused, but where a store has dropped the gate by then.
                return
            await self.sides.all("set", lambda side: side.store.set_gate(use), lambda done: done)
        else:
            await self.sides.all(
                "reset", lambda side: side.store.reset_gate(use.name), lambda was: was
            )


class Outside:
    """Locks, holds and schedules."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.revisions: dict[str, int] = {}
        self.until: dict[tuple[str, bytes], int] = {}
        """Until when who has asked for a gate is sure to be known there."""

    async def lock(self) -> None:
        """Take a lock, or prolong or free it."""
        draw = self.sides.draw
        name, token = draw.choice(LOCKS), draw.choice(TOKENS)
        what = draw.choice(("lock_take", "lock_renew", "lock_free"))
        words = (name, token) if what == "lock_free" else (name, token, SECOND)
        await self.sides.all(
            what,
            lambda side: getattr(side.store, what)(*words),
            lambda said: said if isinstance(said, bool) else (said.fence is None, said.wait),
        )

    async def hold(self) -> None:
        """Pass a gate outside jobs, or stay there, or let go of it."""
        draw = self.sides.draw
        what, token = draw.choice(("take", "take", "renew", "free")), draw.choice(TOKENS)
        # Of a start nothing is held: until when it is remembered is a store's own.
        use = draw.choice(OUTSIDE) if what == "take" else OUTSIDE[0]
        now = self.sides.clock.wall()
        if what != "take" and self.until.pop((use.name, token), now + 1) <= now:
            # Whether what has lapsed is taken away by now hangs on who has looked.
            return
        verbs: dict[str, Callable[[Side], Awaitable[HoldTaken | bool]]] = {
            "take": lambda side: side.store.hold_take(use, token, 3 * SECOND),
            "renew": lambda side: side.store.hold_renew(use.name, token, 3 * SECOND),
            "free": lambda side: side.store.hold_free(use.name, token),
        }
        [done, *_] = await self.sides.all(f"{what} {use.name}", verbs[what], lambda said: said)
        if what != "free" and done is not False:
            self.until[use.name, token] = now + 3 * SECOND
        await self.sides.all(
            "gates",
            lambda side: side.store.gates(only=use.name),
            lambda gates: [gate for gate in gates if what == "take" or is_used(gate)],
        )

    async def start(self) -> None:
        """Bring starts of another store along, now and then by a move that has brought some."""
        draw, [*_, use] = self.sides.draw, OUTSIDE
        said = await self.sides.all("starts", lambda side: side.store.moving.starts(use.name), repr)
        if (starts := said[0]) is None:
            return
        move = draw.choice(("m1", "m2"))
        await self.sides.all(
            "receive", lambda side: side.store.moving.receive(starts, move), lambda done: done
        )
        await self.sides.all("starts", lambda side: side.store.moving.starts(use.name), repr)

    async def fire(self) -> None:
        """Move a schedule on, with jobs that may meet others."""
        sides, draw = self.sides, self.sides.draw
        name, jobs = draw.choice(SCHEDULES), tuple(sides.job() for _ in range(2))
        revision = draw.choice((self.revisions.get(name, 0),) * 4 + (99,))
        body = draw.choice((b"1", b"2", b"3", None))
        if body is None and not revision:
            return
        due = sides.clock.wall() + draw.choice((-1, 1)) * SECOND
        kept = draw.choice((None, Unfired(b"un", None)))
        move = Move(name, revision, body, due, jobs[: draw.randint(0, 2)], kept)
        await sides.all("fire", lambda side: side.store.fire([move]), list)
        [rows, *_] = await sides.all("page", lambda s: s.store.schedules_page("", 100), list)
        self.revisions = {row.name: row.revision for row in rows}
        await sides.all("schedules", lambda side: side.store.schedules(SCHEDULES), list)
        await sides.all(
            "due",
            lambda side: side.store.due_schedules(10),
            lambda found: ({row.name for row in found.rows}, found.next_due, found.now),
        )


class Moves:
    """Jobs that leave each store for the next one."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.moves = 0

    async def move(self) -> None:
        """Seal jobs; then open them again, or let each store have those of the one before."""
        sides, ids = self.sides, await self.sides.some_alike()
        self.moves += 1
        out, into = Seal("out", f"m{self.moves}"), Seal("in", f"m{self.moves}")
        said = await sides.all(
            "seal",
            lambda side: side.store.moving.seal(ids, out),
            lambda parcels: list(map(packed, parcels)),
        )
        if sides.draw.random() < 1 / 3:
            await sides.all("unseal", lambda side: side.store.moving.unseal(ids, out), list)
            return
        given = [[parcel for parcel in parcels if parcel is not None] for parcels in said]
        dead = [parcel.record.id for parcel in given[0] if parcel.is_dead]
        waiting = [parcel.record.id for parcel in given[0] if not parcel.is_dead]
        await sides.all("drop", lambda side: side.store.moving.drop(waiting, out), list)
        await sides.all("discard", lambda side: side.store.discard(dead), list)
        parcels = dict(zip(map(id, sides.sides), given[1:] + given[:1], strict=True))
        await self._adopt(parcels, waiting, into)

    async def _adopt(
        self, parcels: dict[int, list[Parcel]], waiting: list[bytes], into: Seal
    ) -> None:
        await self.sides.all(
            "adopt", lambda side: side.store.moving.adopt(parcels[id(side)], into), list
        )
        await self.sides.all("unseal", lambda side: side.store.moving.unseal(waiting, into), list)


class Reads:
    """What each store tells of what it has."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.queues: set[str] = set()
        """Those that have held a job: of one that was refused, a store may know the name or not."""

    async def read(self) -> None:
        """Read in one of the ways that are not gone at each step."""
        ids, draw = self.sides.some(), self.sides.draw
        which = draw.choice((
            Filter(), Filter(queue=draw.choice(QUEUES)), Filter(task=draw.choice(TASKS)),
            Filter(tag="t{1}"), Filter(state=JobState.FAILED), Filter(state=JobState.RUNNING),
            Filter(state=JobState.RETRYING, queue="q1"), Filter(reason="purged"),
            Filter(state=JobState.CANCELLED, task=TASKS[0]),
        ))  # fmt: skip
        before, limit = draw.choice((None, *ids)), draw.choice((1, 3, 1_000))
        await self.sides.all(
            f"find {which}",
            lambda side: side.store.find(which, limit=limit, before=before),
            lambda found: [job.id for job in found],
        )
        for id_ in ids:
            await self.sides.all(
                "attempts",
                lambda side: side.store.attempts(id_),  # noqa: B023 -- awaited before the next one
                lambda found: [replace(one, claim=0) for one in found],
            )
        await self.sides.all("ended", lambda side: side.store.ended(ids), sorted)
        await self.sides.all("dead", lambda side: side.store.dead_groups(), sorted)
        await self.sides.all(
            "gates",
            lambda side: side.store.gates(),
            lambda gates: [gated(gate) for gate in gates if is_used(gate)],
        )

    async def compare(self) -> None:
        """Every job, key and queue is the same everywhere."""
        jobs = self.sides.jobs[-BATCH_MAX:]
        # Who frees a place may wake the next one at once, or leave that to the next stage.
        wakes = self.sides.kind is Kind.LIMITS
        if wakes or True in [await self._has_heir(side) for side in self.sides.sides]:
            for side in self.sides.sides:
                await side.store.stage((), BATCH_MAX)
        [found, *_] = await self.sides.all(
            "jobs",
            lambda side: side.store.get(jobs),
            lambda found: dict(zip(jobs, map(shown, found), strict=True)),
        )
        self.queues |= {job.queue for job in found if job is not None}
        await self.sides.all("keys", lambda side: side.store.keys(KEYS), list)
        await self.sides.all(
            "queues",
            lambda side: side.store.queues(),
            lambda queues: [counted(one) for one in queues if one.name in self.queues],
        )

    async def _has_heir(self, side: Side) -> bool:
        """Tell whether a job has got a key that it waited for, and is not woken yet."""
        held = [key.job for key in await side.store.keys(KEYS) if key is not None]
        holders = await side.store.get(held)
        return any(job and (job.state, job.reason) == (JobState.BLOCKED, "key") for job in holders)
