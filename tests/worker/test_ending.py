"""Ending attempts: their code stops or is left behind, and no other job is hit."""

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.worker.floor import Floor, Gate, passes_on, task, until
from treadle.context import Context
from treadle.core.outcome import Cancelled, Outcome, Released, Succeeded
from treadle.core.signals import Cancel
from treadle.worker.attempt import CallNext, CancelReason, Middleware


def double(n: int) -> int:
    """Double on a thread."""
    return n * 2


async def adouble(n: int) -> int:
    """Double on the loop."""
    return n * 2


@pytest.mark.parametrize("reason", ["revoked", "cut_off", "stop"])
@pytest.mark.parametrize("middleware", [(), (passes_on,)])
@pytest.mark.parametrize("way", ["aenter", "spin"])
def test_a_cancelled_attempt_is_handed_back(
    way: str, middleware: tuple[Middleware, ...], reason: CancelReason
) -> None:
    """An attempt that the worker ends goes back unspent, in a thread and on the loop."""
    gate = Gate()

    async def scenario() -> None:
        with Floor(middleware=middleware) as made:
            attempt = made.start(task(getattr(gate, way), name="waits"))
            await until(lambda: gate.inside)
            made.executors.cancel(attempt, reason)
            made.executors.cancel(attempt, "hard_timeout")
            assert await made.outcome(attempt) == Released(began=True)
            assert attempt.reason == reason
            assert not list(made.executors.running)
            assert isinstance(await made.run(task(double), 1), Succeeded)

    asyncio.run(scenario())


def test_a_cancelled_chain_takes_its_waiting_work_back() -> None:
    """A chain that waits for a thread ends when it is cancelled, without ever having one."""
    gate = Gate()

    async def scenario() -> None:
        with Floor(slots=1, middleware=(passes_on,)) as made:
            busy = made.start(task(gate.enter, name="busy"))
            await until(lambda: gate.inside)
            attempt = made.start(task(double), 1)
            await until(lambda: attempt.started)
            await asyncio.sleep(0)
            made.executors.cancel(attempt, "stop")
            assert await made.outcome(attempt) == Released(began=True)
            assert not made.outcomes.get(busy)
            gate.open()
            await made.outcome(busy)

    asyncio.run(scenario())


def test_an_attempt_that_has_ended_cannot_be_ended() -> None:
    """To cancel or abandon what has ended changes nothing."""

    async def scenario() -> None:
        with Floor() as made:
            for fn in (double, adouble):
                attempt = made.start(task(fn), 1)
                await made.outcome(attempt)
                made.executors.cancel(attempt, "stop")
                made.executors.abandon(attempt)
                assert attempt.reason is None
                assert len(made.outcomes[attempt]) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("fn", [double, adouble])
@pytest.mark.parametrize("ends", ["cancel", "abandon"])
def test_an_attempt_that_has_not_begun_ends_at_once(fn: Callable[..., Any], ends: str) -> None:
    """Code that has not begun never does after its attempt was ended."""
    gate = Gate()

    async def scenario() -> None:
        with Floor(slots=1) as made:
            busy = made.start(task(gate.enter, name="busy"))
            await until(lambda: gate.inside)
            attempt = made.start(task(fn), 1)
            if ends == "cancel":
                made.executors.cancel(attempt, "stop")
            else:
                made.executors.abandon(attempt)
            assert made.outcomes[attempt] == [Released()]
            assert not made.executors.is_stuck(attempt.claim.id)
            gate.open()
            await made.outcome(busy)
            assert isinstance(await made.run(task(double), 1), Succeeded)
            assert not attempt.started

    asyncio.run(scenario())


def test_a_result_given_in_spite_of_a_cancel_counts() -> None:
    """A task that ends well, or with a signal, when it is cancelled is taken at its word."""
    gate = Gate()

    async def finishes(*, signal: bool) -> str:
        try:
            await gate.aenter()
        except asyncio.CancelledError:
            if signal:
                raise Cancel("enough") from None
        return "done"

    async def outcome(*, signal: bool) -> Outcome:
        gate.inside = 0
        with Floor() as made:
            attempt = made.start(task(finishes), signal=signal)
            await until(lambda: gate.inside)
            made.executors.cancel(attempt, "stop")
            return await made.outcome(attempt)

    assert isinstance(asyncio.run(outcome(signal=False)), Succeeded)
    assert isinstance(asyncio.run(outcome(signal=True)), Cancelled)


