"""Sure marks: those that one turn of an event loop asks for are written in one call.

A rescuer gets a whole batch of suspects at once, and each of their claims is to be marked before it
starts. One call a mark would keep a connection for each and cost a commit each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from treadle.core.errors import StoreError

Marked = tuple[bytes, int]
"""A job's id and the number of its claim."""


class _Turn(Struct, eq=False):
    """What one turn of a loop has asked for."""

    loop: asyncio.AbstractEventLoop
    marks: list[Marked]
    waiting: list[asyncio.Future[None]]


class SureMarks:
    """The sure marks of one store; any number of loops may ask."""

    def __init__(self, write: Callable[[Sequence[Marked]], Awaitable[None]]) -> None:
        """Take what writes marks."""
        self._write = write
        self._turn: _Turn | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, job: bytes, number: int) -> Awaitable[None]:
        """Ask for a mark on the running loop; what is given ends when it is written.

        Raises:
            StoreError: when it is awaited: it is not known whether the mark was written.
        """
        loop, turn = asyncio.get_running_loop(), self._turn
        if turn is None or turn.loop is not loop:
            turn = self._turn = _Turn(loop, [], [])
            task = loop.create_task(self._write_soon(turn), name="treadle-marks")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        written = loop.create_future()
        turn.marks.append((job, number))
        turn.waiting.append(written)
        return written

    async def _write_soon(self, turn: _Turn) -> None:
        # By now whatever started with the first of them has asked as well.
        if self._turn is turn:
            self._turn = None
        failed: Exception | None = StoreError("the marks were not written: their loop ends")
        try:
            await self._write(turn.marks)
            failed = None
        except StoreError as error:
            failed = error
        finally:
            for written in turn.waiting:
                _settle(written, failed)


def _settle(written: asyncio.Future[None], failed: Exception | None) -> None:
    if written.done():
        return
    if failed is None:
        written.set_result(None)
        return
    written.set_exception(failed)
    # Whoever asked may have gone: then nobody reads it, and asyncio is not to complain.
    written.exception()
