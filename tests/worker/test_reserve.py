"""Slots that a worker reserves for a queue: kept for it, and for no other."""

import asyncio
import random
from collections import Counter

import pytest

from tests.worker.floor import until
from treadle import Treadle, Worker
from treadle.core.lanes import Demand, Lanes, Step, read_reserve


class Floor:
    """An application whose jobs run until they are told to end, and say of which queue they are."""

    def __init__(self) -> None:
        # No look of its own finds a job that the worker has not been woken for.
        self.app = Treadle("memory://", settings={"poll": 60})
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.ran = 0
        self.end = asyncio.Event()

        @self.app.task
        async def work(queue: str, *, quick: bool = False) -> None:
            self.running[queue] += 1
            self.most |= self.running
            if not quick:
                await self.end.wait()
            self.running[queue] -= 1
            self.ran += 1

        self.work = work

    async def add(self, queue: str, count: int, *, quick: bool = False) -> None:
        """Enqueue jobs."""
        task = self.work.using(queue=queue)
        await task.aenqueue_many([task.s(queue, quick=quick) for _ in range(count)])


def test_other_queues_never_take_a_reserved_slot() -> None:
    """A backlog fills the shared slots and no more; a job of the queue starts beside it at once."""

    async def main() -> None:
        floor = Floor()
        await floor.add("bulk", 30)
        async with Worker(floor.app, concurrency=6, reserve={"mail": 2}):
            await until(lambda: floor.running["bulk"] == 4)
            await floor.add("mail", 3)
            await until(lambda: floor.running["mail"] == 2)
            assert floor.running == {"bulk": 4, "mail": 2}
            floor.end.set()
            await until(lambda: floor.ran == 33)
        # A place that bulk leaves may go to mail, which has no bound; never the other way round.
        assert floor.most["bulk"] == 4

    asyncio.run(main())


def test_a_queue_takes_shared_slots_beyond_its_own() -> None:
    """Where nothing else waits, all slots run its jobs."""

    async def main() -> None:
        floor = Floor()
        await floor.add("mail", 9)
        async with Worker(floor.app, concurrency=5, reserve="mail=2"):
            await until(lambda: floor.running["mail"] == 5)
            floor.end.set()
            await until(lambda: floor.ran == 9)

    asyncio.run(main())


def test_a_queue_that_is_only_reserved_gets_its_slots_alone() -> None:
    """What `queues` does not name runs in the reserved slots and no others."""

    async def main() -> None:
        floor = Floor()
        await floor.add("mail", 9)
        await floor.add("other", 1)
        worker = Worker(floor.app, "bulk", concurrency=5, reserve={"mail": 2})
        async with worker:
            await until(lambda: floor.running["mail"] == 2)
            await floor.add("bulk", 9)
            await until(lambda: floor.running["bulk"] == 3)
            floor.end.set()
            await until(lambda: floor.ran == 18)
        assert floor.most == {"mail": 2, "bulk": 3}

    asyncio.run(main())


def test_more_reserved_slots_than_one_demand_takes_starve_nobody() -> None:
    """While 1,500 slots wait for a queue that is empty, others run in the 500 that are shared."""

    async def main() -> None:
        floor = Floor()
        await floor.add("bulk", 700)
        async with Worker(floor.app, concurrency=2_000, reserve={"mail": 1_500}):
            await until(lambda: floor.running["bulk"] == 500)
            await floor.add("mail", 1_600)
            await until(lambda: floor.running["mail"] == 1_500)
            floor.end.set()
            await until(lambda: floor.ran == 2_300)
        assert floor.most["bulk"] == 500

    asyncio.run(main())


def test_short_jobs_keep_to_the_shared_slots() -> None:
    """Thousands of jobs that end at once never hold a slot that is reserved."""

    async def main() -> None:
        floor = Floor()
        await floor.add("bulk", 2_000, quick=True)
        await floor.add("mail", 5)
        async with Worker(floor.app, concurrency=4, reserve={"mail": 3}, burst=True) as worker:
            await until(lambda: floor.running["mail"] == 3)
            await until(lambda: floor.ran >= 1_000)
            assert floor.most["bulk"] == 1
            floor.end.set()
            await worker.wait()
        assert floor.ran == 2_005

    asyncio.run(main())


