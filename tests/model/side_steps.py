"""Steps of a walk side by side: the line, its workers and upkeep."""

from typing import Final

from tests.model.sides import QUEUES, TASKS, WORKERS, Kind, Side, Sides, fate_of, told
from treadle.core.durations import HOUR, SECOND
from treadle.core.gates.tells import Tell
from treadle.core.job import Claim, NewJob, Orphan
from treadle.core.outcome import (
    Cancelled,
    Failed,
    Outcome,
    Rejected,
    Released,
    Snoozed,
    Succeeded,
    TaskUnknown,
    Verdict,
    WorkerLost,
)
from treadle.store.contract import BATCH_MAX, Note
from treadle.testing.conformance.kit import ERROR, LEASE_S, SUSPECT_S, settlement, take

OUTCOMES: Final[tuple[Outcome, ...]] = (
    Succeeded(b"1"), Succeeded(None), Failed(ERROR, delay=0), Failed(ERROR, delay=SECOND),
    Failed(ERROR, retryable=False, ran=5), Released(), Snoozed(SECOND), Cancelled("no"),
    Rejected(ERROR, "bad"), TaskUnknown(),
    Failed(ERROR, delay=0, tells=(Tell("b'\u00e9", "failed", why="x'\""),)),
    Snoozed(SECOND, tells=(Tell("r", "shut", 2 * SECOND, "later"),)),
)  # fmt: skip


class Line:
    """Enqueue, exchange, and what a running job says of itself."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides

    async def add(self) -> None:
        """Enqueue a batch, now and then twice."""
        sides = self.sides
        batch = [sides.job() for _ in range(sides.draw.randint(1, 5))]
        request = sides.id()
        sides.batches.append((sides.clock.wall(), request, batch))
        for _ in range(sides.draw.choice((1, 1, 1, 2))):
            await self._send(request, batch)

    async def again(self) -> None:
        """Enqueue a batch of old once more: all of it is there still, or its answer is."""
        sides = self.sides
        since = sides.clock.wall() - HOUR
        sides.batches = [one for one in sides.batches if one[0] > since]
        if not sides.batches:
            return
        _, request, batch = sides.draw.choice(sides.batches)
        found = await sides.sides[0].store.get([job.id for job in batch])
        if None not in found or any(job.key is not None for job in batch):
            await self._send(request, batch)

    async def _send(self, request: bytes, batch: list[NewJob]) -> None:
        await self.sides.all(
            "enqueue",
            lambda side: side.store.enqueue(request, batch),
            lambda fates: [fate_of(fate) for fate in fates],
        )

    async def settle(self) -> None:
        """End one claim of a worker, or one that it has no more."""
        draw = self.sides.draw
        worker, outcome = draw.choice(WORKERS), draw.choice(OUTCOMES)
        is_late = draw.random() < 1 / 10
        first = self.sides.sides[0]
        if not (held := sorted(first.past if is_late else first.held[worker])):
            return
        id_ = draw.choice(held)

        async def end(side: Side) -> object:
            claim = side.past[id_] if is_late else side.held[worker][id_]
            if not is_late:
                side.let_go(id_)
            return await side.hands[worker].settle(settlement(claim, outcome))

        await self.sides.all(f"settle as {outcome}", end, lambda verdicts: verdicts)

    async def claim(self) -> None:
        """Claim some until there is no more; where all is taken, now and then with ends."""
        draw = self.sides.draw
        worker, limit = draw.choice(WORKERS), draw.choice((1, 2, 5, 50))
        queues = draw.choice(((), (), ("q1",), ("q-2:x",), ("q-2:x", "q1")))
        ends = self.sides.whole and draw.random() < 1 / 3
        if self.sides.whole:
            limit = BATCH_MAX

        async def ask(side: Side) -> list[Claim]:
            ending = list(side.held[worker].values()) if ends else []
            for claim in ending:
                side.let_go(claim.id)
            batch = [settlement(claim, Succeeded(b"2")) for claim in ending]
            return await side.drain(worker, limit, *queues, settlements=batch)

        await self.sides.all(
            f"claim {limit} of {queues}",
            ask,
            lambda claims: {claim.id.hex(): told(claim) for claim in claims},
        )

    async def exchange_again(self) -> None:
        """Send an exchange twice: the second answer is that of the first."""
        draw = self.sides.draw
        worker, request = draw.choice(WORKERS), self.sides.id()
        held = sorted(self.sides.sides[0].held[worker])
        demand = take(BATCH_MAX) if self.sides.whole else None

        async def twice(side: Side) -> list[Verdict]:
            claims = [side.held[worker][id_] for id_ in held[:2]]
            batch = [settlement(claim, Failed(ERROR, delay=SECOND)) for claim in claims]
            for claim in claims:
                side.let_go(claim.id)
            hand = side.hands[worker]
            await side.store.stage((), BATCH_MAX)
            first = await hand.exchange(batch, demand, request)
            if not batch and not first.claims:
                return []
            again = await hand.exchange(batch, demand, request)
            side.held[worker] |= {claim.id: claim for claim in again.claims}
            given = [[(claim.id, claim.number) for claim in one.claims] for one in (first, again)]
            assert given[0] == given[1], f"{type(side.store).__name__}: {given}"
            assert list(again.verdicts) == list(first.verdicts), f"{type(side.store).__name__}"
            return list(first.verdicts)

        await self.sides.all("exchange twice", twice, list)
        await self.claim_rest(worker)

    async def claim_rest(self, worker: str) -> None:
        """Where all is taken, take what one exchange has left: how much that is, a store says."""

        async def rest(side: Side) -> list[bytes]:
            await side.drain(worker, BATCH_MAX)
            return sorted(side.held[worker])

        if self.sides.whole:
            await self.sides.all("claim the rest", rest, list)

    async def note(self) -> None:
        """Let a claim, held or over, tell of its progress."""
        draw = self.sides.draw
        worker, is_late = draw.choice(WORKERS), draw.random() < 1 / 5
        first = self.sides.sides[0]
        if not (held := sorted(first.past if is_late else first.held[worker])):
            return
        id_, line = draw.choice(held), (self.sides.clock.wall(), "info", "'\"\u00e9{}")
        progress = draw.choice((None, b'{"done":1}', b'{"done":2}'))

        async def tell(side: Side) -> None:
            claim = (side.past if is_late else side.held[worker])[id_]
            await side.store.note(
                side.hands[worker].name, [Note(id_, claim.number, progress, (line,))]
            )

        await self.sides.all("note", tell, lambda none: none)
        await self.sides.all("logs", lambda side: side.store.logs(id_), list)

    async def mark(self) -> None:
        """Make sure that a claim's code is known to have begun."""
        draw = self.sides.draw
        worker = draw.choice(WORKERS)
        if not (held := sorted(self.sides.sides[0].held[worker])):
            return
        place = draw.randrange(len(held))

        async def mark(side: Side) -> None:
            number = side.held[worker][held[place]].number
            me = side.hands[worker].name
            written = side.store.mark(me, held[place], number, place, surely=True)
            if written is not None:
                await written

        await self.sides.all("mark", mark, lambda none: none)


