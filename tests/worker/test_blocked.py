"""The blocked-loop detector: one report a block, with its stack and the task to blame."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from tests.worker.floor import WAIT_S, Floor, task, until
from treadle.worker.executors.blocked import BlockedLoop

WARN_AFTER = 0.3
CHECKS = 100


class Watching:
    """A watching thread that checks as the beat thread does, and lets a block end."""

    def __init__(self, blocked: BlockedLoop, log: pytest.LogCaptureFixture) -> None:
        self.release = threading.Event()
        """Set once a block was reported and five more checks have passed."""
        self._blocked = blocked
        self._log = log
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(WAIT_S)

    def _watch(self) -> None:
        after_report = 0
        while not self._end.wait(self._blocked.interval):
            self._blocked.check()
            after_report += bool(self._log.records)
            if after_report == 6:
                self.release.set()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture what the detector logs."""
    with caplog.at_level(logging.INFO, "treadle.worker.executors.blocked"):
        yield caplog


async def reported(log: pytest.LogCaptureFixture, count: int) -> list[str]:
    """Wait until so many lines are logged."""
    await until(lambda: len(log.records) >= count)
    return [record.getMessage() for record in log.records]


def test_a_block_is_reported_once_with_its_task(log: pytest.LogCaptureFixture) -> None:
    """A task that blocks the loop is named with its stack, once, and once more when it ends."""

    async def scenario() -> None:
        with Floor() as made:
            loop = asyncio.get_running_loop()
            blocked = BlockedLoop(loop, made.executors.attempt_of, WARN_AFTER)
            with Watching(blocked, log) as watching:

                async def blocks() -> None:
                    assert watching.release.wait(WAIT_S)

                await made.run(task(blocks))
                begin, end = await reported(log, 2)
        assert "task blocks (job 0000" in begin
        assert "in blocks" in begin
        assert "watching.release.wait(WAIT_S)" in begin
        assert "treadle/worker" not in begin
        assert "the event loop runs again; task blocks (job 0000" in end

    asyncio.run(scenario())


def test_the_next_block_is_reported_again(log: pytest.LogCaptureFixture) -> None:
    """Each block has a report of its own."""

    async def scenario() -> None:
        blocked = BlockedLoop(asyncio.get_running_loop(), lambda _: None, WARN_AFTER)
        for lines in (2, 4):
            with Watching(blocked, log) as watching:
                assert watching.release.wait(WAIT_S)
                begin, end = (await reported(log, lines))[-2:]
                assert "has blocked the event loop" in begin
                assert "the event loop runs again" in end

    asyncio.run(scenario())


def test_what_is_no_job_is_named_too(log: pytest.LogCaptureFixture) -> None:
    """A block by a foreign asyncio task or by a callback is reported as such."""

    async def scenario(watching: Watching, *, in_callback: bool) -> str:
        with watching:
            if in_callback:
                asyncio.get_running_loop().call_soon(watching.release.wait, WAIT_S)
                await asyncio.sleep(0)
            else:
                assert watching.release.wait(WAIT_S)
            return (await reported(log, 2))[0]

    async def main(*, in_callback: bool) -> str:
        log.clear()
        current = asyncio.current_task()
        assert current is not None
        current.set_name("somebody")
        blocked = BlockedLoop(asyncio.get_running_loop(), lambda _: None, WARN_AFTER)
        return await scenario(Watching(blocked, log), in_callback=in_callback)

    assert asyncio.run(main(in_callback=False)).startswith("the asyncio task somebody has")
    assert asyncio.run(main(in_callback=True)).startswith("a callback has")


def test_a_loop_that_turns_is_not_reported(log: pytest.LogCaptureFixture) -> None:
    """Neither an idle nor a busy loop is reported, whatever the number of checks."""

    async def scenario() -> None:
        blocked = BlockedLoop(asyncio.get_running_loop(), lambda _: None, 0)
        for rest in (0, 0.001) * CHECKS:
            blocked.check()
            await asyncio.sleep(rest)

    asyncio.run(scenario())
    assert not log.records


def test_a_closed_loop_is_let_be(log: pytest.LogCaptureFixture) -> None:
    """Checks after the loop was closed do nothing."""
    made: list[BlockedLoop] = []

    async def scenario() -> None:
        made.append(BlockedLoop(asyncio.get_running_loop(), _nobody, 0))

    asyncio.run(scenario())
    for _ in range(3):
        made[0].check()
    assert not log.records


def _nobody(_: object) -> None:
    """Know no attempt."""
