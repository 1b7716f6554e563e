"""The background loop: one event loop a process, for sync calls of async code.

A sync call hands its coroutine over and waits, bounded, for the answer. The thread is a
daemon, so it never holds up an exit; a fork's child makes its own. The two calls that sync
code makes all day, enqueue and get, do not come here: see `client.coalesce`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final, TypeVar

from treadle.core.errors import StoreUnavailable
from treadle.core.threads.interrupted import check_free

T = TypeVar("T")

_CLOSE_S: Final = 2.0
_CLOSED: Final = "treadle's background loop was closed before it could answer: the program ends"


class Background:
    """An event loop on a daemon thread, started when it is first needed."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Begin anew, as in a fork's child, where the parent's thread does not exist."""
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine on the background loop and give what it returns.

        Args:
            coroutine: what to run; what it raises is raised here.
            timeout: seconds after which it is cancelled.

        Raises:
            StoreUnavailable: it has not ended in time; or a signal handler asks in the midst of
                the start of the loop.
            RuntimeError: threads cannot be started, or this is the background loop itself.
        """
        future = self._submit(coroutine)
        try:
            return future.result(timeout)
        except CancelledError as error:
            raise StoreUnavailable(_CLOSED) from error
        except TimeoutError as error:
            if future.done():
                raise
            raise StoreUnavailable(
                f"the background loop has not answered within {timeout:g} s; either the store "
                "hangs, or threads do not run in this process (uWSGI: set enable-threads = true)"
            ) from error
        finally:
            # A caller that was interrupted leaves nothing running behind it.
            future.cancel()

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the background loop without blocking the caller's loop.

        Raises:
            RuntimeError: threads cannot be started, or this is the background loop itself.
        """
        return await asyncio.wrap_future(self._submit(coroutine))

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the background loop beside its caller, who may cancel it.

        Raises:
            RuntimeError: threads cannot be started.
        """
        return self._submit(coroutine)

    async def answer(self, started: Future[T]) -> T:
        """Wait for what was started; a caller who is cancelled leaves it running.

        Other than in `arun`, which cuts it off, so that nobody knows whether it was carried out.

        Raises:
            StoreUnavailable: the background loop was closed before it had ended.
        """
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def tell(_: Future[T]) -> None:
            # A loop that was closed meanwhile has nobody who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, ended)

        started.add_done_callback(tell)
        await ended
        try:
            return started.result()
        except CancelledError as error:
            raise StoreUnavailable(_CLOSED) from error

    def close(self, timeout: float = _CLOSE_S) -> None:
        """Cancel what runs and end the thread, within `timeout` seconds; it may start again."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout)

    def abandon(self) -> None:
        """Forget the parent's loop after a fork, without closing what the parent uses."""
        if self._loop is not None:
            _inherited.append(self._loop)
        self._forget()

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._started())
        except (RuntimeError, StoreUnavailable):
            coroutine.close()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._thread is threading.current_thread():
            raise RuntimeError(
                "a sync call was made on treadle's background loop, which would wait for "
                "itself; use the async twin, whose name begins with a"
            )
        check_free(self._lock)
        with self._lock:
            if self._loop is None:
                if sys.is_finalizing():
                    raise _cannot_start("treadle-background", "the modules are being unloaded")
                loop = asyncio.new_event_loop()
                try:
                    self._thread = start_thread(lambda: _serve(loop), "treadle-background")
                except RuntimeError:
                    loop.close()
                    raise
                self._loop = loop
            return self._loop


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread.

    Raises:
        RuntimeError: this process can start none; says why as far as it is known.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise _cannot_start(name, str(error)) from error
    return thread


def _cannot_start(name: str, said: str) -> RuntimeError:
    why = (
        "the interpreter is shutting down; enqueue before it does, not in __del__ or atexit"
        if sys.is_finalizing() or "shutdown" in said
        else "this process has no threads left or allows none; raise its limit (ulimit -u)"
    )
    return RuntimeError(f"treadle cannot start its thread {name!r} ({said}): {why}")


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then end its tasks."""
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_CLOSE_S / 2))
        loop.close()


BACKGROUND: Final = Background()
"""The process's own."""

# Loops of parent processes: kept, because collecting one would warn that it was not closed.
_inherited: Final[list[object]] = []

os.register_at_fork(after_in_child=BACKGROUND.abandon)
atexit.register(BACKGROUND.close)
