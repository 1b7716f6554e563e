"""decide: the only place that picks a job's state after an attempt.

A pure function from what was claimed and what happened to what is to be written.
It reads no clock, no settings and no task code: what it needs is in its arguments, so a
rescuer that has never seen the task decides as the worker would have done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec import Struct
from msgspec.structs import replace

from treadle.core.durations import DAY, SECOND
from treadle.core.gates.tells import well
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

    `policy` is the job's own, merged with its task's; `draw` gives a float in [0, 1) for jitter.
    """
    if isinstance(outcome, Succeeded):
        return _after_success(claim, outcome, policy, rules)
    match outcome:
        case Failed():
            end = _after_failure(claim, outcome, policy, rules, draw)
        case Snoozed(delay=delay, ran=ran):
            end = _waits(claim, JobState.SCHEDULED, "snoozed", delay=delay, back=1, ran=ran)
            end = replace(end, tells=outcome.tells)
        case Cancelled(reason=reason, ran=ran):
            end = _ends(claim, JobState.CANCELLED, "cancelled", rules, reason=reason, ran=ran)
        case Rejected(error=error, reason=reason, ran=ran):
            end = _ends(claim, JobState.FAILED, "rejected", rules, reason=reason, error=error)
            end = replace(end, ran=ran, tells=outcome.tells)
        case WorkerLost():
            end = _after_loss(claim, outcome, policy, rules)
        case TaskUnknown():
            end = _after_unknown(claim, rules)
        case Released(began=True) if policy.on_lost == "fail":
            end = _after_interruption(claim, rules)
        case Released(delay=delay):
            end = _waits(claim, JobState.SCHEDULED, "", delay=delay, back=1)
        case _:  # pragma: no cover -- the checker proves that no other outcome exists
            assert_never(outcome)
    return end


def spent(claim: Claim) -> int:
    """Count the attempts that weigh against the job's `attempts_max`."""
    return claim.attempt - claim.forgiven


def _after_success(claim: Claim, outcome: Succeeded, policy: JobPolicy, rules: Rules) -> Settlement:
    return Settlement(
        claim.id,
        claim.number,
        JobState.SUCCEEDED,
        claim.attempt,
        "succeeded",
        result=outcome.result,
        keep=rules.keep_succeeded if policy.keep is None else policy.keep,
        forgiven=claim.forgiven,
        crashes=claim.crashes,
        ran=outcome.ran,
        gates=claim.gates,
        tells=() if claim.gates is None else well(claim.gates),
        keyed=claim.key is not None,
    )


def _after_failure(
    claim: Claim,
    outcome: Failed,
    policy: JobPolicy,
    rules: Rules,
    draw: Callable[[], float],
) -> Settlement:
    attempts_max = rules.attempts_max if claim.attempts_max is None else claim.attempts_max
    if not outcome.retryable or spent(claim) >= attempts_max:
        reason = "exhausted" if outcome.retryable else "not_retried"
        ended = _ends(
            claim, JobState.FAILED, outcome.label, rules, reason=reason, error=outcome.error
        )
    else:
        delay = policy.delay(spent(claim), draw) if outcome.delay is None else outcome.delay
        waits = _waits(claim, JobState.RETRYING, outcome.label, delay=delay)
        ended = replace(waits, error=write_error(outcome.error))
    return replace(ended, ran=outcome.ran, tells=outcome.tells)


def _after_loss(claim: Claim, outcome: WorkerLost, policy: JobPolicy, rules: Rules) -> Settlement:
    """A crash is forgiven until it repeats: `max_crashes` of them make a dead letter."""
    crashes = claim.crashes + 1
    error = ErrorInfo(
        "WorkerLost",
        f"worker {outcome.worker} died, or stood still for longer than its lease, while it ran "
        f"attempt {claim.attempt}",
    )
    if crashes >= rules.max_crashes or policy.on_lost == "fail":
        reason = "poison" if crashes >= rules.max_crashes else "worker_lost"
        ended = _ends(claim, JobState.FAILED, "lost", rules, reason=reason, error=error)
        return replace(ended, crashes=crashes, lost_by=outcome.worker)
    waits = _waits(claim, JobState.READY, "lost")
    return replace(
        waits,
        error=write_error(error),
        crashes=crashes,
        forgiven=claim.forgiven + 1,
        lost_by=outcome.worker,
    )


def _after_interruption(claim: Claim, rules: Rules) -> Settlement:
    """Bury a job that its worker ended in mid-attempt, where it would otherwise be handed back."""
    error = ErrorInfo("Interrupted", f"attempt {claim.attempt} was ended by its worker")
    return _ends(claim, JobState.FAILED, "interrupted", rules, reason="interrupted", error=error)


def _after_unknown(claim: Claim, rules: Rules) -> Settlement:
    """Hand the job back until a worker that knows the task comes, for a day at most."""
    waited = 0 if claim.parked_at is None else claim.started_at - claim.parked_at
    if waited < rules.unknown_max:
        waits = _waits(claim, JobState.SCHEDULED, "", delay=rules.unknown_delay, back=1)
        return replace(waits, reason="unknown_task")
    error = ErrorInfo(
        "UnknownTask", f"no worker knew the task {claim.task!r} for {waited / SECOND:,.0f} s"
    )
    return _ends(claim, JobState.FAILED, "unknown_task", rules, reason="unknown_task", error=error)


def _waits(
    claim: Claim, state: JobState, label: str, *, delay: int = 0, back: int = 0, ran: int = 0
) -> Settlement:
    """Write a settlement after which the job waits; `back` attempts are given back."""
    return Settlement(
        claim.id,
        claim.number,
        state,
        claim.attempt - back,
        label,
        delay=delay,
        forgiven=claim.forgiven,
        crashes=claim.crashes,
        ran=ran,
        gates=claim.gates,
        keyed=claim.key is not None,
    )


def _ends(
    claim: Claim,
    state: JobState,
    label: str,
    rules: Rules,
    *,
    reason: str,
    error: ErrorInfo | None = None,
    ran: int = 0,
) -> Settlement:
    """Write a settlement after which the job has ended."""
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
        crashes=claim.crashes,
        ran=ran,
        gates=claim.gates,
        keyed=claim.key is not None,
    )
