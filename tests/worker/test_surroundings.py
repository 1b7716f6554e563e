"""What surrounds a task while it runs: its context, context variables and middleware."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.worker.floor import (
    Floor,
    raising,
    record_of,
    task,
)
from treadle.context import Context, current, running_carrier
from treadle.core.job import JobState
from treadle.core.outcome import Cancelled, Failed, Outcome, Snoozed, Succeeded
from treadle.core.signals import Cancel, Snooze
from treadle.worker.attempt import Attempt, CallNext, Middleware

SECOND = 1_000_000


def add(a: int, b: int = 2) -> int:
    """Add on a thread."""
    return a + b


async def aadd(a: int, b: int = 2) -> int:
    """Add on the loop."""
    await asyncio.sleep(0)
    return a + b


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
        with Floor() as made:
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
        with Floor(slots=1) as made:
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
        with Floor(slots=1) as made:
            definition = task(aleaks if is_async else leaks)
            started: list[Attempt] = []

            def start_one_more(_: Attempt) -> None:
                if len(started) == 1:
                    started.append(made.start(definition))

            made.then = start_one_more
            started.append(made.start(definition))
            await made.outcome(started[0])
            return await made.outcome(started[1])

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Succeeded)
    assert outcome.result == b'"clean"'


@pytest.mark.parametrize("fn", [add, aadd])
def test_middleware_wraps_execution(fn: Callable[..., Any]) -> None:
    """Middleware runs in order around the task, sees the job and may change the result."""
    seen: list[str] = []

    async def outer(job: object, call_next: CallNext) -> object:
        seen.append(f"outer {record_of(job).task}")
        result = await call_next()
        seen.append("outer done")
        assert isinstance(result, int)
        return result + 100

    async def inner(_: object, call_next: CallNext) -> object:
        MARK.set("from inner")
        seen.append("inner")
        return await call_next()

    async def scenario() -> Outcome:
        with Floor(middleware=(outer, inner)) as made:
            return await made.run(task(fn), 1)

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result == b"103"
    assert seen == [f"outer {fn.__name__}", "inner", "outer done"]


def test_middleware_and_task_share_context_variables() -> None:
    """What middleware sets is seen by the task, in its thread too."""

    async def sets(_: object, call_next: CallNext) -> object:
        MARK.set("from middleware")
        return await call_next()

    def reads() -> str:
        return MARK.get()

    async def areads() -> str:
        return MARK.get()

    async def scenario() -> list[Outcome]:
        with Floor(middleware=(sets,)) as made:
            return [await made.run(task(reads)), await made.run(task(areads))]

    outcomes = asyncio.run(scenario())
    assert [o.result for o in outcomes if isinstance(o, Succeeded)] == [b'"from middleware"'] * 2


@pytest.mark.parametrize("is_async", [False, True])
def test_middleware_sees_what_the_task_raises(*, is_async: bool) -> None:
    """Middleware may handle an error or a signal; what it raises itself is the task's outcome."""

    async def handles(_: object, call_next: CallNext) -> object:
        try:
            return await call_next()
        except ValueError:
            raise Snooze(5) from None

    async def scenario() -> list[Outcome]:
        with Floor(middleware=(handles,)) as made:
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

    async def twice(_: object, call_next: CallNext) -> object:
        await call_next()
        return await call_next()

    async def at_once(_: object, call_next: CallNext) -> object:
        return await asyncio.gather(call_next(), call_next())

    async def scenario(middleware: Middleware) -> Outcome:
        with Floor(middleware=(middleware,)) as made:
            return await made.run(task(add), 1)

    assert isinstance(asyncio.run(scenario(twice)), Succeeded)
    refused = asyncio.run(scenario(at_once))
    assert isinstance(refused, Failed)
    assert "await one call before the next" in refused.error.message
