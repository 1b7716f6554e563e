"""The scan marks: a drain goes on behind what it claimed, and forgets nobody for long."""

import asyncio
import time
from typing import Final

import psycopg
import pytest

from tests.conformance.read_counts import entries_read
from treadle.core.ids import new_id
from treadle.core.job import Claim, NewJob
from treadle.core.lanes import Demand, Step
from treadle.core.outcome import Failed, Released, Succeeded
from treadle.core.settings import Settings
from treadle.store.postgres.engine.wire import Row
from treadle.store.postgres.line.scan import Mark, Piece, Scan, pieces
from treadle.store.postgres.store import PostgresStore
from treadle.store.statements import COMMIT
from treadle.testing.conformance.kit import (
    ERROR,
    Hand,
    ids_of,
    new_job,
    settlement,
    take,
    worker_info,
)
from treadle.testing.conformance.line.transactional import Desk

WAIT_S: Final = 25.0
JOBS: Final = 8_000
BATCH: Final = 40
ENTRIES_MAX: Final = 15
"""Entries of the index that half a drain may read a job; it was 50 without marks, then 150."""
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


class TestMarks:
    """When there are marks, and which."""

    def made(self, *rows: Row, demand: Demand | None = None) -> tuple[Scan, Clock]:
        """Let a whole look claim these rows, all that it wanted."""
        clock = Clock()
        scan = Scan(clock)
        look = scan.begin(DONE, demand or take(len(rows)))
        assert look.is_whole
        scan.saw(look, rows, len(rows))
        return scan, clock

    def test_a_full_claim_leaves_the_last_of_each_kind(self) -> None:
        """A kind is a queue and a priority."""
        scan, _ = self.made(row(7, priority=3), row(1), row(2), row(9, "other"))
        marks = {(mark.queue, mark.priority): mark for mark in scan.begin(DONE, take(2)).marks}
        assert marks == {
            ("default", 3): Mark("default", 3, 0, bytes(15) + b"\7"),
            ("default", 0): Mark("default", 0, 0, bytes(15) + b"\2"),
            ("other", 0): Mark("other", 0, 0, bytes(15) + b"\x09"),
        }

    def test_a_later_claim_moves_its_own_marks_alone(self) -> None:
        """What it did not reach is where it was."""
        scan, _ = self.made(row(7, priority=3), row(1))
        scan.saw(scan.begin(DONE, take(1)), [row(8, priority=3)], 1)
        assert [mark.id[-1] for mark in scan.begin(DONE, take(1)).marks] == [8, 1]

    def test_a_short_claim_leaves_none(self) -> None:
        """Nothing is behind them."""
        for rows, wanted in (([row(1)], 2), ([], 1)):
            scan, _ = self.made(row(0, priority=1), row(0))
            scan.saw(scan.begin(DONE, take(1)), rows, wanted)
            assert scan.begin(DONE, take(1)).is_whole

    def test_too_many_kinds_leave_none(self) -> None:
        """Each costs a look of its own."""
        scan, _ = self.made(*(row(n, priority=-n) for n in range(32)))
        look = scan.begin(DONE, take(1))
        assert len(look.marks) == 32
        scan.saw(look, [row(1, priority=-50)], 1)
        assert scan.begin(DONE, take(1)).is_whole

    def test_a_job_of_a_tenant_leaves_none(self) -> None:
        """A later job of a tenant may have a smaller tag, and nobody's job has the least of all."""
        scan, _ = self.made(row(7, priority=3), (0, 4_000, bytes(16), 1, "t", "default"))
        assert [mark.priority for mark in scan.begin(DONE, take(1)).marks] == [3]

    def test_what_is_handed_back_may_lie_before_them(self) -> None:
        """So they go with a settlement that does not end its job, and with none at all."""
        for settlements in (
            [settlement(CLAIM, Released())],
            [*DONE, settlement(CLAIM, Failed(ERROR, delay=0))],
            [],
        ):
            scan, _ = self.made(row(1))
            assert scan.begin(settlements, take(1)).is_whole

    def test_they_are_for_their_queues_alone(self) -> None:
        """A demand is given those of the queues that it names."""
        for demand, count in (
            (take(1), 2),
            (take(1, "default"), 1),
            (take(1, "default", "third"), 1),
            (take(1, "other", "default"), 2),
            (take(1, "third"), 0),
        ):
            scan, _ = self.made(row(1), row(2, "other"))
            assert len(scan.begin(DONE, demand).marks) == count

    def test_a_whole_look_comes_every_second(self) -> None:
        """However long the drain goes on; it leaves the marks of what it did not reach."""
        scan, clock = self.made(row(5, priority=1), row(1))
        clock.now += 0.9
        look = scan.begin(DONE, take(1))
        assert not look.is_whole
        scan.saw(look, [row(6, priority=1)], 1)
        clock.now += 0.1
        look = scan.begin(DONE, take(1))
        assert look.is_whole
        scan.saw(look, [row(4, priority=1)], 1)
        assert [mark.id[-1] for mark in scan.begin(DONE, take(1)).marks] == [4, 1]

    def test_a_whole_look_that_takes_long_comes_more_rarely(self) -> None:
        """It takes no more than a twentieth of the time."""
        scan, clock = self.made(row(1))
        clock.now += 1
        look = scan.begin(DONE, take(1))
        assert look.is_whole
        clock.now += 0.5
        scan.saw(look, [row(2)], 1)
        clock.now += 9.9
        assert not scan.begin(DONE, take(1)).is_whole
        clock.now += 0.1
        assert scan.begin(DONE, take(1)).is_whole

    def test_every_tenth_second_a_whole_look_is_thorough(self) -> None:
        """It takes jobs, too, whose rows somebody has touched and left."""
        scan, clock = self.made(row(1))
        thorough = []
        for _ in range(21):
            clock.now += 1
            look = scan.begin(DONE, take(1))
            assert look.is_whole
            scan.saw(look, [row(2)], 1)
            thorough.append(look.is_thorough)
        assert [n for n, one in enumerate(thorough, 1) if one] == [10, 20]

    def test_one_mark_is_enough_while_its_queue_is_the_only_open_one(self) -> None:
        """A look that finds nothing that way takes the other queues along from then on."""
        scan, _ = self.made(row(1))
        for is_single in (True, False, False):
            look = scan.begin(DONE, take(1))
            assert look.is_single == is_single
            scan.saw(look, [] if is_single else [row(2)], 1)

    def test_a_queue_that_is_named_has_no_others(self) -> None:
        """When nothing is behind its mark, the next look is whole."""
        scan, _ = self.made(row(1))
        look = scan.begin(DONE, take(1, "default"))
        assert look.is_single
        scan.saw(look, [], 1)
        assert scan.begin(DONE, take(1, "default")).is_whole


