"""decide: which state each outcome leads to, and what it costs the job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.core.decide import Rules, decide, spent
from treadle.core.durations import DAY, HOUR, SECOND
from treadle.core.job import Claim, ErrorInfo, JobState, read_error
from treadle.core.outcome import (
    Cancelled,
    Failed,
    Outcome,
    Rejected,
    Released,
    Settlement,
    Snoozed,
    Succeeded,
    TaskUnknown,
    WorkerLost,
)
from treadle.core.retry import JobPolicy

RULES = Rules()
ERROR = ErrorInfo("ValueError", "no")
STEADY = JobPolicy(jitter=False)


def claim(**changes: object) -> Claim:
    """Make a claim in its first attempt."""
    values = {
        "id": b"i" * 16, "number": 7, "task": "app.work", "queue": "default", "priority": 0,
        "attempt": 1, "args": b"[]", "started_at": 1_000 * SECOND,
    } | changes  # fmt: skip
    return Claim(**values)  # type: ignore[arg-type]


def settle(one: Claim, outcome: Outcome, policy: JobPolicy = STEADY) -> Settlement:
    """Decide without chance."""
    return decide(one, outcome, policy, RULES, draw=lambda: 0.5)


def test_success_keeps_the_result_for_a_day() -> None:
    """A job that returned has succeeded and is kept as the rules say."""
    got = settle(claim(), Succeeded(b"42", 10))
    assert (got.state, got.result, got.keep, got.outcome) == (
        JobState.SUCCEEDED, b"42", DAY, "succeeded",
    )  # fmt: skip


def test_a_policy_may_keep_a_success_for_longer() -> None:
    """A task's own retention wins over the rules."""
    assert settle(claim(), Succeeded(None), JobPolicy(keep=9 * DAY)).keep == 9 * DAY


def test_a_settlement_carries_the_fence() -> None:
    """Every settlement names the claim it is for."""
    got = settle(claim(number=99), Released())
    assert (got.id, got.number) == (b"i" * 16, 99)


def test_a_failure_is_tried_again_after_the_policy_s_delay() -> None:
    """The second attempt waits for the base, the third for twice that."""
    first = settle(claim(attempt=1), Failed(ERROR))
    second = settle(claim(attempt=2), Failed(ERROR))
    assert (first.state, first.delay) == (JobState.RETRYING, 15 * SECOND)
    assert second.delay == 30 * SECOND
    assert read_error(first.error) == ERROR


def test_a_named_delay_wins_over_the_policy() -> None:
    """RetryLater(delay=...) and callable backoffs name the delay themselves."""
    assert settle(claim(), Failed(ERROR, delay=7)).delay == 7


def test_the_last_attempt_ends_as_a_dead_letter() -> None:
    """A job whose attempts are spent has failed."""
    got = settle(claim(attempt=5), Failed(ERROR))
    assert (got.state, got.reason, got.keep) == (JobState.FAILED, "exhausted", 30 * DAY)


def test_the_job_s_own_attempts_count() -> None:
    """attempts_max on the job wins over the rules."""
    assert settle(claim(attempt=2, attempts_max=2), Failed(ERROR)).state is JobState.FAILED
    assert settle(claim(attempt=8, attempts_max=9), Failed(ERROR)).state is JobState.RETRYING


def test_forgiven_attempts_do_not_count() -> None:
    """Crashes and attempts before a replay leave the budget untouched."""
    got = settle(claim(attempt=9, forgiven=6, attempts_max=5), Failed(ERROR))
    assert got.state is JobState.RETRYING
    assert got.delay == 15 * SECOND * 4


def test_an_error_that_is_not_to_be_tried_again_is_a_dead_letter() -> None:
    """What `on=` does not name ends the job at once."""
    got = settle(claim(), Failed(ERROR, retryable=False))
    assert (got.state, got.reason) == (JobState.FAILED, "not_retried")


def test_a_snooze_gives_its_attempt_back() -> None:
    """A snoozed job waits without having spent an attempt."""
    got = settle(claim(attempt=3), Snoozed(90))
    assert (got.state, got.attempt, got.delay) == (JobState.SCHEDULED, 2, 90)


