"""What one attempt comes to: every way a task can end becomes the right outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.worker.floor import claim_of, floor, record_of, task
from treadle.context import Context, current, running_carrier
from treadle.core.job import JobState, write_error
from treadle.core.outcome import Cancelled, Failed, Outcome, Rejected, Snoozed, Succeeded
from treadle.core.retry import Retry
from treadle.core.signals import Cancel, Reject, RetryLater, Snooze
from treadle.definition import Definition, TaskOptions
from treadle.worker.attempt import Attempt

SECOND = 1_000_000


def raising(error: BaseException | Callable[[], BaseException], *, is_async: bool) -> Definition:
    """Make a task, sync or async, that raises this."""
    return raising_with({}, error, is_async=is_async)


def raising_with(
    options: TaskOptions, error: BaseException | Callable[[], BaseException], *, is_async: bool
) -> Definition:
    """Make a task with options that raises this."""

    def made() -> BaseException:
        return error if isinstance(error, BaseException) else error()

    async def raises_async() -> None:
        raise made()

    def raises() -> None:
        raise made()

    return task(raises_async if is_async else raises, **options)


def outcome_of(definition: Definition, *args: object) -> Outcome:
    """Run a task on a floor of its own."""

    async def scenario() -> Outcome:
        with floor() as made:
            return await made.run(definition, *args)

    return asyncio.run(scenario())


def failure_of(definition: Definition, *args: object) -> Failed:
    """Run a task that must fail."""
    outcome = outcome_of(definition, *args)
    assert isinstance(outcome, Failed), outcome
    return outcome


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
        with floor() as made:
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

    async def returns_async() -> Any:
        return result

    def returns() -> Any:
        return result

    outcome = outcome_of(task(returns_async if is_async else returns))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "bad_result"
    assert outcome.error.type == error


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
        with floor() as made:
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


def test_which_errors_are_tried_again() -> None:
    """`on` and `never` decide; a group is tried again when all of its errors are."""

    def retryable(error: BaseException, **policy: Any) -> bool:
        options: TaskOptions = {"retry": Retry(**policy)}
        return failure_of(raising_with(options, error, is_async=True)).retryable

    assert not retryable(ValueError(), on=(OSError,))
    assert retryable(ConnectionError(), on=(OSError,))
    assert not retryable(ConnectionError(), on=(OSError,), never=(ConnectionError,))
    assert not retryable(SystemExit(), on=(OSError,))
    assert not retryable(SystemExit(), never=(SystemExit,))
    both = ExceptionGroup("both", [ConnectionError(), TimeoutError()])
    assert retryable(both, on=(OSError,))
    assert retryable(both, on=(ExceptionGroup,))
    assert not retryable(both, on=(ConnectionError,))
    assert not retryable(both, never=(TimeoutError,))


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
            error.__context__, error = None, _after(error, n)
        return error

    def _after(error: BaseException, n: int) -> BaseException:
        later = ValueError(f"{n} " + "é" * 100_000)
        later.__context__ = error
        return later

    for made in (many, lambda: ValueError("\ud800" + "é" * 100_000)):
        error = failure_of(raising(made, is_async=False)).error
        assert len(error.message) <= 2_000
        assert len(error.traceback.encode()) <= 16 * 1024
        assert "raise made()" in error.traceback
        assert write_error(error)


def test_a_group_with_many_errors_is_bounded() -> None:
    """A group of ten thousand errors is described in bounded text and time."""
    group = ExceptionGroup("many", [ValueError(n) for n in range(10_000)])
    error = failure_of(raising(group, is_async=False)).error
    assert "many (10000 sub-exceptions)" in error.message
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
    exec(f"{source}\ndef f60(): raise ValueError('the end')", space)  # noqa: S102 -- makes sixty functions
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
        with floor() as made:
            claim = replace(claim_of(definition, b"[1, []]"), attempt=5, forgiven=2)
            return await made.outcome(made.start_claim(claim, definition))

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Failed)
    assert outcome.delay == 3 * SECOND


@pytest.mark.parametrize(
    "answer", [-1, float("nan"), "soon", None, timedelta(days=-1), SystemExit], ids=repr
)
def test_a_broken_backoff_costs_nothing(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A backoff that raises or answers nonsense leaves the delay to the numbers, and is logged."""

    def backoff(_: int, __: BaseException) -> float:
        if answer is SystemExit:
            raise SystemExit
        return answer  # type: ignore[no-any-return]

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
        with floor() as made:
            claim = claim_of(definition, b"[1, []]")
            own = replace(definition.policy, base=1)
            return await made.outcome(made.start_claim(claim, definition, own))

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Failed)
    assert outcome.delay is None


def tells(n: int, ctx: Context) -> list[Any]:
    """Use every part of the context, in a thread."""
    ctx.progress(n, 10)
    ctx.log("half way")
    record = record_of(ctx.job)
    assert current() is ctx
    assert ctx.deadline is not None
    return [n, ctx.attempt, record.state is JobState.RUNNING, ctx.cancelled, ctx.cut_off]


async def atells(n: int, ctx: Context) -> list[Any]:
    """Use every part of the context, on the loop."""
    return tells(n, ctx)


