"""decide: the only place that picks a job's state after an attempt.

A pure function from what was claimed and what happened to what is to be written.
It reads no clock, no settings and no task code: what it needs is in its arguments, so a
rescuer that has never seen the task decides as the worker would have done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from treadle.core.durations import DAY, SECOND
from treadle.core.job import Claim, ErrorInfo, JobState, write_error
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.core.retry import JobPolicy


class Rules(Struct, frozen=True):
    """The bounds that hold for every job of an application; durations in microseconds."""

    attempts_max: int = 5
    max_crashes: int = 3
    keep_succeeded: int = DAY
    keep_failed: int = 30 * DAY
    unknown_delay: int = 30 * SECOND
    unknown_max: int = DAY


def decide(
    claim: Claim,
    outcome: Outcome,
    policy: JobPolicy,
    rules: Rules,
    *,
    draw: Callable[[], float],
) -> Settlement:
    """Turn what happened to a claim into what is to be written.

    Args:
        claim: the claim that was executed.
        outcome: what became of it.
        policy: the job's own policy, merged with its task's.
        rules: the application's bounds.
        draw: gives a float in [0, 1) for jitter.
    """
    if type(outcome) is Succeeded:
        return Settlement(
            claim.id,
            claim.number,
            JobState.SUCCEEDED,
            claim.attempt,
            "succeeded",
            outcome.result,
            keep=rules.keep_succeeded if policy.keep is None else policy.keep,
            forgiven=claim.forgiven,
            crashes=claim.crashes,
            ran=outcome.ran,
        )
    match outcome:
        case Failed():
            return _after_failure(claim, outcome, policy, rules, draw)
        case Snoozed():
            return _waits(
                claim, JobState.SCHEDULED, "snoozed", outcome.delay, unspent=True, ran=outcome.ran
            )
        case Cancelled():
            return _ends(
                claim, JobState.CANCELLED, "cancelled", rules, reason=outcome.reason,
                ran=outcome.ran,
            )
        case Rejected():
            return _ends(
                claim, JobState.FAILED, "rejected", rules, reason=outcome.reason,
                error=outcome.error, ran=outcome.ran,
            )
        case WorkerLost():
            return _after_loss(claim, outcome, policy, rules)
        case TaskUnknown():
            return _after_unknown(claim, rules)
        case _:
            return _waits(claim, JobState.READY, "", 0, unspent=True)


def spent(claim: Claim) -> int:
    """Count the attempts that weigh against the job's `attempts_max`."""
    return claim.attempt - claim.forgiven


def _after_failure(
    claim: Claim,
    outcome: Failed,
    policy: JobPolicy,
    rules: Rules,
    draw: Callable[[], float],
) -> Settlement:
    attempts_max = rules.attempts_max if claim.attempts_max is None else claim.attempts_max
    error = outcome.error
    if not outcome.retryable:
        return _ends(
            claim, JobState.FAILED, outcome.label, rules, reason="not_retried", error=error,
            ran=outcome.ran,
        )
    if spent(claim) >= attempts_max:
        return _ends(
            claim, JobState.FAILED, outcome.label, rules, reason="exhausted", error=error,
            ran=outcome.ran,
        )
    delay = policy.delay(spent(claim), draw) if outcome.delay is None else outcome.delay
    return _waits(
        claim, JobState.RETRYING, outcome.label, delay, error=error, ran=outcome.ran
    )


def _after_loss(
    claim: Claim, outcome: WorkerLost, policy: JobPolicy, rules: Rules
) -> Settlement:
    """A crash is forgiven until it repeats: `max_crashes` of them make a dead letter."""
    crashes = claim.crashes + 1
    error = ErrorInfo(
        "WorkerLost", f"worker {outcome.worker} died while it ran attempt {claim.attempt}"
    )
    if crashes >= rules.max_crashes:
        return _ends(
            claim, JobState.FAILED, "lost", rules, reason="poison", error=error, crashes=crashes
        )
    if policy.on_lost == "fail":
        return _ends(
            claim, JobState.FAILED, "lost", rules, reason="worker_lost", error=error,
            crashes=crashes,
        )
    return _waits(claim, JobState.READY, "lost", 0, error=error, crash=True)


def _after_unknown(claim: Claim, rules: Rules) -> Settlement:
    """Hand the job back until a worker that knows the task comes, for a day at most."""
    waited = 0 if claim.parked_at is None else claim.started_at - claim.parked_at
    if waited < rules.unknown_max:
        return _waits(
            claim, JobState.SCHEDULED, "", rules.unknown_delay, unspent=True,
            reason="unknown_task",
        )
    error = ErrorInfo(
        "UnknownTask", f"no worker knew the task {claim.task!r} for {waited / SECOND:,.0f} s"
    )
    return _ends(claim, JobState.FAILED, "unknown_task", rules, reason="unknown_task", error=error)


def _waits(  # noqa: PLR0913 -- one constructor for all waiting settlements
    claim: Claim,
    state: JobState,
    label: str,
    delay: int,
    *,
    unspent: bool = False,
    crash: bool = False,
    reason: str | None = None,
    error: ErrorInfo | None = None,
    ran: int = 0,
) -> Settlement:
    return Settlement(
        claim.id,
        claim.number,
        state,
        claim.attempt - 1 if unspent else claim.attempt,
        label,
        error=None if error is None else write_error(error),
        reason=reason,
        delay=delay,
        forgiven=claim.forgiven + crash,
        crashes=claim.crashes + crash,
        ran=ran,
    )


def _ends(  # noqa: PLR0913 -- one constructor for all ending settlements
    claim: Claim,
    state: JobState,
    label: str,
    rules: Rules,
    *,
    reason: str,
    error: ErrorInfo | None = None,
    crashes: int | None = None,
    ran: int = 0,
) -> Settlement:
    return Settlement(
        claim.id,
        claim.number,
        state,
        claim.attempt,
        label,
        error=None if error is None else write_error(error),
        reason=reason,
        keep=rules.keep_failed,
        forgiven=claim.forgiven,
        crashes=claim.crashes if crashes is None else crashes,
        ran=ran,
    )
