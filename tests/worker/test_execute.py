"""What one attempt comes to: every way a task can end becomes the right outcome."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from tests.worker.floor import (
    Floor,
    claim_of,
    failure_of,
    outcome_of,
    raising,
    task,
)
from treadle.core.outcome import Cancelled, Failed, Outcome, Rejected, Snoozed, Succeeded
from treadle.core.signals import Cancel, Reject, RetryLater, Snooze, SoftTimeout
from treadle.worker.attempt import Attempt
from treadle.worker.execute import execute_in_thread

SECOND = 1_000_000


def add(a: int, b: int = 2) -> int:
    """Add on a thread."""
    return a + b


async def aadd(a: int, b: int = 2) -> int:
    """Add on the loop."""
    await asyncio.sleep(0)
    return a + b


@pytest.mark.parametrize("fn", [add, aadd])
def test_a_result_is_encoded(fn: Callable[..., Any]) -> None:
    """A task that returns succeeds with its encoded result and the time it ran."""
    outcome = outcome_of(task(fn), 1)
    assert isinstance(outcome, Succeeded)
    assert outcome.result is not None
    assert task(fn).results.decode(outcome.result) == 3
    assert 0 <= outcome.ran < 5 * SECOND


@pytest.mark.parametrize("fn", [add, aadd])
def test_a_result_can_be_left_out(fn: Callable[..., Any]) -> None:
    """A task with `keep_result=False` stores no result."""
    outcome = outcome_of(task(fn, keep_result=False), 1)
    assert isinstance(outcome, Succeeded)
    assert outcome.result is None


@pytest.mark.parametrize("fn", [add, aadd])
@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b'[1, ["not a number"]]', "treadle.BadArguments"),
        (b"[1, []]", "treadle.BadArguments"),
        (b"\x80\x04pickle", "treadle.PayloadError"),
        (b"[9, [1]]", "treadle.PayloadError"),
    ],
)
def test_arguments_that_cannot_be_read_fail(
    fn: Callable[..., Any], payload: bytes, error: str
) -> None:
    """Arguments that do not fit are a failed attempt, because a deploy may mend the code."""

    async def scenario() -> Outcome:
        with Floor() as made:
            definition = task(fn)
            attempt = made.start_claim(claim_of(definition, payload), definition)
            return await made.outcome(attempt)

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Failed)
    assert outcome.error.type == error
    assert outcome.retryable


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("result", "error"),
    [
        (object(), "treadle.NotSerializable"),
        (float("nan"), "treadle.NotSerializable"),
        ("x" * 2_000, "treadle.PayloadTooLarge"),
    ],
)
def test_a_result_that_cannot_be_stored_is_not_repeated(
    result: object, error: str, *, is_async: bool
) -> None:
    """A task that returns what JSON cannot carry is a dead letter, as its work is done."""

    async def returns_async() -> object:
        return result

    def returns() -> object:
        return result

    outcome = outcome_of(task(returns_async if is_async else returns))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "bad_result"
    assert outcome.error.type == error


def test_a_limit_that_strikes_after_the_task_has_returned_is_ignored() -> None:
    """A task that has returned has succeeded, also when its limit strikes an instant later."""
    definition = task(add)

    async def an_attempt() -> Attempt:
        with Floor() as made:
            claim = claim_of(definition, definition.spec.encode((1,), {}))
            return Attempt(claim, definition, definition.policy, made.surroundings)

    struck: list[bool] = []

    def leave() -> None:
        struck.append(True)
        if len(struck) == 1:
            raise SoftTimeout

    outcome = copy_context().run(execute_in_thread, asyncio.run(an_attempt()), leave)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == b"3"
    assert len(struck) == 2


class Broken(Snooze):
    """A signal without what its base class promises."""

    def __init__(self) -> None:
        BaseException.__init__(self)


def test_a_broken_signal_is_a_failed_attempt() -> None:
    """A signal that lacks its delay fails the attempt instead of losing the job."""
    failed = failure_of(raising(Broken(), is_async=True))
    assert failed.error.type == "AttributeError"
    assert "delay_us" in failed.error.message


@pytest.mark.parametrize("is_async", [False, True])
def test_signals_become_outcomes(*, is_async: bool) -> None:
    """Each signal gives the outcome that it asks for."""
    snoozed = outcome_of(raising(Snooze(3), is_async=is_async))
    assert isinstance(snoozed, Snoozed)
    assert snoozed.delay == 3 * SECOND
    cancelled = outcome_of(raising(Cancel("no longer wanted"), is_async=is_async))
    assert isinstance(cancelled, Cancelled)
    assert cancelled.reason == "no longer wanted"
    rejected = outcome_of(raising(Reject("bad address"), is_async=is_async))
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.error.message) == ("rejected", "bad address")
    later = failure_of(raising(RetryLater("busy", delay=7), is_async=is_async))
    assert (later.delay, later.retryable, later.error.message) == (7 * SECOND, True, "busy")
    assert failure_of(raising(RetryLater(), is_async=is_async)).delay is None


def test_a_signal_is_found_in_a_task_group() -> None:
    """A signal raised by a child of a task group counts, although a group carries it."""

    async def child() -> None:
        raise Snooze(1)

    async def nests() -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(asyncio.sleep(60))
            async with asyncio.TaskGroup() as inner:
                inner.create_task(child())

    assert isinstance(outcome_of(task(nests)), Snoozed)


def test_the_strongest_signal_of_a_group_counts() -> None:
    """Of several signals the one that ends the job wins over those that run it again."""
    group = BaseExceptionGroup("all", [Snooze(1), BaseExceptionGroup("in", [Reject("no")])])
    assert isinstance(outcome_of(raising(group, is_async=False)), Rejected)
    group = BaseExceptionGroup("all", [Snooze(1), asyncio.CancelledError(), Cancel("no")])
    assert isinstance(outcome_of(raising(group, is_async=False)), Cancelled)


def test_an_error_beside_a_signal_wins() -> None:
    """An error that nobody handled does not vanish behind a signal raised beside it."""
    group = BaseExceptionGroup("both", [Snooze(1), ValueError("broken")])
    failed = failure_of(raising(group, is_async=True))
    assert failed.error.type == "BaseExceptionGroup"
    assert "ValueError: broken" in failed.error.traceback


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        MemoryError(),
        BaseException("bare"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_end_a_process_is_a_failed_attempt(
    error: BaseException, *, is_async: bool
) -> None:
    """Whatever a task raises, its job fails and is tried again, and the worker goes on."""

    async def scenario() -> tuple[Outcome, Outcome]:
        with Floor() as made:
            first = await made.run(raising(error, is_async=is_async))
            return first, await made.run(task(add), 1)

    failed, after = asyncio.run(scenario())
    assert isinstance(failed, Failed)
    assert failed.error.type.endswith(type(error).__name__)
    assert failed.retryable
    assert isinstance(after, Succeeded)


@pytest.mark.parametrize("is_async", [False, True])
def test_endless_recursion_is_a_failed_attempt(*, is_async: bool) -> None:
    """A task that recurses too deep fails with a traceback that stays bounded."""

    def recurse(n: int) -> int:
        return recurse(n + 1) + 1

    async def arecurse(n: int) -> int:
        return recurse(n)

    failed = failure_of(task(arecurse if is_async else recurse), 0)
    assert failed.error.type == "RecursionError"
    assert len(failed.error.traceback) <= 16 * 1024
