"""Executors: where code runs, that each outcome is reported once, and how code is ended."""

import asyncio
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.worker.floor import WAIT_S, Floor, task, until
from treadle.context import Context
from treadle.core.outcome import Cancelled, Failed, Outcome, Released, Succeeded
from treadle.core.signals import Cancel
from treadle.worker.attempt import Attempt, CallNext, CancelReason, Middleware


class Gate:
    """A place where tasks stop until the test lets them on; for threads and for the loop."""

    def __init__(self) -> None:
        self.inside = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Let every task on."""
        self._open.set()

    def shut(self) -> None:
        """Stop the tasks that come from now on."""
        self.inside = 0
        self._open.clear()

    def enter(self) -> None:
        """Wait in a thread."""
        with self._lock:
            self.inside += 1
        assert self._open.wait(WAIT_S)

    def spin(self) -> None:
        """Wait in a thread, in Python code that an error can strike."""
        with self._lock:
            self.inside += 1
        while not self._open.wait(0.001):
            pass

    async def aenter(self) -> None:
        """Wait on the loop."""
        self.inside += 1
        await until(self._open.is_set)


def double(n: int) -> int:
    """Double on a thread."""
    return n * 2


async def adouble(n: int) -> int:
    """Double on the loop."""
    return n * 2


async def passes_on(_: object, call_next: CallNext) -> object:
    """Do nothing but go on."""
    return await call_next()


@pytest.mark.parametrize("fn", [double, adouble])
def test_each_outcome_is_reported_once_on_the_loop(fn: Callable[..., Any]) -> None:
    """Each of many attempts reports its own outcome, once, on the loop's thread."""

    async def scenario() -> None:
        threads: set[int] = set()
        with Floor(slots=8) as made:
            made.then = lambda _: threads.add(threading.get_ident())
            definition = task(fn)
            for first in range(0, 400, 8):
                attempts = [made.start(definition, n) for n in range(first, first + 8)]
                for n, attempt in enumerate(attempts, start=first):
                    outcome = await made.outcome(attempt)
                    assert isinstance(outcome, Succeeded)
                    assert outcome.result == b"%d" % (n * 2)
            assert sum(map(len, made.outcomes.values())) == 400
            assert not list(made.executors.running)
        assert threads == {threading.get_ident()}

    asyncio.run(scenario())


def test_threads_are_made_on_demand_and_kept() -> None:
    """One sync task after another needs one thread; as many at once as slots need as many."""
    gate = Gate()
    threads: set[int] = set()

    def visits() -> None:
        threads.add(threading.get_ident())
        gate.enter()

    async def scenario() -> None:
        with Floor(slots=3) as made:
            gate.open()
            for _ in range(5):
                await made.run(task(visits))
            assert len(threads) == 1
            gate.shut()
            attempts = [made.start(task(visits)) for _ in range(3)]
            await until(lambda: gate.inside == 3)
            gate.open()
            for attempt in attempts:
                await made.outcome(attempt)
            assert len(threads) == 3

    asyncio.run(scenario())


def test_sync_tasks_do_not_stop_the_loop() -> None:
    """While a sync task waits, async tasks go on."""
    gate = Gate()

    async def scenario() -> None:
        with Floor() as made:
            waiting = made.start(task(gate.enter, name="waits"))
            await until(lambda: gate.inside)
            assert isinstance(await made.run(task(adouble), 1), Succeeded)
            assert not made.outcomes.get(waiting)
            gate.open()
            assert isinstance(await made.outcome(waiting), Succeeded)

    asyncio.run(scenario())


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
            made.executors.cancel(attempt, reason)
            assert await made.outcome(attempt) == Released()
            assert not list(made.executors.running)
            assert isinstance(await made.run(task(double), 1), Succeeded)

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
            assert await made.outcome(attempt) == Released()

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
            assert await made.outcome(attempt) == Released()

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
            assert made.outcomes[attempt] == [Released()]
            assert made.executors.is_stuck(attempt.claim.id)
            made.executors.abandon(attempt)
            gate.open()
            await until(lambda: not made.executors.is_stuck(attempt.claim.id))
            assert made.outcomes[attempt] == [Released()]

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


def test_a_process_without_threads_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started a sync task is refused with what to do, and async ones run."""

    def refuses(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario(made: Floor) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuses)
            with pytest.raises(RuntimeError, match=r"'double' .*raise the limit on threads"):
                made.start(task(double), 1)
            assert not list(made.executors.running)
            assert isinstance(await made.run(task(adouble), 1), Succeeded)
        assert isinstance(await made.run(task(double), 1), Succeeded)

    async def main() -> None:
        with Floor() as made:
            await scenario(made)

    asyncio.run(main())


def test_a_thread_that_outlives_its_loop_ends_quietly() -> None:
    """A sync task that ends after its loop was closed raises nothing in its thread."""
    gate = Gate()
    threads: list[threading.Thread] = []

    def stays() -> None:
        threads.append(threading.current_thread())
        gate.enter()

    async def scenario() -> None:
        with Floor() as made:
            made.start(task(stays))
            await until(lambda: gate.inside)

    asyncio.run(scenario())
    gate.open()
    threads[0].join(WAIT_S)
    assert not threads[0].is_alive()


STUCK = """
import asyncio, threading
from tests.worker.floor import Floor, task, until

began = threading.Event()

def sticks() -> None:
    began.set()
    threading.Event().wait()

async def main() -> None:
    with Floor() as made:
        made.start(task(sticks))
        await until(began.is_set)

asyncio.run(main())
print("left")
"""


def test_a_stuck_thread_does_not_hold_up_the_exit() -> None:
    """A process whose sync task never returns still ends by itself."""
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], check=True, capture_output=True, timeout=WAIT_S, text=True
    )
    assert ended.stdout == "left\n"
    assert not ended.stderr


def test_code_that_swallows_its_end_does_not_hold_up_the_exit() -> None:
    """A runner that waits for all asyncio tasks does not wait for one that was left behind."""
    gate = Gate()

    async def swallows() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await gate.aenter()

    async def scenario() -> None:
        with Floor() as made:
            attempt = made.start(task(swallows))
            await until(lambda: gate.inside)
            made.executors.abandon(attempt)
            await until(lambda: gate.inside > 1)

    asyncio.run(scenario())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio tasks do not show their context")
def test_a_child_task_leads_to_the_attempt_that_started_it() -> None:
    """A job is found behind the asyncio tasks that its code has started."""

    async def scenario() -> None:
        with Floor() as made:

            async def child() -> Attempt | None:
                current = asyncio.current_task()
                assert current is not None
                return made.executors.attempt_of(current)

            found: list[Attempt | None] = []

            async def parent() -> None:
                found.extend(await asyncio.gather(child(), child()))

            attempt = made.start(task(parent))
            await made.outcome(attempt)
            assert found == [attempt, attempt]

    asyncio.run(scenario())


def test_an_asyncio_task_leads_to_its_attempt() -> None:
    """The attempt behind an asyncio task is found, and none behind a foreign one."""

    async def scenario() -> None:
        found: list[Attempt | None] = []
        with Floor() as made:

            async def looks() -> None:
                current = asyncio.current_task()
                assert current is not None
                found.append(made.executors.attempt_of(current))

            attempt = made.start(task(looks))
            assert not isinstance(await made.outcome(attempt), Failed)
            await looks()
        assert found == [attempt, None]

    asyncio.run(scenario())
