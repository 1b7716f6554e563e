"""The application under test: the tasks that every measure of treadle runs.

Worker processes import it as `bench.ours.app:app`; the store's URL comes from the runner.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal

from bench.harness.marks import mark
from bench.peers.base import store_url
from treadle import Treadle

# One line a worker, when it leaves: how long it waited for the write lock.
logging.getLogger("treadle.worker").setLevel(logging.INFO)

# Whoever waits for this process in vain may ask it where it stands.
faulthandler.register(signal.SIGUSR1)

app = Treadle(store_url())


@app.task
async def mark_async(number: int) -> int:
    """Leave a mark, on the worker's event loop."""
    return mark(number)


@app.task
def mark_sync(number: int) -> int:
    """Leave a mark, in one of the worker's threads."""
    return mark(number)


@app.task
async def no_op(number: int) -> int:
    """Do nothing at all; counted from the store."""
    return number


@app.task
async def mark_and_sleep(number: int, seconds: float) -> int:
    """Leave a mark and keep the slot for a while."""
    mark(number)
    await asyncio.sleep(seconds)
    return number
