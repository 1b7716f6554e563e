"""The background loop: sync calls of async code."""

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from treadle.client.background import BACKGROUND, Background, start_thread
from treadle.core.errors import StoreUnavailable


@pytest.fixture
def background() -> Iterator[Background]:
    """Give a loop of its own, ended after the test."""
    made = Background()
    yield made
    made.close()


async def _thread_name() -> str:
    return threading.current_thread().name


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _timed_out() -> None:
    raise TimeoutError("its own")


def test_a_coroutine_runs_on_another_thread(background: Background) -> None:
    """What runs in the background runs on its own daemon thread, and its answer comes back."""
    assert background.run(_thread_name(), 5) == "treadle-background"


def test_a_call_is_bounded(background: Background) -> None:
    """A coroutine that does not end in time is cancelled, and the error names the time."""
    with pytest.raises(StoreUnavailable, match=r"0\.02 s"):
        background.run(_for_ever(), 0.02)


def test_a_timeout_of_the_coroutine_is_its_own(background: Background) -> None:
    """A TimeoutError that the coroutine raises is not taken for that of the call."""
    with pytest.raises(TimeoutError, match="its own"):
        background.run(_timed_out(), 5)


def test_a_sync_call_on_the_background_loop_is_refused(background: Background) -> None:
    """A call that would wait for itself is an error at once."""

    async def inner() -> None:
        background.run(_thread_name(), 5)

    with pytest.raises(RuntimeError, match="wait for itself"):
        background.run(inner(), 5)


def test_a_loop_awaits_the_background(background: Background) -> None:
    """A coroutine of another loop gets its answer without blocking that loop."""

    async def main() -> str:
        return await background.arun(_thread_name())

    assert asyncio.run(main()) == "treadle-background"


def test_closing_ends_what_runs_and_it_starts_again(background: Background) -> None:
    """Closing cancels the loop's tasks; the next call starts a new loop."""
    ended = threading.Event()

    async def holds() -> None:
        try:
            await _for_ever()
        finally:
            ended.set()

    async def start() -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(holds())
        await asyncio.sleep(0)
        return task

    task = background.run(start(), 5)
    background.close()
    assert ended.is_set()
    assert task.cancelled()
    assert background.run(_thread_name(), 5) == "treadle-background"


def test_without_threads_the_error_says_so(
    background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that can start no thread says why, and leaves no coroutine unawaited."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="no threads left or allows none"):
        background.run(_thread_name(), 5)


def test_at_shutdown_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is refused because the interpreter ends is reported as that."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="is shutting down"):
        start_thread(lambda: None, "late")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_makes_its_own() -> None:
    """A child does not wait for its parent's thread, which it does not have."""
    BACKGROUND.run(_thread_name(), 5)
    child = os.fork()
    if child == 0:
        try:
            named = BACKGROUND.run(_thread_name(), 5)
        except BaseException:  # noqa: BLE001 -- nothing may leave the child but its code
            os._exit(2)
        os._exit(0 if named == "treadle-background" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
