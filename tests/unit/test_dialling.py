"""A connection that is dialled beside a loop: given to who waits, closed where nobody does."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from treadle.store.dialling import dial_beside

WITHIN_S = 10.0


class Line:
    """A connection of two ends, which comes when it is let."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        self._theirs.settimeout(WITHIN_S)
        self.may_come = threading.Event()

    def connect(self) -> socket.socket:
        """Open it, once it may come."""
        assert self.may_come.wait(WITHIN_S)
        return self.ours

    def ended(self) -> bool:
        """Wait until our end is closed, as the other end sees it."""
        return self._theirs.recv(1) == b""

    def hang_up(self) -> None:
        """Close both ends."""
        self._theirs.close()
        self.ours.close()


@pytest.fixture
def line() -> Iterator[Line]:
    """Give a line; no thread that dials is left behind."""
    line = Line()
    yield line
    line.may_come.set()
    _dialled()
    line.hang_up()


def _dialled() -> None:
    """Wait, without turning the loop, until no thread connects any more."""
    for thread in threading.enumerate():
        if thread.name == "treadle-connect":
            thread.join(WITHIN_S)


def _soon() -> float:
    return time.monotonic() + WITHIN_S


def test_who_waits_gets_it_open(line: Line) -> None:
    """The connection is given as it was opened."""
    line.may_come.set()
    got = asyncio.run(dial_beside(line.connect, _soon()))
    got.sendall(b"x")
    assert got is line.ours


def test_who_waits_gets_the_error() -> None:
    """What connecting raised on its thread is raised where it is awaited."""

    def refused() -> socket.socket:
        raise ConnectionRefusedError("nobody listens")

    with pytest.raises(ConnectionRefusedError, match="nobody listens"):
        asyncio.run(dial_beside(refused, _soon()))


def test_cancelled_before_it_comes_closes_it(line: Line) -> None:
    """What comes after its waiter was cancelled is closed, though the loop has ended."""

    async def scene() -> None:
        waiting = asyncio.create_task(dial_beside(line.connect, _soon()))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    asyncio.run(scene())
    line.may_come.set()
    assert line.ended()


def test_cancelled_as_it_comes_closes_it(line: Line) -> None:
    """What is there when its waiter is cancelled, and was not taken, is closed."""

    async def scene() -> None:
        waiting = asyncio.create_task(dial_beside(line.connect, _soon()))
        await asyncio.sleep(0)
        line.may_come.set()
        _dialled()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert line.ended()

    asyncio.run(scene())


def test_too_late_closes_it(line: Line) -> None:
    """A thread that is stuck keeps nobody past the time, and what it brings then is closed."""
    with pytest.raises(TimeoutError):
        asyncio.run(dial_beside(line.connect, time.monotonic()))
    line.may_come.set()
    assert line.ended()
