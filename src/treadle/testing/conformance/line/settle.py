"""What settling promises: each kind of settlement leaves exactly its record."""

import pytest
from msgspec import structs

from treadle.core.decide import Rules
from treadle.core.durations import DAY, HOUR, SECOND
from treadle.core.job import JobRecord, JobState, write_error
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
from treadle.testing.conformance.kit import ERROR, Case, scenario, settlement, take

REST = 40 * SECOND


async def settled(case: Case, outcome: Outcome, rules: Rules | None = None) -> JobRecord:
    """Enqueue a job, claim it, let 3 s go by, settle it 2 s later as decided; read it."""
    [job] = await case.add(priority=4, tags=b'["a"]')
    case.clock.move(3)
    worker = await case.worker()
    [claim] = await worker.claim()
    case.clock.move(2)
    assert await worker.settle(settlement(claim, outcome, rules)) == [Verdict.APPLIED]
    return await case.job(job)


class TestSettleEnds:
    """A settlement that ends a job."""

    @scenario
    async def test_a_success_keeps_its_result(self, case: Case) -> None:
        """State, result, times and the time until the record goes are written."""
        record = await settled(case, Succeeded(b'{"sum":3}', ran=1_234))
        assert (record.state, record.outcome) == (JobState.SUCCEEDED, "succeeded")
        assert (record.result, record.error, record.reason) == (b'{"sum":3}', None, None)
        assert (record.attempt, record.claim) == (1, 1)
        assert (record.started_at, record.finished_at) == (case.now - 2 * SECOND, case.now)
        assert record.keep_until == case.now + DAY

    @scenario
    async def test_a_success_may_have_no_result(self, case: Case) -> None:
        """A result that is not kept reads as None."""
        record = await settled(case, Succeeded(None))
        assert (record.state, record.result) == (JobState.SUCCEEDED, None)

    @pytest.mark.parametrize(
        ("outcome", "state", "label", "reason"),
        [
            (Cancelled("by hand"), JobState.CANCELLED, "cancelled", "by hand"),
            (Rejected(ERROR, "bad_result"), JobState.FAILED, "rejected", "bad_result"),
            (Failed(ERROR, retryable=False), JobState.FAILED, "failed", "not_retried"),
            (Failed(ERROR, label="timed_out", retryable=False), JobState.FAILED, "timed_out",
             "not_retried"),
        ],
    )  # fmt: skip
    @scenario
    async def test_an_end_without_success_says_why(
        self, case: Case, outcome: Cancelled | Rejected | Failed, state: JobState, label: str,
        reason: str,
    ) -> None:  # fmt: skip
        """Dead letters and cancelled jobs keep their reason, their error and their time."""
        record = await settled(case, outcome)
        assert (record.state, record.outcome, record.reason) == (state, label, reason)
        error = None if isinstance(outcome, Cancelled) else ERROR
        assert (record.error_info(), record.result) == (error, None)
        assert (record.attempt, record.finished_at) == (1, case.now)
        assert record.keep_until == case.now + 30 * DAY

    @scenario
    async def test_poison_keeps_its_crashes(self, case: Case) -> None:
        """A job that took its worker down too often ends with the count of its crashes."""
        record = await settled(case, WorkerLost("w0"), Rules(max_crashes=1))
        assert (record.state, record.reason) == (JobState.FAILED, "poison")
        assert (record.outcome, record.crashes) == ("lost", 1)

    @scenario
    async def test_what_came_before_stays(self, case: Case) -> None:
        """Settling touches nothing of what the application said."""
        record = await settled(case, Succeeded(b"1"))
        assert (record.priority, record.tags, record.args) == (4, b'["a"]', b"[[],{}]")
        assert record.created_at == record.run_at == case.now - 5 * SECOND

    @scenario
    async def test_a_record_is_kept_an_hour_after_it_was_made(self, case: Case) -> None:
        """A shorter time to keep does not delete what may still be sent again."""
        record = await settled(case, Succeeded(b"1"), Rules(keep_succeeded=0))
        assert record.keep_until == record.created_at + HOUR


