"""Time limits: the soft one is raised in the task, the hard one settles the attempt at once."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.worker.floor import (
    WAIT_S,
    Floor,
    claim_of,
    failure_of,
    outcome_of,
    passes_on,
    task,
    until,
)
from treadle.context import Context
from treadle.core.outcome import Failed, Outcome, Succeeded
from treadle.core.retry import Retry
from treadle.core.signals import SoftTimeout
from treadle.worker.attempt import Middleware

# A thread whose clock has started at its hand-over has begun by then, also on a busy machine.
SOFT = 0.2
HARD = 0.3


def passes() -> None:
    """Do nothing, in a thread."""


def spin() -> None:
    """Wait in Python code, in which an error can strike a thread, for at most `WAIT_S`."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        threading.Event().wait(0.001)


async def rest() -> None:
    """Wait on the loop."""
    await asyncio.sleep(WAIT_S)


async def rest_in_a_group() -> None:
    """Wait for the child of a task group."""
    async with asyncio.TaskGroup() as group:
        group.create_task(rest())


async def rest_for_a_while() -> None:
    """Wait with a time limit of the task's own."""
    await asyncio.wait_for(rest(), WAIT_S)


async def rest_for_all() -> None:
    """Wait for several at once."""
    await asyncio.gather(rest(), rest())


async def rest_in_turns() -> None:
    """Give the loop a turn again and again."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:  # noqa: ASYNC110 -- a task that never rests
        await asyncio.sleep(0)


async def rest_under_a_limit() -> None:
    """Wait inside a longer limit of the task's own."""
    async with asyncio.timeout(WAIT_S):
        await rest()


@pytest.mark.parametrize("middleware", [(), (passes_on,)])
@pytest.mark.parametrize(
    "waits",
    [rest, rest_in_a_group, rest_for_a_while, rest_for_all, rest_in_turns, rest_under_a_limit],
)
def test_an_async_task_can_catch_its_soft_limit(
    waits: Callable[[], Any], middleware: tuple[Middleware, ...]
) -> None:
    """The soft limit is raised where the task waits, whatever it waits for, and nothing is left."""

    async def tidies() -> str:
        try:
            await waits()
        except SoftTimeout as error:
            await asyncio.sleep(0)
            task_now = asyncio.current_task()
            assert task_now is not None
            return f"{error} {task_now.cancelling()} {len(asyncio.all_tasks())}"
        return "not told"

    outcome = outcome_of(task(tidies, soft_timeout=SOFT), middleware=middleware)
    assert isinstance(outcome, Succeeded), outcome
    # The scenario's task and the attempt's own are all there is.
    assert outcome.result == b'"the task has run for its soft time limit of 0.2 s 0 2"'


@pytest.mark.parametrize("middleware", [(), (passes_on,)])
def test_a_sync_task_can_catch_its_soft_limit(middleware: tuple[Middleware, ...]) -> None:
    """The soft limit is raised in a thread, and the task goes on after it."""

    def tidies() -> str:
        try:
            spin()
        except SoftTimeout:
            return "tidied"
        return "not told"

    outcome = outcome_of(task(tidies, soft_timeout=SOFT), middleware=middleware)
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result == b'"tidied"'


@pytest.mark.parametrize("middleware", [(), (passes_on,)])
@pytest.mark.parametrize("waits", [spin, rest, rest_in_a_group])
def test_an_uncaught_soft_limit_is_a_failed_attempt(
    waits: Callable[[], Any], middleware: tuple[Middleware, ...]
) -> None:
    """A task that does not catch its soft limit has timed out and is tried again."""
    failed = failure_of(task(waits, soft_timeout=SOFT), middleware=middleware)
    assert failed.label == "timed_out"
    assert failed.error.type == "treadle.SoftTimeout"
    assert "soft time limit of 0.2 s" in failed.error.message
    assert failed.retryable


def test_the_soft_limit_is_an_error_to_choose() -> None:
    """`never` can name the soft limit."""
    never = Retry(never=(SoftTimeout,))
    assert not failure_of(task(rest, soft_timeout=SOFT, retry=never)).retryable
    assert not failure_of(task(spin, soft_timeout=SOFT, retry=never)).retryable


def test_the_soft_limit_is_raised_once() -> None:
    """A task that caught its soft limit goes on undisturbed, whoever else meets a limit."""
    others_ended = threading.Event()

    async def goes_on_async() -> None:
        with suppress(SoftTimeout):
            await rest()
        await until(others_ended.is_set)

    def goes_on() -> None:
        with suppress(SoftTimeout):
            spin()
        while not others_ended.wait(0.001):
            pass

    async def scenario() -> None:
        with Floor() as made:
            attempts = [made.start(task(fn, soft_timeout=SOFT)) for fn in (goes_on, goes_on_async)]
            for fn in (rest, spin):
                await made.run(task(fn, timeout=SOFT * 2))
            others_ended.set()
            for attempt in attempts:
                assert isinstance(await made.outcome(attempt), Succeeded)

    asyncio.run(scenario())