def test_cancel_and_reject_end_the_job() -> None:
    """A task may end its own job, as cancelled or as a dead letter."""
    assert settle(claim(), Cancelled("enough")).state is JobState.CANCELLED
    got = settle(claim(), Rejected(ERROR, "bad_result"))
    assert (got.state, got.reason) == (JobState.FAILED, "bad_result")


def test_a_released_claim_is_unspent() -> None:
    """A claim that did not start leaves no attempt behind and no record of one."""
    got = settle(claim(attempt=4), Released())
    assert (got.attempt, got.outcome, got.delay) == (3, "", 0)


def test_an_interrupted_job_that_is_at_most_once_is_a_dead_letter() -> None:
    """What a stopping worker ends in mid-attempt is handed back, unless on_lost="fail"."""
    policy = JobPolicy(on_lost="fail")
    began = settle(claim(attempt=1), Released(began=True), policy)
    assert (began.state, began.attempt, began.reason) == (JobState.FAILED, 1, "interrupted")
    assert settle(claim(attempt=1), Released(), policy).attempt == 0
    assert settle(claim(attempt=1), Released(began=True)).attempt == 0


def test_a_crash_is_forgiven_until_the_third() -> None:
    """A lost worker costs no attempt; the third one makes the job a dead letter."""
    first = settle(claim(), WorkerLost("w"))
    assert (first.state, first.crashes, first.forgiven) == (JobState.READY, 1, 1)
    third = settle(claim(attempt=3, crashes=2, forgiven=2), WorkerLost("w"))
    assert (third.state, third.reason, third.crashes) == (JobState.FAILED, "poison", 3)


def test_at_most_once_is_not_tried_again_after_a_crash() -> None:
    """on_lost="fail" ends the job when its worker is lost."""
    got = settle(claim(attempts_max=1), WorkerLost("w"), JobPolicy(on_lost="fail"))
    assert (got.state, got.reason) == (JobState.FAILED, "worker_lost")


def test_one_attempt_survives_a_crash_unless_told_otherwise() -> None:
    """A crash is not the job's fault: even the only attempt is made again."""
    assert settle(claim(attempts_max=1), WorkerLost("w")).state is JobState.READY


def test_an_unknown_task_rests_and_is_a_dead_letter_after_a_day() -> None:
    """A job that no worker knows waits for one that does, for a day."""
    fresh = settle(claim(), TaskUnknown())
    assert (fresh.state, fresh.reason, fresh.delay, fresh.attempt) == (
        JobState.SCHEDULED, "unknown_task", 30 * SECOND, 0,
    )  # fmt: skip
    old = claim(parked_at=0, started_at=24 * HOUR)
    assert settle(old, TaskUnknown()).state is JobState.FAILED
    younger = claim(parked_at=1, started_at=24 * HOUR)
    assert settle(younger, TaskUnknown()).state is JobState.SCHEDULED


OUTCOMES = st.sampled_from(
    [
        Succeeded(None), Failed(ERROR), Failed(ERROR, retryable=False), Snoozed(5),
        Cancelled("c"), Rejected(ERROR, "r"), Released(), WorkerLost("w"), TaskUnknown(),
    ]
)  # fmt: skip


@given(
    OUTCOMES,
    st.integers(1, 50),
    st.integers(0, 20),
    st.integers(0, 2),
    st.floats(0, 1, exclude_max=True),
)
def test_every_outcome_has_a_sound_settlement(
    outcome: Outcome, attempt: int, forgiven: int, crashes: int, drawn: float
) -> None:
    """Whatever happens, a job waits with a bounded delay or ends with a bounded retention."""
    one = claim(attempt=attempt, forgiven=min(forgiven, attempt), crashes=crashes)
    got = decide(one, outcome, JobPolicy(), RULES, draw=lambda: drawn)
    assert got.state in JobState
    assert got.state is not JobState.RUNNING
    assert 0 <= got.delay <= HOUR
    assert (got.keep > 0) == got.state.is_terminal
    assert one.attempt - 1 <= got.attempt <= one.attempt
    assert got.crashes >= crashes
    assert spent(one) >= 0


@pytest.mark.parametrize("crashes", [0, 1, 2])
def test_crashes_are_bounded(crashes: int) -> None:
    """No job takes down more workers than `max_crashes`."""
    got = settle(claim(crashes=crashes), WorkerLost("w"))
    assert (got.state is JobState.FAILED) == (crashes + 1 >= RULES.max_crashes)