class TestSettleWaits:
    """A settlement after which the job goes on."""

    @scenario
    async def test_a_failure_waits_for_its_retry(self, case: Case) -> None:
        """The attempt is spent, the error is kept, the job is due after its delay."""
        record = await settled(case, Failed(ERROR, delay=REST, ran=5))
        assert (record.state, record.run_at) == (JobState.RETRYING, case.now + REST)
        assert (record.attempt, record.claim, record.worker) == (1, 1, None)
        assert (record.error_info(), record.finished_at, record.keep_until) == (ERROR, None, None)

    @scenario
    async def test_a_snooze_gives_the_attempt_back_but_not_the_number(self, case: Case) -> None:
        """The next claim is the same attempt under a higher number."""
        record = await settled(case, Snoozed(REST))
        assert (record.state, record.run_at) == (JobState.SCHEDULED, case.now + REST)
        assert (record.attempt, record.claim, record.worker) == (0, 1, None)
        case.clock.move(40)
        await case.store.stage([], 10)
        [claim] = await (await case.worker("w2")).claim()
        assert (claim.attempt, claim.number) == (1, 2)

    @scenario
    async def test_a_released_job_is_ready_as_if_it_had_not_been_claimed(self, case: Case) -> None:
        """Handed back unspent, it keeps its time and its place."""
        record = await settled(case, Released())
        assert (record.state, record.run_at) == (JobState.READY, record.created_at)
        assert (record.attempt, record.claim, record.worker) == (0, 1, None)
        assert record.started_at is record.finished_at is None

    @scenario
    async def test_a_crash_is_forgiven(self, case: Case) -> None:
        """The attempt stays counted, the crash beside it, and the job is ready again."""
        record = await settled(case, WorkerLost("w0"))
        assert (record.state, record.attempt) == (JobState.READY, 1)
        assert (record.forgiven, record.crashes) == (1, 1)
        [claim] = await (await case.worker("w2")).claim()
        assert (claim.attempt, claim.forgiven, claim.crashes) == (2, 1, 1)

    @scenario
    async def test_a_job_of_an_unknown_task_is_parked(self, case: Case) -> None:
        """It is handed back unspent with its reason, and remembers since when it waits."""
        record = await settled(case, TaskUnknown())
        parked_at = case.now
        assert (record.state, record.reason) == (JobState.SCHEDULED, "unknown_task")
        assert (record.attempt, record.run_at) == (0, case.now + 30 * SECOND)
        worker = await case.worker("w2")
        for _ in range(2):
            case.clock.move(30)
            await case.store.stage(["another.task"], 10)
            [claim] = await worker.claim()
            assert (claim.parked_at, claim.attempt) == (parked_at, 1)
            await worker.finish(claim, TaskUnknown())

    @scenario
    async def test_a_delay_of_nothing_is_ready_at_once(self, case: Case) -> None:
        """A retry without delay needs no stage before its next claim."""
        record = await settled(case, Failed(ERROR, delay=0))
        assert (record.state in {JobState.READY, JobState.RETRYING}, record.attempt) == (True, 1)
        await case.store.stage([], 10)
        [claim] = await (await case.worker("w2")).claim()
        assert claim.attempt == record.attempt + 1

    @scenario
    async def test_a_later_success_leaves_no_trace_of_the_failure(self, case: Case) -> None:
        """The error and reason of an attempt before are not those of the job that succeeded."""
        failed = await settled(case, Failed(ERROR, delay=0))
        await case.store.stage([], 10)
        worker = await case.worker("w2")
        [claim] = await worker.claim()
        await worker.finish(claim, Succeeded(b"1"))
        record = await case.job(failed.id)
        assert (record.state, record.error, record.reason) == (JobState.SUCCEEDED, None, None)


class TestSettleBatch:
    """Many settlements in one call."""

    @scenario
    async def test_verdicts_come_in_order(self, case: Case) -> None:
        """Each settlement has its verdict at its own place, whatever the others' are."""
        await case.add(6)
        worker = await case.worker()
        claims = await worker.claim(6)
        batch = [settlement(claim, Succeeded(b"1")) for claim in claims]
        for n in (1, 4):
            batch[n] = structs.replace(batch[n], number=99)
        verdicts = await worker.settle(*batch)
        lost = [n for n, verdict in enumerate(verdicts) if verdict is Verdict.LOST]
        assert (lost, len(verdicts)) == ([1, 4], len(batch))
        running = [state == JobState.RUNNING for state in await case.states([c.id for c in claims])]
        assert running == [n in lost for n in range(6)]

    @scenario
    async def test_all_kinds_go_in_one_batch(self, case: Case) -> None:
        """A batch of every kind leaves each job in its own state."""
        kinds: list[tuple[Outcome, JobState]] = [
            (Succeeded(b"1"), JobState.SUCCEEDED),
            (Failed(ERROR, delay=REST), JobState.RETRYING),
            (Snoozed(REST), JobState.SCHEDULED),
            (Cancelled("no"), JobState.CANCELLED),
            (Rejected(ERROR, "bad"), JobState.FAILED),
            (Released(), JobState.READY),
            (TaskUnknown(), JobState.SCHEDULED),
            (Succeeded(b"2"), JobState.SUCCEEDED),
        ]
        ids = await case.add(len(kinds))
        worker = await case.worker()
        claims = await worker.claim(len(kinds))
        pairs = zip(claims, kinds, strict=True)
        verdicts = await worker.settle(*(settlement(claim, kind) for claim, (kind, _) in pairs))
        assert set(verdicts) == {Verdict.APPLIED}
        assert await case.states(ids) == [state for _, state in kinds]

    @scenario
    async def test_settling_comes_before_claiming(self, case: Case) -> None:
        """A job handed back in an exchange may be claimed again by the same exchange."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        answer = await worker.exchange([settlement(claim, Released())], take(1))
        assert list(answer.verdicts) == [Verdict.APPLIED]
        assert [(c.id, c.number, c.attempt) for c in answer.claims] == [(job, 2, 1)]

    @scenario
    async def test_an_error_is_stored_as_it_was_written(self, case: Case) -> None:
        """The bytes of an error come back unchanged."""
        record = await settled(case, Rejected(ERROR, "bad"))
        assert record.error == write_error(ERROR)
