"""What `fire` promises: by compare-and-set, with its jobs, as one write."""

import asyncio

import pytest

from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.keys.key import Key
from treadle.store.contract import BATCH_MAX
from treadle.store.parts.scheduled import MOVES_MAX, Move
from treadle.testing.conformance.kit import Case, new_job, scenario
from treadle.testing.conformance.schedules.due import made

HOSTILE = [
    "'; drop table x; --",
    "{treadle:default}:jobs",
    "a\tb",
    "%s",
    "$1",
    "\\",
    '"',
    "*",
    "é" * 90,
]


async def revisions(case: Case, *names: str) -> list[int | None]:
    """Read the revisions of these schedules."""
    return [None if row is None else row.revision for row in await case.store.schedules(names)]


class TestFire:
    """`fire`: each move if its revision holds."""

    @scenario
    async def test_a_schedule_is_made_moved_and_dropped(self, case: Case) -> None:
        """Each write raises the revision; a name is free again after it was dropped."""
        assert await case.store.fire([made("a", 5, b"one")]) == [True]
        assert await case.store.fire([Move("a", 1, b"two", 6)]) == [True]
        [row] = await case.store.schedules(["a"])
        assert row is not None
        assert (row.revision, row.due, row.body) == (2, 6, b"two")
        assert await case.store.fire([Move("a", 2, b"three")]) == [True]
        assert (await case.store.due_schedules(10, now=10)).rows == []
        assert await case.store.fire([Move("a", 3, None)]) == [True]
        assert await case.store.schedules(["a"]) == [None]
        assert await case.store.fire([made("a")]) == [True]
        assert await revisions(case, "a") == [1]

    @scenario
    async def test_another_revision_is_refused(self, case: Case) -> None:
        """Nothing is written for a move that comes too late: neither schedule nor job."""
        await case.store.fire([made("a")])
        late = [
            Move("a", 0, b"x", 1, (new_job(),)),
            Move("b", 1, b"x", 1, (new_job(),)),
            Move("c", 1, None, None, (new_job(),)),
        ]
        assert await case.store.fire(late) == [False] * 3
        assert await case.store.fire([Move("a", 2, b"x", 1, (new_job(),))]) == [False]
        assert await case.states([move.jobs[0].id for move in late]) == ["gone"] * 3
        [row] = await case.store.schedules(["a"])
        assert row is not None
        assert (row.body, row.due) == (b"{}", None)
        assert await case.store.schedules(["b"]) == [None]

    @scenario
    async def test_what_is_not_there_cannot_be_dropped(self, case: Case) -> None:
        """A move without a body that wants no schedule of its name writes no job either."""
        job = new_job()
        assert await case.store.fire([Move("a", 0, None, None, (job,))]) == [False]
        assert await case.states([job.id]) == ["gone"]
        assert await case.store.schedules(["a"]) == [None]

    @scenario
    async def test_moves_have_their_own_fates(self, case: Case) -> None:
        """One that holds is written beside one that does not, with its jobs alone."""
        await case.store.fire([made("a"), made("b"), made("c")])
        jobs = [new_job(queue=f"q{n}") for n in range(3)]
        moves = [
            Move(name, revision, b"x", None, (job,))
            for name, revision, job in zip("cab", (1, 7, 1), jobs, strict=True)
        ]
        assert await case.store.fire(moves) == [True, False, True]
        assert await case.states([job.id for job in jobs]) == ["ready", "gone", "ready"]
        assert await revisions(case, "a", "b", "c") == [1, 2, 2]

    @scenario
    async def test_jobs_are_as_if_enqueued(self, case: Case) -> None:
        """With all that a job may carry; a delayed one waits, and a queue becomes known."""
        full = new_job(
            task="shop.report",
            args=b"[[1],{}]",
            queue="reports",
            priority=7,
            expires_at=case.now + 50,
            attempts_max=3,
            policy=b'{"jitter":false}',
            tags=b'["night"]',
            meta=b'{"tick":"x"}',
        )
        later = new_job(at=case.now + 60)
        assert await case.store.fire([Move("a", 0, b"x", None, (full, later))]) == [True]
        job = await case.job(full.id)
        assert (job.task, job.args, job.queue, job.priority) == (
            "shop.report", b"[[1],{}]", "reports", 7,
        )  # fmt: skip
        assert (job.expires_at, job.attempts_max) == (case.now + 50, 3)
        assert (job.policy, job.tags, job.meta) == (full.policy, full.tags, full.meta)
        assert await case.states([full.id, later.id]) == ["ready", "scheduled"]
        hand = await case.worker()
        assert [claim.id for claim in await hand.claim(10)] == [full.id]
        queues = {queue.name: queue.counts for queue in await case.store.queues()}
        assert queues["default"] == {"scheduled": 1}

    @scenario
    async def test_a_job_that_is_stored_is_left_alone(self, case: Case) -> None:
        """A tick that comes again, whatever the revision says, makes no second job."""
        job = new_job()
        await case.store.fire([Move("a", 0, b"x", None, (job,))])
        hand = await case.worker()
        [claim] = await hand.claim(1)
        beside = new_job()
        assert await case.store.fire([Move("a", 1, b"y", None, (job, beside))]) == [True]
        assert await case.states([job.id, beside.id]) == ["running", "ready"]
        assert (await case.job(job.id)).claim == claim.number

    @scenario
    async def test_sent_again_it_does_nothing(self, case: Case) -> None:
        """After an unknown outcome the same call is safe: the revisions have risen."""
        moves = [Move("a", 0, b"x", 5, (new_job(),)), Move("b", 0, b"x", 5)]
        assert await case.store.fire(moves) == [True, True]
        assert await case.store.fire(moves) == [False, False]
        assert await revisions(case, "a", "b") == [1, 1]
        counts = [queue.counts for queue in await case.store.queues()]
        assert counts == [{"ready": 1}]

    @scenario
    async def test_one_of_many_is_heard(self, case: Case) -> None:
        """Of twenty who fire the same revision at once, one does it, and one job is there."""
        stores = [case.store, await case.other()]
        await case.store.fire([made(name) for name in "abc"])
        jobs = [[new_job() for _ in "abc"] for _ in range(20)]

        async def go(number: int) -> list[bool]:
            moves = [
                Move(name, 1, b"%d" % number, None, (job,))
                for name, job in zip("abc", jobs[number], strict=True)
            ]
            # Some take the rows in another order: nobody may wait for a circle.
            return list(await stores[number % 2].fire(moves[:: 1 if number % 3 else -1]))

        answers = await asyncio.gather(*(go(number) for number in range(20)))
        assert sum(sum(done) for done in answers) == len("abc")
        stored = [await case.states([job.id for job in each]) for each in jobs]
        assert sum(states.count("ready") for states in stored) == len("abc")
        assert await revisions(case, "a", "b", "c") == [2, 2, 2]

    @scenario
    async def test_firing_wakes_who_waits(self, case: Case) -> None:
        """A worker that sleeps is told of a tick's job as of any other."""
        waiting = asyncio.create_task(case.store.wait(work=True, ends=False, timeout=10))
        await asyncio.sleep(0.3)
        await case.store.fire([Move("a", 0, b"x", None, (new_job(),))])
        assert await waiting

    @scenario
    async def test_bounds(self, case: Case) -> None:
        """More moves or jobs than the bound, and two moves of one name, are refused as a whole."""
        jobs = tuple(new_job() for _ in range(BATCH_MAX + 1))
        for moves, why in (
            ([made(f"s{n}") for n in range(MOVES_MAX + 1)], "at most 1,000 schedules"),
            ([Move("s0", 0, b"", None, jobs)], "at most 1,000 jobs"),
            ([made("s0"), made("s0")], "same name"),
            ([Move("s0", 0, b"", None, (new_job(key=Key("")),))], "1 to 512 characters"),
        ):
            with pytest.raises(ValueError, match=why):
                await case.store.fire(moves)
        assert await case.store.schedules(["s0"]) == [None]
        assert await case.store.fire([]) == []
        assert all(await case.store.fire([made(f"s{n}") for n in range(MOVES_MAX)]))

    @scenario
    async def test_hostile_names(self, case: Case) -> None:
        """A name is a name, whatever it looks like."""
        assert all(await case.store.fire([made(name, case.now) for name in HOSTILE]))
        found = await case.store.due_schedules(100)
        assert sorted(row.name for row in found.rows) == sorted(HOSTILE)
        assert all(await case.store.fire([Move(name, 1, None) for name in HOSTILE]))
        assert await case.store.schedules_page("", 10) == []

    @scenario
    async def test_many_jobs_of_one_tick(self, case: Case) -> None:
        """A thousand jobs in one move, of several queues and kinds."""
        jobs = [
            NewJob(new_id(), f"t{n % 3}", b"[[],{}]", f"q{n % 7}", n % 5) for n in range(BATCH_MAX)
        ]
        assert await case.store.fire([Move("a", 0, b"x", None, tuple(jobs))]) == [True]
        assert await case.states([job.id for job in jobs]) == ["ready"] * BATCH_MAX
