"""What did an attempt come to, when it did not simply return?

Maps everything that can be raised in an attempt (errors, the four signals, cancellation,
what should end a process) to an `Outcome`, and so the worker has a single place to read for it.
It describes; the state that follows is picked in `core.decide`.

Groups, as `asyncio.TaskGroup` raises them, are read by their leaves. Errors win over signals:
a signal says that all is well, which is not so when something else broke in the same attempt,
and an error that nobody handled must not vanish behind it. Among signals the one that ends
the job wins over the one that runs it again: Reject, Cancel, RetryLater, Snooze.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Final

from treadle.core.decide import spent
from treadle.core.durations import SECOND, to_us
from treadle.core.job import ErrorInfo
from treadle.core.outcome import Cancelled, Failed, Outcome, Rejected, Released, Snoozed
from treadle.core.retry import JobPolicy, Retry
from treadle.core.signals import Cancel, JobSignal, Reject, RetryLater, Snooze, SoftTimeout
from treadle.worker.attempt import Attempt
from treadle.worker.outcomes.describe import bounded, describe
from treadle.worker.outcomes.tells import failed, held

_log = logging.getLogger(__name__)

_STRONGEST_FIRST: Final = (Reject, Cancel, RetryLater, Snooze)


class Interrupted(BaseException):
    """Raised inside a thread to end the sync task that runs in it; never seen outside."""


def outcome_of(attempt: Attempt, error: BaseException) -> Outcome:
    """Say what an attempt came to that ended with `error`; never raises.

    After the worker itself has ended an attempt, whatever the code raised is taken as its
    answer to that and the claim is handed back unspent; only a signal still counts.
    """
    try:
        leaves = _leaves(error)
        signal = _signal(leaves)
        if signal is not None:
            return _after_signal(attempt, signal)
        if attempt.reason is not None:
            return Released(began=True)
        return _after_error(attempt, error, leaves)
    except Exception as broken:  # noqa: BLE001 -- a signal's subclass may lack its parts
        return Failed(describe(broken), ran=attempt.ran())


def timed_out(attempt: Attempt, stack: str = "") -> Failed:
    """Say that an attempt was over its hard limit; `stack` is where its code stood then."""
    error = TimeoutError(_overrun(attempt))
    retryable = _retries(attempt.definition.retry, [error])
    shown = ErrorInfo("TimeoutError", str(error), stack)
    return Failed(
        shown,
        retryable=retryable,
        delay=_named_delay(attempt, error) if retryable else None,
        label="timed_out",
        ran=attempt.ran(),
        tells=failed(attempt, [error], shown),
    )


def _overrun(attempt: Attempt) -> str:
    if attempt.own is not None and attempt.own.overrun:
        return attempt.own.overrun
    limit = hard_limit_us(attempt) / SECOND
    return f"the task ran longer than its time limit of {limit:g} s"


def bad_result(attempt: Attempt, error: BaseException) -> Rejected:
    """Say that an attempt returned what cannot be stored.

    Its side effects have happened, so it is not tried again; those of its own transaction are
    rolled back, but its next attempt would return the same.
    """
    return Rejected(describe(error), reason="bad_result", ran=attempt.ran())


def hard_limit_us(attempt: Attempt) -> int:
    """Give the hard time limit of an attempt in microseconds."""
    limit = attempt.policy.timeout
    return attempt.surroundings.timeout_us if limit is None else limit


def _leaves(error: BaseException) -> list[BaseException]:
    """List what a group holds, nested groups opened; an error alone is its own leaf.

    Cancelled siblings come with every failed group and say nothing, so they are left out
    unless nothing else is there.
    """
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    leaves: list[BaseException] = []
    waiting = [error]
    while waiting:
        for one in waiting.pop().exceptions:
            (waiting if isinstance(one, BaseExceptionGroup) else leaves).append(one)
    telling = [one for one in leaves if not _is_cancellation(one)]
    return telling or leaves


def _is_cancellation(error: BaseException) -> bool:
    return isinstance(error, asyncio.CancelledError) and not isinstance(error, SoftTimeout)


def _signal(leaves: list[BaseException]) -> JobSignal | None:
    """Pick the signal that counts; None when there is an error among the leaves."""
    if not all(isinstance(one, _STRONGEST_FIRST) for one in leaves):
        return None
    for kind in _STRONGEST_FIRST:
        for one in leaves:
            if isinstance(one, kind):
                return one
    return None


def _after_signal(attempt: Attempt, signal: JobSignal) -> Outcome:
    ran = attempt.ran()
    match signal:
        case Snooze():
            return Snoozed(signal.delay_us, ran, held(attempt, signal))
        case Cancel():
            return Cancelled(bounded(str(signal.reason)), ran)
        case Reject():
            shown = describe(signal, str(signal.reason))
            return Rejected(shown, "rejected", ran, failed(attempt, [signal], shown))
        case RetryLater():
            delay = signal.delay_us
            shown = describe(signal)
            return Failed(
                shown,
                delay=_named_delay(attempt, signal) if delay is None else delay,
                ran=ran,
                tells=(*failed(attempt, [signal], shown), *held(attempt, signal)),
            )
        case _:
            raise AssertionError(f"no such signal: {type(signal).__name__}")


def _after_error(attempt: Attempt, error: BaseException, leaves: list[BaseException]) -> Failed:
    retry = attempt.definition.retry
    retryable = _retries(retry, leaves)
    if error not in leaves and _names_group(retry, error, leaves):
        retryable = True
    late = attempt.soft_sent and any(isinstance(one, SoftTimeout) for one in leaves)
    shown = describe(error, _soft_message(attempt) if late and error in leaves else None)
    return Failed(
        shown,
        retryable=retryable,
        delay=_named_delay(attempt, error) if retryable else None,
        label="timed_out" if late else "failed",
        ran=attempt.ran(),
        tells=failed(attempt, leaves, shown),
    )


def _soft_message(attempt: Attempt) -> str:
    limit = (attempt.policy.soft_timeout or 0) / SECOND
    return f"the task ran longer than its soft time limit of {limit:g} s and did not catch it"


def _retries(retry: Retry, leaves: list[BaseException]) -> bool:
    """Tell whether each of these errors is one to try again.

    `on` names `Exception` by default and means every error with it, so what derives from
    `BaseException` alone (`SystemExit`, `KeyboardInterrupt`, a stray cancellation) is tried
    again then, too.
    """
    every = Exception in retry.on
    return all(
        (isinstance(one, retry.on) or (every and not isinstance(one, Exception)))
        and not isinstance(one, retry.never)
        for one in leaves
    )


def _names_group(retry: Retry, group: BaseException, leaves: list[BaseException]) -> bool:
    """Tell whether `on` names the group's own type, and `never` none of its leaves."""
    return retry.retries(group) and not any(isinstance(one, retry.never) for one in leaves)