def test_a_queue_is_cut_at_its_marks() -> None:
    """The pieces are all of its priorities once, and nothing before a mark."""
    marks = [Mark("a", 3, 5, b"x" * 16), Mark("a", 2, 6, b"y" * 16), Mark("b", 0, 7, b"z" * 16)]
    low, high = -32_768, 32_767
    assert pieces(marks, ["a", "c"]) == [
        Piece("a", 4, high),
        Piece("a", 3, 3, 5, b"x" * 16),
        Piece("a", 2, 2, 6, b"y" * 16),
        Piece("a", low, 1),
        Piece("c", low, high),
    ]


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


def test_a_turn_that_is_committed_late_is_seen_at_once(postgres_schema: str) -> None:
    """A caller's transaction gave a job its tag long before the drain came past that."""

    async def drain() -> None:
        store = PostgresStore(postgres_schema, "default", Settings())
        await store.migrate()
        worker = Hand(store, worker_info("w"))
        await worker.register()
        await store.enqueue(new_id(), [new_job(tenant="a") for _ in range(200)])
        late, nobodys = new_job(tenant="b"), new_job()
        desk = Desk(store.transactional)
        await desk.begin()
        await desk.run(store.transactional.enqueue([late]))
        claims = await worker.claim(10)
        for _ in range(8):
            done = [settlement(claim, Succeeded(None)) for claim in claims]
            claims = list((await worker.exchange(done, take(10))).claims)
        await desk.end(COMMIT)
        await store.enqueue(new_id(), [nobodys])
        done = [settlement(claim, Succeeded(None)) for claim in claims]
        claims = list((await worker.exchange(done, take(10))).claims)
        assert ids_of(claims)[:2] == [nobodys.id, late.id]
        await store.close()

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


@pytest.mark.parametrize(
    ("queues", "demand"),
    [
        (("a",), take(BATCH)),
        (("a", "b", "c"), take(BATCH)),
        (("a", "b", "c"), take(BATCH, "a", "b", "c")),
        (
            ("a", "b", "c"),
            Demand(BATCH, (Step("b", 12), Step("a", 28), *take(BATCH, *"abc").steps)),
        ),
    ],
    ids=["priorities", "every queue", "strict queues", "weighted queues"],
)
def test_a_drain_reads_as_much_at_its_end_as_at_its_start(
    postgres_schema: str, queues: tuple[str, ...], demand: Demand
) -> None:
    """Beside an open transaction, whatever the queues and priorities of its jobs."""
    url, _, schema = postgres_schema.partition("?schema=")
    store = PostgresStore(f"{postgres_schema}&application_name={schema}", "default", Settings())
    worker = Hand(store, worker_info("w"))
    mixed = [
        NewJob(new_id(), "t", b"[]", queue=queues[n % len(queues)], priority=n % 5)
        for n in range(JOBS)
    ]

    async def fill() -> None:
        await store.migrate()
        for start in range(0, JOBS, 1_000):
            await store.enqueue(new_id(), mixed[start : start + 1_000])
        await worker.register()
        await store.close()

    async def some(claims: list[Claim]) -> list[Claim]:
        """Drain half of the jobs; what the server reads is counted when the session ends."""
        taken = 0
        while taken < JOBS // 2:
            answer = await worker.exchange([settlement(c, Succeeded(None)) for c in claims], demand)
            claims = list(answer.claims)
            taken += len(claims)
        await store.close()
        return claims

    with psycopg.connect(url) as held:
        held.execute("select txid_current()")
        asyncio.run(fill())
        before = entries_read(url, schema, "treadle_jobs_ready")
        claims = asyncio.run(some([]))
        half = entries_read(url, schema, "treadle_jobs_ready")
        asyncio.run(some(claims))
        whole = entries_read(url, schema, "treadle_jobs_ready")
    assert half - before < ENTRIES_MAX * JOBS
    assert whole - half < ENTRIES_MAX * JOBS