def test_a_signal_raised_by_the_task_itself_is_no_time_limit() -> None:
    """A `SoftTimeout` that a task raises by itself is an error like any other."""

    async def pretends() -> None:
        raise SoftTimeout("not really")

    failed = failure_of(task(pretends, soft_timeout=WAIT_S))
    assert (failed.label, failed.error.message) == ("failed", "not really")


@pytest.mark.parametrize("middleware", [(), (passes_on,)])
@pytest.mark.parametrize("waits", [spin, rest, rest_in_a_group])
def test_a_hard_limit_settles_the_attempt(
    waits: Callable[[], Any], middleware: tuple[Middleware, ...]
) -> None:
    """At its hard limit an attempt has timed out; the error shows where its code stood."""
    failed = failure_of(task(waits, timeout=HARD), middleware=middleware)
    assert failed.label == "timed_out"
    assert failed.error.type == "TimeoutError"
    assert failed.error.message == "the task ran longer than its time limit of 0.3 s"
    assert f"in {waits.__name__}" in failed.error.traceback
    assert "treadle/worker" not in failed.error.traceback
    assert "_bootstrap" not in failed.error.traceback
    assert failed.retryable
    # The clock of a thread starts at the hand-over, a little before its code.
    assert failed.ran >= HARD * 1_000_000 / 2


def test_a_hard_limit_is_tried_again_by_policy() -> None:
    """`on`, `never` and the backoff see the hard limit as a `TimeoutError`."""
    assert not failure_of(task(rest, timeout=HARD, retry=Retry(on=(KeyError,)))).retryable
    assert not failure_of(task(rest, timeout=HARD, retry=Retry(never=(OSError,)))).retryable

    def backoff(_: int, error: BaseException) -> float:
        return 9.0 if isinstance(error, TimeoutError) else 0.0

    assert failure_of(task(rest, timeout=HARD, retry=Retry(backoff=backoff))).delay == 9_000_000


def test_a_task_without_a_limit_has_that_of_the_worker() -> None:
    """The settings' time limit holds where the task names none, and the context tells it."""

    async def tells(ctx: Context) -> float:
        assert ctx.deadline is not None
        return ctx.deadline.timestamp() - time.time()

    outcome = outcome_of(task(tells))
    assert isinstance(outcome, Succeeded)
    assert outcome.result is not None
    assert 55 < float(outcome.result) <= 60


def test_the_limits_on_the_job_win() -> None:
    """A job with limits of its own is held to them."""

    async def scenario() -> Outcome:
        with Floor() as made:
            definition = task(rest, timeout=WAIT_S)
            own = task(rest, timeout=HARD).policy
            claim = claim_of(definition, b"[1, []]")
            return await made.outcome(made.start_claim(claim, definition, own))

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Failed)
    assert outcome.label == "timed_out"


class Stubborn:
    """Tasks that do not end when they are told to, until the test lets them."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def in_thread(self) -> str:
        """Wait in a C call, where no error can strike."""
        self.released.wait(3 * WAIT_S)
        return "late"

    async def on_loop(self) -> str:
        """Wait on the loop and swallow each cancellation."""
        end = time.monotonic() + 3 * WAIT_S
        while not self.released.is_set() and time.monotonic() < end:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
        return "late"


@pytest.mark.parametrize("middleware", [(), (passes_on,)])
@pytest.mark.parametrize("way", ["in_thread", "on_loop"])
def test_code_that_ignores_its_limit_is_left_behind(
    way: str, middleware: tuple[Middleware, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Code that does not end is reported with its stack, and its job does not start again."""
    stubborn = Stubborn()

    async def scenario() -> None:
        with Floor(slots=1, middleware=middleware) as made:
            attempt = made.start(task(getattr(stubborn, way), name="stays", timeout=HARD))
            assert isinstance(await made.outcome(attempt), Failed)
            assert made.executors.is_stuck(attempt.claim.id)
            assert made.executors.stuck_count == 0
            await until(lambda: made.executors.stuck_count)
            assert made.too_many_stuck == 0
            # Its slot is free, also when its thread is not.
            assert isinstance(await made.run(task(passes, name="next")), Succeeded)
            stubborn.released.set()
            await until(lambda: not made.executors.stuck_count)
            assert not made.executors.is_stuck(attempt.claim.id)
            assert len(made.outcomes[attempt]) == 1
            assert isinstance(await made.run(task(passes, name="next")), Succeeded)

    with caplog.at_level("INFO", "treadle"):
        asyncio.run(scenario())
    report, end = [record.getMessage() for record in caplog.records]
    assert "(stays) does not end although it was told to (hard_timeout)" in report
    assert f"in {way}" in report
    assert "was stuck and has ended" in end