def _named_delay(attempt: Attempt, error: BaseException) -> int | None:
    """Ask the task's callable backoff for a delay; None leaves it to the numeric policy.

    A backoff that raises or answers nonsense costs the job nothing: it is logged, and the
    numbers that were stored with the job decide.
    """
    backoff = attempt.definition.retry.backoff
    if isinstance(backoff, str) or not _has_tasks_backoff(attempt):
        return None
    try:
        answer: object = backoff(spent(attempt.claim), error)
        if inspect.iscoroutine(answer):
            answer.close()
        return to_us(answer, "the answer of the backoff")  # type: ignore[arg-type]
    except BaseException as broken:  # noqa: BLE001 -- the task's code; the worker goes on
        _log.warning(
            "the backoff of task %s failed (%s: %s); the delay is taken from its numbers instead",
            attempt.definition.name,
            type(broken).__name__,
            describe(broken).message,
        )
        return None


def _has_tasks_backoff(attempt: Attempt) -> bool:
    """Tell whether the job kept its task's backoff: an override of one call is all numbers."""
    return _backoff_numbers(attempt.policy) == _backoff_numbers(attempt.definition.policy)


def _backoff_numbers(policy: JobPolicy) -> tuple[object, ...]:
    return (policy.backoff, policy.base, policy.cap, policy.jitter, policy.delays)