def test_a_reserved_queue_that_is_paused_keeps_nobody_else_waiting() -> None:
    """Its slots stay empty, the others run jobs; it is served as soon as it is resumed."""

    async def main() -> None:
        floor = Floor()
        await floor.add("mail", 3)
        await floor.app.queues.apause("mail")
        await floor.add("bulk", 9)
        async with Worker(floor.app, concurrency=5, reserve={"mail": 2, "sms": 1}) as worker:
            await until(lambda: floor.running["bulk"] == 2)
            await floor.app.queues.aresume("mail")
            await until(lambda: floor.running["mail"] == 2)
            assert floor.running == {"bulk": 2, "mail": 2}
            worker.stop()
            await floor.add("mail", 1)
            floor.end.set()
        assert floor.ran == 4
        assert floor.most == {"bulk": 2, "mail": 2}

    asyncio.run(main())


def test_a_burst_ends_with_reserved_slots_that_nobody_wants() -> None:
    """Nothing is left to do, whatever is reserved."""

    async def main() -> None:
        floor = Floor()
        await floor.add("bulk", 7, quick=True)
        async with Worker(floor.app, concurrency=4, reserve={"mail": 3}, burst=True) as worker:
            await worker.wait()
        assert floor.ran == 7

    asyncio.run(main())


def test_demands_alternate_between_reserved_and_shared_slots() -> None:
    """A demand never lets what an empty queue leaves go to another one."""
    lanes = Lanes.parse("a,b", {"mail": 2})
    others = Demand(3, (Step("a", 3), Step("b", 3)))
    told = []
    for room, held in ((5, []), (5, []), (3, ["mail", "mail"]), (1, ["mail", "a", "a", "a"])):
        told.append((lanes.demand(room, held), lanes.half_asked))
    assert told == [
        (Demand(2, (Step("mail", 2),)), True),
        (others, False),
        (others, False),
        (Demand(1, (Step("mail", 1),)), False),
    ]
    assert lanes.names == ("a", "b", "mail")


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_starts_and_ends_takes_a_reserved_slot(seed: int) -> None:
    """Over random demands the shared slots are never exceeded, and no slot stays empty in vain."""
    draw = random.Random(seed)  # noqa: S311 -- spreads cases, guards nothing
    reserve, slots = {"x": 2, "y": 1}, 8
    lanes, held = Lanes(reserve=reserve), Counter[str]()
    for _ in range(300):
        if held and draw.random() < 0.5:
            held[draw.choice(list(held.elements()))] -= 1
        held = +held
        waiting = [name for name in "xyz" if draw.random() < 0.7]
        for _ in range(2):
            room = slots - held.total()
            most = draw.choice([1, 2, slots])
            demand = lanes.demand(room, held.elements(), most=most) if room else Demand(0, ())
            left = demand.total
            for step in demand.steps:
                names = [step.queue] if step.queue else waiting
                name = draw.choice(names) if names else "none"
                taken = min(step.limit, left) if name in waiting else 0
                held[name] += taken
                left -= taken
        shared = sum(max(0, held[name] - reserve.get(name, 0)) for name in held)
        assert shared <= slots - 3
        assert held.total() <= slots


@pytest.mark.parametrize(
    ("reserve", "slots", "told"),
    [
        ({"mail": 5}, 4, "mail=5 reserves 5 slots, and there are 4"),
        ({"mail": 2, "sms": 3}, 4, "mail=2, sms=3 reserves 5 slots"),
        ({"mail": 4}, 4, "no other queue would ever be served"),
        ({"mail": 0}, 4, "must be a number from 1"),
        ({"mail": -1}, 4, "must be a number from 1"),
        ({"mail": 1.5}, 4, "must be a number from 1"),
        ({"": 1}, 4, "is not a queue name"),
        ("mail", 4, "reserves nothing; write for example mail=2"),
        ("mail=two", 4, "reserves nothing"),
        ("mail=1,mail=2", 4, "named twice"),
    ],
)
def test_what_cannot_be_reserved_is_refused(reserve: object, slots: int, told: str) -> None:
    """The error says which number meets which."""
    with pytest.raises(ValueError, match=told):
        Worker(Treadle("memory://"), concurrency=slots, reserve=reserve)  # type: ignore[arg-type]


def test_every_slot_may_be_reserved_where_no_other_queue_is_named() -> None:
    """Two pools and nothing else."""
    Worker(Treadle("memory://"), "a,b", concurrency=4, reserve={"a": 1, "b": 3})


def test_the_text_is_read() -> None:
    """As on the command line, with spaces and without."""
    assert read_reserve("mail=2, sms=1") == {"mail": 2, "sms": 1}
    assert read_reserve(None) == {}
