"""What the reads promise: jobs by id, ends, queues with their counts, groups of dead letters."""

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import ErrorInfo, JobState
from treadle.core.outcome import Failed, Outcome, Rejected, Succeeded
from treadle.store.findings import Level
from treadle.testing.conformance.kit import ANY_LIMIT, ERROR, Case, scenario, settlement


class TestGet:
    """Jobs are read by id, in the order asked for."""

    @scenario
    async def test_jobs_come_in_the_order_asked_for(self, case: Case) -> None:
        """Whatever the order of the ids, and also when one is named twice."""
        a, b, c = await case.add(3)
        asked = [c, a, b, a]
        assert [record and record.id for record in await case.store.get(asked)] == asked

    @scenario
    async def test_an_unknown_id_is_none_at_its_place(self, case: Case) -> None:
        """The others are read all the same."""
        [job] = await case.add()
        first, second, third = await case.store.get([new_id(), job, bytes(16)])
        assert (first, third) == (None, None)
        assert second is not None

    @scenario
    async def test_bytes_that_are_no_id_are_an_unknown_job(self, case: Case) -> None:
        """A short, a long or an empty id finds nothing and breaks nothing."""
        await case.add()
        assert list(await case.store.get([b"", b"\x00", b"x" * 40])) == [None] * 3
        assert list(await case.store.get([])) == []

    @scenario
    async def test_a_record_says_as_of_when(self, case: Case) -> None:
        """It is a picture taken at the store's now."""
        [job] = await case.add()
        case.clock.move(7)
        assert (await case.job(job)).as_of == case.now

    @scenario
    async def test_ended_names_the_jobs_that_are_over(self, case: Case) -> None:
        """Terminal ones and those that are not there; never one that lives."""
        done, running, ready, delayed = [(await case.add(delay=n))[0] for n in (0, 0, 0, SECOND)]
        worker = await case.worker()
        first, _ = await worker.claim(2)
        await worker.finish(first, Succeeded(b"1"))
        gone = new_id()
        ended = await case.store.ended([done, running, ready, delayed, gone])
        assert sorted(ended) == sorted([done, gone])
        assert list(await case.store.ended([])) == []


class TestQueues:
    """Queues are shown with what waits, runs and ended in them."""

    @scenario
    async def test_counts_are_by_state(self, case: Case) -> None:
        """Each queue counts its own jobs, and the sum is all there are."""
        await case.add(5, queue="mail")
        await case.add(2, queue="mail", delay=SECOND)
        await case.add(1, queue="bulk")
        worker = await case.worker()
        first, second, _ = await worker.claim(3, "mail")
        await worker.settle(
            settlement(first, Succeeded(b"1")), settlement(second, Failed(ERROR, delay=SECOND))
        )
        queues = {queue.name: queue for queue in await case.store.queues()}
        mail = {state: n for state, n in queues["mail"].counts.items() if n}
        assert mail == {"ready": 2, "scheduled": 2, "running": 1, "succeeded": 1, "retrying": 1}
        assert {state: n for state, n in queues["bulk"].counts.items() if n} == {"ready": 1}

    @scenario
    async def test_a_queue_shows_its_oldest_ready_job(self, case: Case) -> None:
        """The instant since when the oldest has been waiting, whatever its priority."""
        began = case.now
        await case.add(queue="mail")
        case.clock.move(5)
        await case.add(queue="mail", priority=9)
        await case.add(queue="late", delay=SECOND)
        queues = {queue.name: queue.oldest_ready for queue in await case.store.queues()}
        assert queues == {"mail": began, "late": None}

    @scenario
    async def test_the_oldest_ready_job_may_stand_behind_many(self, case: Case) -> None:
        """Those before it were put back later than it came."""
        first = await case.add(50, queue="mail")
        case.clock.move(5)
        oldest = case.now
        await case.add(queue="mail")
        case.clock.move(5)
        await case.store.retry(first)
        assert [queue.oldest_ready for queue in await case.store.queues()] == [oldest]

    @scenario
    async def test_a_queue_that_ran_empty_is_still_shown(self, case: Case) -> None:
        """It held a job once."""
        [job] = await case.add(queue="mail")
        await case.store.cancel([job])
        await case.store.discard([job])
        assert [queue.name for queue in await case.store.queues()] == ["mail"]

    @scenario
    async def test_a_paused_queue_is_shown_as_paused(self, case: Case) -> None:
        """And no other one is."""
        await case.add(queue="a")
        await case.add(queue="b")
        await case.store.pause("b")
        assert {q.name: q.paused for q in await case.store.queues()} == {"a": False, "b": True}


class TestDeadGroups:
    """Dead letters are counted by what they died of."""

    @scenario
    async def test_groups_count_task_reason_and_error(self, case: Case) -> None:
        """With the newest instant of each; jobs that ended otherwise are not among them."""
        await case.add(4, task="a")
        await case.add(1, task="b")
        await case.add(2, task="c")
        worker = await case.worker()
        claims = await worker.claim(ANY_LIMIT)
        key, value = ErrorInfo("KeyError", "k1"), ErrorInfo("ValueError", "v")
        outcomes: list[Outcome] = [
            Failed(key, retryable=False), Failed(key, retryable=False),
            Failed(value, retryable=False), Rejected(key, "bad_result"),
            Failed(key, retryable=False), Succeeded(b"1"), Failed(key, delay=SECOND),
        ]  # fmt: skip
        for claim, outcome in zip(claims, outcomes, strict=True):
            case.clock.move(1)
            await worker.finish(claim, outcome)
        end = case.now
        groups = sorted(tuple(group) for group in await case.store.dead_groups())
        assert groups == [
            ("a", "bad_result", "KeyError", 1, end - 3 * SECOND),
            ("a", "not_retried", "KeyError", 2, end - 5 * SECOND),
            ("a", "not_retried", "ValueError", 1, end - 4 * SECOND),
            ("b", "not_retried", "KeyError", 1, end - 2 * SECOND),
        ]

    @scenario
    async def test_groups_are_bounded(self, case: Case) -> None:
        """At most `limit` groups; none when nothing died."""
        assert list(await case.store.dead_groups()) == []
        for n in range(5):
            await case.add(task=f"t{n}")
        worker = await case.worker()
        claims = await worker.claim(5)
        dead = Failed(ERROR, retryable=False)
        await worker.settle(*(settlement(claim, dead) for claim in claims))
        assert [len(await case.store.dead_groups(limit)) for limit in (2, 9)] == [2, 5]
        assert {await _state(case, claim.id) for claim in claims} == {JobState.FAILED}


class TestExamine:
    """A store can be looked at by whoever may work on it."""

    @scenario
    async def test_a_look_finds_nothing_unsaid(self, case: Case) -> None:
        """Each finding has a name and a value, and what is not well says what it means."""
        await case.add(3)
        for deep in (True, False):
            findings = await case.store.examine(deep=deep)
            assert findings
            assert all(finding.name and finding.found for finding in findings)
            assert all(f.means for f in findings if f.level is not Level.OK)

    @scenario
    async def test_a_look_changes_nothing(self, case: Case) -> None:
        """No job, no queue and no worker is another one after it."""
        ids = await case.add(3)
        worker = await case.worker()
        claims = await worker.claim(1)
        before = [await case.store.get(ids), await case.store.queues()]
        await case.store.examine()
        assert [await case.store.get(ids), await case.store.queues()] == before
        assert not (await worker.beat(*claims)).revoked


async def _state(case: Case, job: bytes) -> JobState:
    """Read one job's state."""
    return (await case.job(job)).state
