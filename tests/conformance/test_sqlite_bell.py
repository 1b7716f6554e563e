"""The bell of the SQLite file: rung when somebody listens, and never missed."""

import asyncio
import os
import time
from pathlib import Path

from treadle.core.ids import new_id
from treadle.core.job import NewJob
from treadle.core.settings import Settings
from treadle.store.open import open_store

ROUNDS = 200
WAKE_S = 20.0


def job() -> NewJob:
    """Make a job."""
    return NewJob(new_id(), "shop.mail", b"[1,[]]")


def test_nobody_rings_for_nobody(tmp_path: Path) -> None:
    """Without a listener an enqueue leaves the bell's file alone."""

    async def scene() -> None:
        store = open_store(f"sqlite:///{tmp_path}/jobs.db", "default", Settings())
        await store.open()
        bell = tmp_path / "jobs.db-bell"
        os.utime(bell, (0, 0))
        await store.enqueue(new_id(), [job()])
        assert bell.stat().st_mtime == 0
        for _ in range(ROUNDS):
            # Who listened holds for a fifth of a second, which a commit on a slow disk outlasts.
            await store.wait(work=True, ends=False, timeout=0.001)
            await store.enqueue(new_id(), [job()])
            if bell.stat().st_mtime > 0:
                break
        assert bell.stat().st_mtime > 0
        await store.close()

    asyncio.run(scene())


def test_a_ring_between_the_look_and_the_wait_is_not_missed(tmp_path: Path) -> None:
    """A commit that comes before the waiter has said that it listens wakes it all the same."""

    async def scene() -> None:
        url = f"sqlite:///{tmp_path}/jobs.db"
        producer = open_store(url, "default", Settings())
        waiter = open_store(url, "default", Settings())
        await producer.open()
        await waiter.open()
        await waiter.wait(work=True, ends=False, timeout=0.001)
        for _ in range(ROUNDS):
            while await waiter.wait(work=True, ends=False, timeout=0.000_1):
                pass
            await producer.enqueue(new_id(), [job()])
            begun = time.monotonic()
            assert await waiter.wait(work=True, ends=False, timeout=WAKE_S)
            assert time.monotonic() - begun < WAKE_S / 2
        await waiter.close()
        await producer.close()

    asyncio.run(scene())