def test_code_that_ends_when_told_to_is_not_stuck(caplog: pytest.LogCaptureFixture) -> None:
    """A task that stops at its limit is not reported."""

    async def scenario() -> None:
        with Floor(stuck_after=WAIT_S) as made:
            for waits in (spin, rest):
                attempt = made.start(task(waits, timeout=HARD))
                await made.outcome(attempt)
                await made.left(attempt)
            assert made.executors.stuck_count == 0

    asyncio.run(scenario())
    assert not caplog.records


def test_too_much_stuck_code_is_a_reason_to_leave() -> None:
    """Above `stuck_max` the worker is told, and not before."""
    stubborn = Stubborn()

    async def scenario() -> None:
        with Floor(stuck_max=2) as made:
            definition = task(stubborn.in_thread, name="stays", timeout=HARD)
            for count in (1, 2):
                made.start(definition)
                await made.stuck(count)
            assert made.too_many_stuck == 0
            made.start(definition)
            await until(lambda: made.too_many_stuck)
            stubborn.released.set()
            await until(lambda: not made.executors.stuck_count)

    asyncio.run(scenario())


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts the timers that are set on it."""

    timers = 0

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Count, then set the timer."""
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


def test_many_attempts_share_one_timer() -> None:
    """A thousand attempts with the same limits set the timer once."""
    loop = CountingLoop()

    async def nothing() -> None:
        pass

    async def scenario() -> None:
        with Floor(slots=1_000) as made:
            definition = task(nothing, timeout=WAIT_S, soft_timeout=1)
            attempts = [made.start(definition) for _ in range(1_000)]
            await until(lambda: len(made.outcomes) == len(attempts))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())
    turns_of_the_wait = 20
    assert loop.timers < turns_of_the_wait


def test_a_shorter_limit_is_met_behind_a_longer_one() -> None:
    """An attempt with a short limit that starts later is ended in time."""

    async def scenario() -> float:
        with Floor() as made:
            long = made.start(task(rest, timeout=WAIT_S, name="long"))
            await asyncio.sleep(0)
            began = time.monotonic()
            await made.run(task(rest, timeout=HARD, name="short"))
            ended = time.monotonic() - began
            made.executors.abandon(long)
            return ended

    assert HARD <= asyncio.run(scenario()) < WAIT_S / 2


def test_each_limit_is_met_after_the_one_before() -> None:
    """Attempts with different limits that start together are each ended in time."""

    async def scenario() -> None:
        with Floor() as made:
            limits = (HARD, HARD * 2, HARD * 3)
            attempts = [made.start(task(rest, timeout=limit)) for limit in limits]
            for attempt in attempts:
                assert isinstance(await made.outcome(attempt), Failed)

    asyncio.run(scenario())


def test_a_task_is_told_to_end_once() -> None:
    """A sync task that goes on after it was told to end is not struck again by its limits."""
    struck: list[str] = []
    began = threading.Event()
    released = threading.Event()

    def goes_on() -> None:
        while not released.is_set():
            try:
                began.set()
                released.wait(0.001)
            except BaseException as error:  # noqa: BLE001 -- a task that will not be ended
                struck.append(type(error).__name__)

    async def scenario() -> None:
        with Floor() as made:
            attempt = made.start(task(goes_on, soft_timeout=SOFT * 2, timeout=SOFT * 3))
            await until(began.is_set)
            made.executors.cancel(attempt, "revoked")
            outcome = await made.outcome(attempt)
            assert isinstance(outcome, Failed)
            await until(lambda: made.executors.stuck_count)
            released.set()
            await until(lambda: not made.executors.stuck_count)

    asyncio.run(scenario())
    assert struck == ["Interrupted"]


def test_a_lost_thread_is_replaced_by_one() -> None:
    """After a thread was given up, sync tasks one after another share one new thread."""
    threads: set[int] = set()

    def visits() -> None:
        threads.add(threading.get_ident())

    async def scenario() -> None:
        stubborn = Stubborn()
        with Floor() as made:
            made.start(task(stubborn.in_thread, timeout=HARD))
            await until(lambda: made.executors.stuck_count)
            for _ in range(5):
                await made.run(task(visits))
            stubborn.released.set()
            await until(lambda: not made.executors.stuck_count)
            for _ in range(5):
                await made.run(task(visits))

    asyncio.run(scenario())
    assert len(threads) == 1
