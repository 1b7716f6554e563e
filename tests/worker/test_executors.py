"""Executors: where code runs, and that each outcome is reported once, on the loop."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.worker.floor import WAIT_S, Floor, Gate, task, until
from treadle.core.outcome import Failed, Succeeded
from treadle.worker.attempt import Attempt


def double(n: int) -> int:
    """Double on a thread."""
    return n * 2


async def adouble(n: int) -> int:
    """Double on the loop."""
    return n * 2


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


def test_there_are_no_more_threads_than_slots() -> None:
    """Sync tasks beyond the slots wait for a thread, also after some were taken back."""
    gate = Gate()
    threads: set[int] = set()

    def visits() -> None:
        threads.add(threading.get_ident())
        gate.enter()

    async def scenario() -> None:
        with Floor(slots=2) as made:
            first = [made.start(task(visits)) for _ in range(2)]
            await until(lambda: gate.inside == 2)
            waiting = [made.start(task(visits)) for _ in range(4)]
            for attempt in waiting[:3]:
                made.executors.cancel(attempt, "stop")
            gate.open()
            for attempt in [*first, waiting[3]]:
                assert isinstance(await made.outcome(attempt), Succeeded)
        assert len(threads) == 2

    asyncio.run(scenario())


def test_taking_work_back_makes_no_thread() -> None:
    """Work that was taken back does not count, so that one thread stays enough for one task."""
    threads: set[int] = set()

    def visits() -> None:
        threads.add(threading.get_ident())

    async def scenario() -> None:
        with Floor(slots=8) as made:
            await made.run(task(visits))
            for _ in range(5):
                # The thread has no turn between the two, so the work is still waiting.
                made.executors.cancel(made.start(task(visits)), "stop")
            for _ in range(5):
                await made.run(task(visits))
        assert len(threads) <= 2

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
from tests.worker.floor import WAIT_S, Floor, Gate, passes_on, task, until

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
        [sys.executable, "-c", STUCK], check=True, capture_output=True, timeout=60, text=True
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

    began = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - began < WAIT_S / 2


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
