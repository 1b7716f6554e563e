"""A connection to Redis that comes when nobody wants it any more is closed."""

import asyncio
import gc
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.redis.engine.address import read_address
from treadle.store.redis.engine.pool import Pool

WITHIN_S = 10.0


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Fail a test that leaves a socket to the garbage collector."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in said] == []


@pytest.fixture
def pool(redis_url: str) -> Iterator[Pool]:
    """Give the connections to the server; those that rest are closed."""
    pool = Pool(read_address(redis_url))
    yield pool
    pool.close()


def test_a_connection_bears_the_longest_call_whoever_dialled_it(redis_url: str) -> None:
    """One dialled with little time left does not end the later calls that have more."""
    pool = Pool(read_address(redis_url), 7.0)
    wire = pool.take_now(time.monotonic() + 1.0)
    try:
        with socket.socket(fileno=os.dup(wire.fileno())) as same:
            borne = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert borne == 7_000
    finally:
        pool.give(wire)
        pool.close()


def _dialled() -> None:
    """Wait, without turning the loop, until no thread connects any more."""
    for thread in threading.enumerate():
        if thread.name == "treadle-connect":
            thread.join(WITHIN_S)


async def _taking(pool: Pool) -> "asyncio.Task[object]":
    """Begin to take a connection; come back when it is there and was not handed over yet."""
    taking = asyncio.create_task(pool.take(time.monotonic() + WITHIN_S))
    await asyncio.sleep(0)
    _dialled()
    return taking


def test_who_is_cancelled_as_it_comes_leaves_it_closed(pool: Pool) -> None:
    """A cancellation in the moment in which the connection is there: it is closed."""

    async def scene() -> None:
        taking = await _taking(pool)
        await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(scene())


def test_who_was_cancelled_before_it_comes_leaves_it_closed(pool: Pool) -> None:
    """A cancellation while the thread still connects, and the loop ends: it is closed."""

    async def scene() -> None:
        taking = asyncio.create_task(pool.take(time.monotonic() + WITHIN_S))
        await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(scene())
    _dialled()


def test_a_store_closed_while_a_wait_begins_hears_nothing_more(redis_url: str) -> None:
    """The connection that a wait was opening comes after the store was closed: it is closed."""

    async def scene() -> None:
        store = open_store(redis_url, "default", Settings())
        await store.open()
        waiting = asyncio.create_task(store.wait(work=True, ends=False, timeout=0.01))
        await asyncio.sleep(0)
        await store.close()
        _dialled()
        await waiting

    asyncio.run(scene())
