"""What is told of an error: whether it is tried again, when, and in which bounded words."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest
from msgspec.structs import replace

from tests.worker.floor import (
    Floor,
    claim_of,
    failure_of,
    raising,
    raising_with,
    task,
)
from treadle.core.job import write_error
from treadle.core.outcome import Failed, Outcome
from treadle.core.retry import Retry
from treadle.core.signals import RetryLater
from treadle.definition import TaskOptions

SECOND = 1_000_000
LONG = "x" * 100_000


def test_which_errors_are_tried_again() -> None:
    """`on` and `never` decide; a group is tried again when all of its errors are."""

    def retryable(error: BaseException, retry: Retry) -> bool:
        return failure_of(raising_with({"retry": retry}, error, is_async=True)).retryable

    assert not retryable(ValueError(), Retry(on=(OSError,)))
    assert retryable(ConnectionError(), Retry(on=(OSError,)))
    assert not retryable(ConnectionError(), Retry(on=(OSError,), never=(ConnectionError,)))
    assert not retryable(SystemExit(), Retry(on=(OSError,)))
    assert not retryable(SystemExit(), Retry(never=(SystemExit,)))
    both = ExceptionGroup("both", [ConnectionError(), TimeoutError()])
    assert retryable(both, Retry(on=(OSError,)))
    assert retryable(both, Retry(on=(ExceptionGroup,)))
    assert not retryable(both, Retry(on=(ConnectionError,)))
    assert not retryable(both, Retry(never=(TimeoutError,)))


class Hostile(Exception):  # noqa: N818 -- not an error of treadle's
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_that_cannot_be_shown_is_described(*, is_async: bool) -> None:
    """An error whose `str()` raises gives a failed attempt that says so."""
    failed = failure_of(raising(Hostile(), is_async=is_async))
    assert failed.error.type.endswith(".Hostile")
    assert "SystemExit" in failed.error.message
    assert write_error(failed.error)


def test_errors_are_bounded() -> None:
    """Message and traceback keep their limits, and what UTF-8 cannot carry is escaped."""

    def many() -> BaseException:
        error: BaseException = ValueError("\ud800" + "é" * 100_000)
        for n in range(2_000):
            error = _after(error, n)
        return error

    def _after(error: BaseException, n: int) -> BaseException:
        later = ValueError(f"{n} " + "é" * 100_000)
        later.__cause__ = error
        return later

    def some() -> BaseException:
        error: BaseException = ValueError("first")
        for n in range(15):
            error = _after(error, n)
        return error

    for made in (many, some, lambda: ValueError("\ud800" + "é" * 100_000), lambda: OSError(LONG)):
        error = failure_of(raising(made, is_async=False)).error
        assert len(error.message) <= 2_000
        assert len(error.traceback.encode()) <= 16 * 1024
        assert "raise made()" in error.traceback
        assert ("direct cause" in error.traceback) == (made is some)
        assert ("bytes left out" in error.traceback) == (made is some)
        assert write_error(error)


def test_a_group_with_many_errors_is_bounded() -> None:
    """A group of ten thousand errors is described in bounded text and time."""
    group = ExceptionGroup("many", [ValueError(n) for n in range(10_000)])
    error = failure_of(raising(group, is_async=False)).error
    assert "many (10000 sub-exceptions)" in error.message
    assert "+--" not in error.traceback
    assert len(error.traceback.encode()) <= 16 * 1024


@pytest.mark.parametrize("is_async", [False, True])
def test_a_traceback_shows_the_task_alone(*, is_async: bool) -> None:
    """A traceback has the task's frames, none of the worker's, and no local variables."""

    def fails() -> None:
        password = "hunter" + "2"
        raise ValueError(len(password))

    async def afails() -> None:
        fails()

    text = failure_of(task(afails if is_async else fails)).error.traceback
    assert "in fails" in text
    assert "treadle/worker" not in text
    assert "hunter2" not in text


def test_a_long_traceback_keeps_its_end() -> None:
    """Of a traceback that is too long the last frames are kept, and the text says so."""
    source = "\n".join(f"def f{n}(): return f{n + 1}()  # {'x' * 900}" for n in range(60))
    space: dict[str, Any] = {}
    source += "\ndef f60(): raise ValueError('the end')"
    exec(source, space)  # noqa: S102 -- makes sixty functions
    text = failure_of(task(space["f0"])).error.traceback
    assert text.endswith("ValueError: the end\n")
    assert "in f60" in text
    assert "in f5\n" not in text


def test_a_callable_backoff_names_the_delay() -> None:
    """A callable backoff is asked with the counted attempt and the error."""
    asked: list[tuple[int, BaseException]] = []

    def backoff(attempt: int, error: BaseException) -> float:
        asked.append((attempt, error))
        return 2.5

    error = ValueError()
    options: TaskOptions = {"retry": Retry(backoff=backoff)}
    assert failure_of(raising_with(options, error, is_async=True)).delay == 2_500_000
    assert asked == [(1, error)]
    assert failure_of(raising_with(options, RetryLater(), is_async=False)).delay == 2_500_000


def test_a_backoff_counts_what_counts() -> None:
    """A callable backoff is not told of attempts that were forgiven."""
    definition = raising_with(
        {"retry": Retry(backoff=lambda attempt, _: attempt)}, ValueError(), is_async=True
    )

    async def scenario() -> Outcome:
        with Floor() as made:
            claim = replace(claim_of(definition, b"[1, []]"), attempt=5, forgiven=2)
            return await made.outcome(made.start_claim(claim, definition))

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Failed)
    assert outcome.delay == 3 * SECOND


@pytest.mark.parametrize(
    "answer", [-1, float("nan"), "soon", None, timedelta(days=-1), SystemExit], ids=repr
)
def test_a_broken_backoff_costs_nothing(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """A backoff that raises or answers nonsense leaves the delay to the numbers, and is logged."""

    def backoff(_: int, __: BaseException) -> float:
        if answer is SystemExit:
            raise SystemExit
        return cast("float", answer)

    options: TaskOptions = {"retry": Retry(backoff=backoff)}
    assert failure_of(raising_with(options, ValueError(), is_async=True)).delay is None
    assert "the backoff of task raises_async failed" in caplog.text


def test_an_async_backoff_is_refused_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine is no delay: it is closed, and the numbers decide."""

    async def backoff(_: int, __: BaseException) -> float:
        return 1.0

    options: TaskOptions = {"retry": Retry(backoff=backoff)}  # type: ignore[arg-type]
    assert failure_of(raising_with(options, ValueError(), is_async=True)).delay is None
    assert "coroutine" in caplog.text


def test_a_backoff_of_numbers_on_the_job_wins() -> None:
    """A job with a retry policy of its own does not use its task's callable backoff."""
    definition = raising_with({"retry": Retry(backoff=lambda *_: 2.5)}, ValueError(), is_async=True)

    async def scenario() -> Outcome:
        with Floor() as made:
            claim = claim_of(definition, b"[1, []]")
            own = replace(definition.policy, base=1)
            return await made.outcome(made.start_claim(claim, definition, own))

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Failed)
    assert outcome.delay is None
