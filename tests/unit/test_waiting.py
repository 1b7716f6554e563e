"""Waiting for the ends of jobs: seen soon, at little cost."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from treadle.client.waiting import Waiting
from treadle.core.errors import SchemaMismatch, StoreError, StoreUnavailable

WAIT_S = 10.0


class Ends:
    """A store's two verbs, written for these tests: it counts how often it is asked."""

    def __init__(self) -> None:
        self.over: set[bytes] = set()
        self.rung = asyncio.Event()
        self.asked: list[int] = []
        self.waits = 0
        self.fault: StoreError | None = None
        self.slow = 0.0
        self.hints = True

    def end(self, job: bytes) -> None:
        """End a job and ring."""
        self.over.add(job)
        if self.hints:
            self.rung.set()

    async def wait(self, *, work: bool, ends: bool, timeout: float) -> bool:
        """Wait for a ring."""
        assert (work, ends) == (False, True)
        self.waits += 1
        try:
            async with asyncio.timeout(timeout):
                await self.rung.wait()
        except TimeoutError:
            return False
        self.rung.clear()
        return True

    async def ended(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Tell which have ended."""
        self.asked.append(len(ids))
        if self.fault is not None:
            raise self.fault
        deadline = time.thread_time() + self.slow
        while time.thread_time() < deadline:
            pass
        return [job for job in ids if job in self.over]


async def seen_after(store: Ends) -> float:
    """Wait for one job after another; give how long an end took to be seen, in seconds.

    It is that of the best quarter: a busy machine is late now and then, a rest is there each time.
    """
    took = []
    waiting = Waiting(store)
    for number in range(21):
        job = bytes([number])
        waiter = asyncio.ensure_future(waiting.ended(job, WAIT_S))
        await asyncio.sleep(0.002)
        store.end(job)
        began = time.perf_counter()
        assert await waiter
        took.append(time.perf_counter() - began)
    await waiting.close()
    return sorted(took)[len(took) // 4]


def test_an_end_is_seen_within_milliseconds() -> None:
    """A waiter is woken by the store's hint, far sooner than by the fallback."""
    assert asyncio.run(seen_after(Ends())) < 0.2


def test_a_look_that_wakes_somebody_is_not_rested_for() -> None:
    """Who waits for one job after another sees each end soon, though a look costs something."""
    store = Ends()
    store.slow = 0.001
    assert asyncio.run(seen_after(store)) < 0.04  # A rest for all of it takes 0.05.


def test_a_lost_hint_costs_a_quarter_of_a_second() -> None:
    """Without any hint an end is seen by the fallback."""

    async def main() -> bool:
        store = Ends()
        store.hints = False
        waiting = Waiting(store)
        waiter = asyncio.ensure_future(waiting.ended(b"a", WAIT_S))
        await asyncio.sleep(0)
        store.end(b"a")
        seen = await waiter
        await waiting.close()
        return seen

    assert asyncio.run(main())


def test_what_has_ended_before_is_seen_at_once() -> None:
    """A job that ended before it was waited for needs no hint."""

    async def main() -> list[int]:
        store = Ends()
        store.over.add(b"a")
        waiting = Waiting(store)
        assert await waiting.ended(b"a", 0.1)
        return store.asked

    assert asyncio.run(main()) == [1]


def test_a_wait_is_bounded() -> None:
    """A waiter whose job does not end gets False after its time, and is forgotten."""

    async def main() -> tuple[bool, int]:
        waiting = Waiting(Ends())
        seen = await waiting.ended(b"a", 0.01)
        left = len(waiting._waiters)  # noqa: SLF001 -- nothing may be left behind
        await waiting.close()
        return seen, left

    assert asyncio.run(main()) == (False, 0)


def test_looks_are_spaced_by_what_they_cost() -> None:
    """A store that costs 4 ms to ask is asked at most every 200 ms, however often it rings."""

    async def main() -> tuple[int, float]:
        store = Ends()
        store.slow = 0.004
        waiting = Waiting(store)
        began = time.perf_counter()
        waiter = asyncio.ensure_future(waiting.ended(b"a", 0.5))
        while not waiter.done():
            store.rung.set()
            await asyncio.sleep(0.001)
        await waiting.close()
        return len(store.asked), time.perf_counter() - began

    asked, took = asyncio.run(main())
    assert asked <= took / 0.2 + 3


def test_all_waiters_share_one_look() -> None:
    """A thousand waiters are asked about together, not one by one."""

    async def main() -> tuple[int, int]:
        store = Ends()
        waiting = Waiting(store)
        jobs = [number.to_bytes(2, "big") for number in range(1_000)]
        waiters = [asyncio.ensure_future(waiting.ended(job, WAIT_S)) for job in jobs]
        await asyncio.sleep(0)
        store.over.update(jobs)
        store.asked.clear()
        store.rung.set()
        assert all(await asyncio.gather(*waiters))
        await waiting.close()
        return len(store.asked), max(store.asked)

    looks, together = asyncio.run(main())
    assert looks <= 2
    assert together == 1_000


def test_nobody_waiting_costs_nothing() -> None:
    """When the last waiter has gone the store is asked no more."""

    async def main() -> tuple[int, int]:
        store = Ends()
        waiting = Waiting(store)
        await waiting.ended(b"a", 0.01)
        store.end(b"b")
        await asyncio.sleep(0.03)
        before = store.waits
        store.end(b"c")
        await asyncio.sleep(0.03)
        await waiting.close()
        return before, store.waits

    before, after = asyncio.run(main())
    assert before == after


def test_an_absent_store_is_waited_for() -> None:
    """A store that is away for a while costs time, not the wait."""

    async def main() -> bool:
        store = Ends()
        waiting = Waiting(store)
        waiter = asyncio.ensure_future(waiting.ended(b"a", WAIT_S))
        await asyncio.sleep(0)
        store.fault = StoreUnavailable("away")
        store.end(b"a")
        await asyncio.sleep(0.01)
        store.fault = None
        seen = await waiter
        await waiting.close()
        return seen

    assert asyncio.run(main())


def test_another_error_reaches_each_waiter() -> None:
    """An error that waiting does not mend is raised to everybody who waits."""

    async def main() -> None:
        store = Ends()
        waiting = Waiting(store)
        waiters = [asyncio.ensure_future(waiting.ended(job, WAIT_S)) for job in (b"a", b"b")]
        await asyncio.sleep(0)
        store.fault = SchemaMismatch("newer")
        store.rung.set()
        for waiter in waiters:
            with pytest.raises(SchemaMismatch):
                await waiter
        await waiting.close()

    asyncio.run(main())


def test_closing_tells_who_still_waits() -> None:
    """Whoever waits when the application is closed is told so at once."""

    async def main() -> None:
        waiting = Waiting(Ends())
        waiter = asyncio.ensure_future(waiting.ended(b"a", WAIT_S))
        await asyncio.sleep(0.002)
        await waiting.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await waiter

    asyncio.run(main())