class Workers:
    """Workers that come, go and die, and upkeep."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.incarnation = 0

    async def come(self, name: str) -> None:
        """Let a worker come to every store."""
        self.incarnation += 1
        for side in self.sides.sides:
            await side.come(name, self.incarnation)

    async def leave(self) -> None:
        """Let a worker go, and come again; what was begun surely is left to a rescuer."""
        name = self.sides.draw.choice(WORKERS)
        await self.sides.all(
            "leave", lambda side: side.store.leave(side.hands[name].name), lambda count: count
        )
        await self.come(name)

    async def beat(self) -> None:
        """Beat with what a worker holds, and tell how many run."""
        name = self.sides.draw.choice(WORKERS)

        async def beat(side: Side) -> object:
            answer = await side.hands[name].beat(*side.held[name].values())
            return answer.gone, sorted(answer.revoked), answer.returned

        await self.sides.all("beat", beat, lambda said: said)

        async def count(side: Side) -> object:
            mine = {hand.name for hand in side.hands.values()}
            found = [one for one in await side.store.workers() if one.info.id in mine]
            return sorted((one.info.id, one.running, one.beat_age) for one in found)

        await self.sides.all("workers", count, lambda said: said)

    async def die(self) -> None:
        """Let a worker fall silent until the other one has taken its jobs over."""
        draw = self.sides.draw
        dead, other = draw.sample(WORKERS, 2)
        is_kind = draw.random() < 1 / 2

        async def rescue(side: Side) -> object:
            hand = side.hands[other]
            beaten = await hand.beat(*side.held[other].values())
            found = sorted(await hand.rescue(), key=lambda orphan: orphan.claim.id)
            for orphan in found:
                await hand.finish(orphan.claim, judged(orphan))
                side.let_go(orphan.claim.id)
            lost = [(told(one.claim), one.started is True, one.lost_by) for one in found]
            return beaten.gone, beaten.returned, lost

        def judged(orphan: Orphan) -> Outcome:
            spare = is_kind and not orphan.started
            return Released() if spare else WorkerLost(orphan.lost_by)

        for seconds in (LEASE_S + 1, SUSPECT_S + 1):
            await self.sides.pass_time(seconds)
            await self.sides.all("rescue", rescue, lambda said: said)
        await self.come(dead)

    async def time(self) -> None:
        """Let time go by, and upkeep come."""
        draw = self.sides.draw
        # A breaker that has opened is forgotten in the end, by each store when it will.
        long = (3, 3) if self.sides.kind is Kind.LIMITS else (4_000, 90_000)
        steps = (0.01, 0.01, 0.3, 0.3, 1.2, 1.2, 3, 3, 3, 40, *long)
        await self.sides.pass_time(draw.choice(steps))
        tasks = draw.choice(((), TASKS[:1]))
        for side in self.sides.sides:
            for hand in side.hands.values():
                await hand.beat(*side.held[hand.name.partition(".")[0]].values())
            await side.store.stage(tasks, BATCH_MAX)
            # A gate may go one prune after what has held it.
            await side.store.prune(BATCH_MAX)
            await side.store.prune(BATCH_MAX)

    async def ready(self) -> None:
        """A store says that there is work where a job is ready."""
        queue = self.sides.draw.choice(QUEUES)
        for side in self.sides.sides:
            found = await side.store.get(self.sides.jobs[-BATCH_MAX:])
            states = {job.state for job in found if job is not None and job.queue == queue}
            paused = {one.name for one in await side.store.queues() if one.paused}
            if "ready" in states and queue not in paused:
                assert await side.store.ready([queue]), f"{type(side.store).__name__}: no work"
