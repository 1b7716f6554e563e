"""The scan mark: a drain goes on behind what it claimed, and forgets nobody for long."""

import asyncio
import time
from typing import Final

import psycopg

from treadle.core.ids import new_id
from treadle.core.job import Claim, NewJob
from treadle.core.lanes import Demand
from treadle.core.outcome import Failed, Released, Succeeded
from treadle.core.settings import Settings
from treadle.store.postgres.engine.wire import Row
from treadle.store.postgres.line.scan import Mark, Scan
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

WAIT_S: Final = 10.0
CLAIM: Final = Claim(bytes(16), 1, "t", "default", 0, 1, b"[]")
DONE: Final = [settlement(CLAIM, Succeeded(None))]


class Clock:
    """A clock in seconds that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        """Read it."""
        return self.now


def row(number: int, queue: str = "default", priority: int = 0) -> Row:
    """Make what a claim's row begins with."""
    return (priority, 0, number.to_bytes(16, "big"), 1, "t", queue)


class TestMark:
    """When there is a mark."""

    def made(self, *rows: Row, demand: Demand | None = None) -> tuple[Scan, Clock]:
        """Let a whole look claim these rows, all that it wanted."""
        clock = Clock()
        scan = Scan(clock)
        assert scan.begin(DONE, demand or take(len(rows))) is None
        scan.saw(rows, len(rows))
        return scan, clock

    def test_a_full_claim_leaves_one(self) -> None:
        """It is the last job that was claimed."""
        scan, _ = self.made(row(1), row(2))
        assert scan.begin(DONE, take(2)) == Mark("default", 0, 0, bytes(15) + b"\2")

    def test_a_short_claim_or_a_mixed_one_leaves_none(self) -> None:
        """Nothing is behind it, or it would be of one kind alone."""
        for rows, wanted in (
            ([row(1)], 2),
            ([], 1),
            ([row(1), row(2, "other")], 2),
            ([row(1, priority=3), row(2)], 2),
        ):
            scan, _ = self.made(row(0))
            scan.saw(rows, wanted)
            assert scan.begin(DONE, take(1)) is None

    def test_what_is_handed_back_may_lie_before_it(self) -> None:
        """So it goes with a settlement that does not end its job, and with none at all."""
        for settlements in (
            [settlement(CLAIM, Released())],
            [*DONE, settlement(CLAIM, Failed(ERROR, delay=0))],
            [],
        ):
            scan, _ = self.made(row(1))
            assert scan.begin(settlements, take(1)) is None

    def test_it_is_for_its_queue_alone(self) -> None:
        """A demand that names others looks whole."""
        for demand, kept in (
            (take(1), True),
            (take(1, "default"), True),
            (take(1, "other"), False),
            (take(1, "default", "other"), False),
        ):
            scan, _ = self.made(row(1))
            assert (scan.begin(DONE, demand) is not None) == kept

    def test_a_whole_look_comes_every_second(self) -> None:
        """However long the drain goes on."""
        scan, clock = self.made(row(1))
        clock.now += 0.9
        assert scan.begin(DONE, take(1)) is not None
        scan.saw([row(2)], 1)
        clock.now += 0.1
        assert scan.begin(DONE, take(1)) is None

    def test_a_whole_look_that_takes_long_comes_more_rarely(self) -> None:
        """It takes no more than a twentieth of the time."""
        scan, clock = self.made(row(1))
        clock.now += 1
        assert scan.begin(DONE, take(1)) is None
        clock.now += 0.5
        scan.saw([row(2)], 1)
        clock.now += 9.9
        assert scan.begin(DONE, take(1)) is not None
        clock.now += 0.1
        assert scan.begin(DONE, take(1)) is None


def test_nobody_before_the_mark_is_forgotten(postgres_schema: str) -> None:
    """A job that another process hands back is claimed in the middle of a long drain."""

    async def drain() -> None:
        store = PostgresStore(postgres_schema, "default", Settings())
        other = PostgresStore(postgres_schema, "default", Settings())
        await store.migrate()
        worker, slow = (Hand(s, worker_info(n)) for s, n in ((store, "w"), (other, "slow")))
        await worker.register()
        await slow.register()
        await store.enqueue(new_id(), [new_job() for _ in range(50)])
        [old] = await slow.claim()
        seen: list[bytes] = []
        claims: list[Claim] = await worker.claim(5)
        deadline = time.monotonic() + WAIT_S
        while old.id not in seen:
            assert time.monotonic() < deadline, "the job before the mark was not found"
            await store.enqueue(new_id(), [new_job() for _ in range(5)])
            done = [settlement(claim, Succeeded(None)) for claim in claims]
            claims = list((await worker.exchange(done, take(5))).claims)
            seen += ids_of(claims)
            if len(seen) == 10:
                await slow.finish(old, Released())
        assert len(seen) == len(set(seen))
        await store.close()
        await other.close()

    asyncio.run(drain())


def test_a_drain_ends_with_every_job_beside_an_open_transaction(postgres_schema: str) -> None:
    """In both queues and all priorities, each exactly once, the best first as far as is known."""

    async def drain() -> None:
        store = PostgresStore(postgres_schema, "default", Settings())
        await store.migrate()
        jobs = [
            NewJob(new_id(), "t", b"[]", queue=("a", "b")[n % 500 == 0], priority=n % 97 == 0)
            for n in range(2_000)
        ]
        for start in range(0, len(jobs), 500):
            await store.enqueue(new_id(), jobs[start : start + 500])
        worker = Hand(store, worker_info("w"))
        await worker.register()
        taken: list[bytes] = []
        claims = await worker.claim(40)
        while claims:
            taken += ids_of(claims)
            done = [settlement(claim, Succeeded(None)) for claim in claims]
            answer = await worker.exchange(done, take(40))
            claims = list(answer.claims)
            if not claims and answer.more:
                claims = await worker.claim(40)
        best = sorted(jobs, key=lambda job: (-job.priority, job.id))
        assert taken == [job.id for job in best]
        await store.close()

    url = postgres_schema.partition("?")[0]
    with psycopg.connect(url) as reader:
        reader.execute("select txid_current()")
        asyncio.run(drain())
