"""Sure marks: those of one turn of a loop share a call, whose outcome each that waits learns."""

import asyncio
from collections.abc import Sequence

import pytest

from treadle.core.errors import StoreUnavailable
from treadle.store.marking import Marked, SureMarks


class Paper:
    """What marks are written on, once it is allowed to."""

    def __init__(self) -> None:
        self.calls: list[list[Marked]] = []
        self.free = asyncio.Event()
        self.torn = False

    async def write(self, marks: Sequence[Marked]) -> None:
        """Write, or say that it cannot be done."""
        await self.free.wait()
        self.calls.append(list(marks))
        if self.torn:
            raise StoreUnavailable("nobody listens there")


def test_marks_of_one_turn_are_one_call() -> None:
    """What comes while it is under way goes into the next."""

    async def scene() -> None:
        paper = Paper()
        sure = SureMarks(paper.write)
        first = [sure.add(b"a", 1), sure.add(b"b", 2)]
        await asyncio.sleep(0)
        later = sure.add(b"c", 3)
        paper.free.set()
        await asyncio.gather(*first, later)
        assert sorted(paper.calls) == [[(b"a", 1), (b"b", 2)], [(b"c", 3)]]

    asyncio.run(scene())


def test_a_failure_is_told_to_each_that_waits() -> None:
    """One that has gone meanwhile takes nothing from the others."""

    async def scene() -> None:
        paper = Paper()
        paper.torn = True
        sure = SureMarks(paper.write)
        gone, stays = asyncio.ensure_future(sure.add(b"a", 1)), sure.add(b"b", 2)
        gone.cancel()
        paper.free.set()
        with pytest.raises(StoreUnavailable, match="nobody listens"):
            await stays
        paper.torn = False
        await sure.add(b"c", 3)

    asyncio.run(scene())