def test_an_error_raised_because_of_a_cancel_spends_no_attempt() -> None:
    """What a task breaks on while it is being ended is not its failure."""
    gate = Gate()

    async def breaks() -> None:
        try:
            await gate.aenter()
        finally:
            raise RuntimeError("the connection was cut")

    async def scenario() -> None:
        with Floor() as made:
            attempt = made.start(task(breaks))
            await until(lambda: gate.inside)
            made.executors.cancel(attempt, "stop")
            assert await made.outcome(attempt) == Released(began=True)

    asyncio.run(scenario())


def test_a_sync_task_can_see_that_it_is_cancelled() -> None:
    """`ctx.cancelled` turns true in a task that catches everything."""
    seen = threading.Event()

    def looks(ctx: Context) -> bool:
        while not ctx.cancelled:
            try:
                seen.set()
            except BaseException:  # noqa: BLE001, S112 -- a task that will not be ended
                continue
        return True

    async def scenario() -> None:
        with Floor() as made:
            attempt = made.start(task(looks))
            await until(seen.is_set)
            made.executors.cancel(attempt, "revoked")
            assert isinstance(await made.outcome(attempt), Succeeded | Released)

    asyncio.run(scenario())


def test_middleware_waits_for_the_thread_it_called() -> None:
    """A cancelled chain goes on only when its thread has ended, so it closes nothing too soon."""
    gate = Gate()
    order: list[str] = []

    def works() -> None:
        try:
            gate.spin()
        finally:
            order.append("thread ended")

    async def closes(_: object, call_next: CallNext) -> object:
        try:
            return await call_next()
        finally:
            order.append("session closed")

    async def scenario() -> None:
        with Floor(middleware=(closes,)) as made:
            attempt = made.start(task(works))
            await until(lambda: gate.inside)
            made.executors.cancel(attempt, "stop")
            assert await made.outcome(attempt) == Released(began=True)

    asyncio.run(scenario())
    assert order == ["thread ended", "session closed"]


@pytest.mark.parametrize("way", ["enter", "never_ends"])
def test_an_abandoned_attempt_reports_at_once(way: str) -> None:
    """A worker that must go hands back what does not stop; what that gives later is ignored."""
    gate = Gate()

    async def never_ends() -> None:
        while True:
            try:
                return await gate.aenter()
            except asyncio.CancelledError:
                gate.inside += 1

    async def scenario() -> None:
        with Floor() as made:
            attempt = made.start(task(gate.enter if way == "enter" else never_ends, name="stays"))
            await until(lambda: gate.inside)
            made.executors.abandon(attempt)
            assert made.outcomes[attempt] == [Released(began=True)]
            assert made.executors.is_stuck(attempt.claim.id)
            made.executors.abandon(attempt)
            gate.open()
            await until(lambda: not made.executors.is_stuck(attempt.claim.id))
            assert made.outcomes[attempt] == [Released(began=True)]

    asyncio.run(scenario())


@pytest.fixture
def _quick_switches() -> Iterator[None]:
    """Let threads take turns a thousand times as often, so that races are met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_quick_switches")
@pytest.mark.parametrize("middleware", [(), (passes_on,)])
def test_a_late_error_never_hits_the_next_job(middleware: tuple[Middleware, ...]) -> None:
    """Of short jobs on one thread, ended at random instants, only the ended ones end early."""
    begun: list[int] = []
    draw = random.Random(7)  # noqa: S311 -- not for secrets

    def short(n: int) -> int:
        begun.append(n)
        return sum(range(n % 400))

    async def scenario() -> set[type[Outcome]]:
        seen: set[type[Outcome]] = set()
        with Floor(slots=1, middleware=middleware) as made:
            definition = task(short)
            for n in range(2_000):
                attempt = made.start(definition, n)
                spared = n % 2 == 0
                while not spared and n not in begun[-1:]:  # noqa: ASYNC110 -- set by a thread
                    await asyncio.sleep(0)
                if not spared:
                    sum(range(draw.randrange(400)))
                    made.executors.cancel(attempt, "revoked")
                outcome = await made.outcome(attempt)
                assert type(outcome) is Succeeded or not spared, (n, outcome)
                seen.add(type(outcome))
        return seen

    assert asyncio.run(scenario()) <= {Succeeded, Released}
