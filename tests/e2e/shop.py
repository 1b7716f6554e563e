"""The application of the end-to-end tests: each task writes what it did into a folder.

The store and the folder come from the environment, so that every test has its own; workers
and the test itself import this module by the same name.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from treadle import Context, Retry, Treadle, context


@dataclass
class Receipt:
    """What `order` returns."""

    number: int
    total: float
    at: datetime


def make(store: str) -> Treadle:
    """Make the application on a store."""
    app = Treadle(store)
    add_quick_tasks(app)
    add_long_tasks(app)
    return app


def add_quick_tasks(app: Treadle) -> None:
    """Add tasks that return at once, or fail."""

    @app.task(name="order")
    async def order(number: int, prices: list[float], at: datetime) -> Receipt:
        return Receipt(number, sum(prices), at)

    @app.task(name="where")
    def where() -> int:
        return os.getpid()

    @app.task(name="flaky", retry=Retry(attempts=3, base=0.1, jitter=False))
    def flaky(failures: int, ctx: Context = context()) -> int:  # noqa: B008 -- a marker
        if ctx.attempt <= failures:
            raise ConnectionError(f"attempt {ctx.attempt} fails")
        return ctx.attempt

    @app.task(name="note")
    def note(file: str, text: str) -> None:
        with Path(file).open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    @app.task(name="clock")
    async def clock() -> float:
        return time.time()


def add_long_tasks(app: Treadle) -> None:
    """Add tasks that go on until they are ended."""

    @app.task(name="pause")
    async def pause(seconds: float) -> int:
        await asyncio.sleep(seconds)
        return os.getpid()

    @app.task(name="endless")
    async def endless(file: str) -> None:
        touch(file)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            touch(f"{file}.cancelled")
            raise

    @app.task(name="endless_in_thread")
    def endless_in_thread(file: str) -> None:
        touch(file)
        try:
            for _ in range(6_000):
                time.sleep(0.01)
        finally:
            touch(f"{file}.cancelled")

    @app.task(name="too_long", timeout=0.3, retry=Retry(attempts=2, base=0.1, jitter=False))
    async def too_long() -> None:
        await asyncio.sleep(60)


def touch(file: str) -> None:
    """Make a file appear."""
    Path(file).touch()


if "E2E_STORE" in os.environ:
    app = make(os.environ["E2E_STORE"])