@pytest.mark.parametrize("fn", [tells, atells])
def test_the_context_is_injected(fn: Callable[..., Any]) -> None:
    """A task gets its own job's context, in a thread and on the loop."""

    async def scenario() -> tuple[Outcome, list[str]]:
        with floor() as made:
            return await made.run(task(fn), 4), made.reported

    outcome, reported = asyncio.run(scenario())
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result == b"[4,1,true,false,false]"
    assert len(reported) == 2
    assert reported[1] == "info: half way"


MARK: ContextVar[str] = ContextVar("MARK", default="clean")


@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_leaks_from_job_to_job(*, is_async: bool) -> None:
    """A context variable that a job sets is not seen by the next one, nor by the worker."""

    def leaks() -> str:
        before = MARK.get()
        MARK.set("dirty")
        return before

    async def aleaks() -> str:
        return leaks()

    async def scenario() -> list[Outcome]:
        with floor(slots=1) as made:
            definition = task(aleaks if is_async else leaks)
            outcomes = [await made.run(definition) for _ in range(3)]
            assert MARK.get() == "clean"
            assert running_carrier() is None
            return outcomes

    outcomes = asyncio.run(scenario())
    assert [o.result for o in outcomes if isinstance(o, Succeeded)] == [b'"clean"'] * 3


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_started_by_the_end_of_another_is_clean(*, is_async: bool) -> None:
    """A job that is started from the report of another one sees nothing of it."""

    def leaks() -> str:
        before = MARK.get()
        MARK.set("dirty")
        return before

    async def aleaks() -> str:
        return leaks()

    async def scenario() -> Outcome:
        with floor(slots=1) as made:
            definition = task(aleaks if is_async else leaks)
            started: list[Attempt] = []

            def start_one_more(attempt: Attempt) -> None:
                if len(started) == 1:
                    started.append(made.start(definition))

            made.then = start_one_more
            started.append(made.start(definition))
            await made.outcome(started[0])
            return await made.outcome(started[1])

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Succeeded)
    assert outcome.result == b'"clean"'


CallNext = Callable[[], Awaitable[Any]]


@pytest.mark.parametrize("fn", [add, aadd])
def test_middleware_wraps_execution(fn: Callable[..., Any]) -> None:
    """Middleware runs in order around the task, sees the job and may change the result."""
    seen: list[str] = []

    async def outer(job: Any, call_next: CallNext) -> Any:
        seen.append(f"outer {record_of(job).task}")
        result = await call_next()
        seen.append("outer done")
        return result + 100

    async def inner(_: Any, call_next: CallNext) -> Any:
        MARK.set("from inner")
        seen.append("inner")
        return await call_next()

    async def scenario() -> Outcome:
        with floor(middleware=(outer, inner)) as made:
            return await made.run(task(fn), 1)

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result == b"103"
    assert seen == [f"outer {fn.__name__}", "inner", "outer done"]


def test_middleware_and_task_share_context_variables() -> None:
    """What middleware sets is seen by the task, in its thread too."""

    async def sets(_: Any, call_next: CallNext) -> Any:
        MARK.set("from middleware")
        return await call_next()

    def reads() -> str:
        return MARK.get()

    async def areads() -> str:
        return MARK.get()

    async def scenario() -> list[Outcome]:
        with floor(middleware=(sets,)) as made:
            return [await made.run(task(reads)), await made.run(task(areads))]

    outcomes = asyncio.run(scenario())
    assert [o.result for o in outcomes if isinstance(o, Succeeded)] == [b'"from middleware"'] * 2


@pytest.mark.parametrize("is_async", [False, True])
def test_middleware_sees_what_the_task_raises(*, is_async: bool) -> None:
    """Middleware may handle an error or a signal; what it raises itself is the task's outcome."""

    async def handles(_: Any, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except ValueError:
            raise Snooze(5) from None

    async def scenario() -> list[Outcome]:
        with floor(middleware=(handles,)) as made:
            errors = [ValueError(), KeyError("k"), Cancel("no"), StopIteration()]
            return [await made.run(raising(error, is_async=is_async)) for error in errors]

    snoozed, failed, cancelled, stopped = asyncio.run(scenario())
    assert isinstance(snoozed, Snoozed)
    assert isinstance(failed, Failed)
    assert failed.error.type == "KeyError"
    assert "treadle/worker" not in failed.error.traceback
    assert isinstance(cancelled, Cancelled)
    assert isinstance(stopped, Failed)


def test_middleware_calls_a_sync_task_one_at_a_time() -> None:
    """Middleware may call the next one again after it has ended, but not twice at once."""

    async def twice(_: Any, call_next: CallNext) -> Any:
        await call_next()
        return await call_next()

    async def at_once(_: Any, call_next: CallNext) -> Any:
        return await asyncio.gather(call_next(), call_next())

    async def scenario(middleware: Any) -> Outcome:
        with floor(middleware=(middleware,)) as made:
            return await made.run(task(add), 1)

    assert isinstance(asyncio.run(scenario(twice)), Succeeded)
    refused = asyncio.run(scenario(at_once))
    assert isinstance(refused, Failed)
    assert "await one call before the next" in refused.error.message
