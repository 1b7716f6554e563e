"""What `wait` promises: a hint of new work or of ends, within a bounded time.

A hint may come for nothing, so a test of the time-out asks until the hints have run dry.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from treadle.core.ids import new_id
from treadle.core.outcome import Succeeded
from treadle.store.contract import Store
from treadle.testing.conformance.kit import Case, new_job, scenario

AGAIN_S = 0.5
ACTS_MAX = 20
# Longer than all the acts take that rest in between, so that each of them can be heard.
HEARD_WITHIN_S = 15.0
QUIET_S = 0.02
HINTS_MAX = 50


async def runs_dry(store: Store, *, work: bool, ends: bool) -> bool:
    """Wait until a wait has run its time; False when hints never stop coming."""
    for _ in range(HINTS_MAX):
        if not await store.wait(work=work, ends=ends, timeout=QUIET_S):
            return True
    return False


class Listener:
    """A task that has heard all there was and waits for what comes next."""

    def __init__(self, store: Store, *, work: bool = False, ends: bool = False) -> None:
        self._store = store
        self._kinds = {"work": work, "ends": ends}
        self._dry = asyncio.Event()
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> bool:
        assert await runs_dry(self._store, **self._kinds), "hints come without end"
        self._dry.set()
        return await self._store.wait(timeout=HEARD_WITHIN_S, **self._kinds)

    async def is_waiting(self) -> bool:
        """Return once it waits in silence; False when a late hint has ended its wait already."""
        silence = asyncio.create_task(self._dry.wait())
        await asyncio.wait({self.task, silence}, return_when=asyncio.FIRST_COMPLETED)
        silence.cancel()
        return not self.task.done()

    async def hears(self, act: Callable[[], Awaitable[object]]) -> bool:
        """Act until the wait ends, for a hint may be missed; True when one was heard."""
        await self.is_waiting()
        for _ in range(ACTS_MAX):
            await act()
            done, _ = await asyncio.wait({self.task}, timeout=AGAIN_S)
            if done:
                break
        return await self.task


async def waiting(store: Store) -> Listener:
    """Give a listener that waits: one to whom a late hint came has ended, and another begins.

    A store that is slow to connect has its first hint when it has done so, however long that was.
    """
    for _ in range(HINTS_MAX):
        listener = Listener(store, work=True, ends=True)
        if await listener.is_waiting():
            return listener
        assert await listener.task
    raise AssertionError("hints come without end")


class TestWait:
    """A waiter hears of what others write."""

    @scenario
    async def test_an_enqueue_by_another_is_heard(self, case: Case) -> None:
        """A worker that sleeps wakes up for a job that another process stored."""
        other = await case.other()
        listener = Listener(case.store, work=True)
        assert await listener.hears(lambda: other.enqueue(new_id(), [new_job()]))

    @scenario
    async def test_an_enqueue_from_a_thread_is_heard(self, case: Case) -> None:
        """The call for code without a loop wakes workers as well."""
        other = await case.other()
        listener = Listener(case.store, work=True)
        assert await listener.hears(
            lambda: asyncio.to_thread(other.enqueue_now, new_id(), [new_job()])
        )

    @scenario
    async def test_an_end_is_heard(self, case: Case) -> None:
        """One who waits for results wakes up when another settles a job."""
        await case.add(ACTS_MAX)
        worker = await case.worker(store=await case.other())

        async def settle_one() -> None:
            [claim] = await worker.claim()
            await worker.finish(claim, Succeeded(b"1"))

        assert await Listener(case.store, ends=True).hears(settle_one)

    @scenario
    async def test_a_cancel_is_heard_as_an_end(self, case: Case) -> None:
        """Whatever ends a job is news to those who wait for it."""
        ids = iter(await case.add(ACTS_MAX))
        other = await case.other()
        listener = Listener(case.store, ends=True)
        assert await listener.hears(lambda: other.cancel([next(ids)]))

    @scenario
    async def test_work_handed_back_is_heard(self, case: Case) -> None:
        """A worker that leaves wakes those who can take its jobs."""
        await case.add(ACTS_MAX)
        other = await case.other()
        names = iter(range(ACTS_MAX))

        async def claim_and_leave() -> None:
            worker = await case.worker(f"leaving{next(names)}", store=other)
            await worker.claim()
            await other.leave(worker.name)

        assert await Listener(case.store, work=True).hears(claim_and_leave)

    @pytest.mark.parametrize("kinds", [{"work"}, {"ends"}, {"work", "ends"}])
    @scenario
    async def test_a_wait_without_news_ends_with_false(self, case: Case, kinds: set[str]) -> None:
        """The time runs out, and says so."""
        assert await runs_dry(case.store, work="work" in kinds, ends="ends" in kinds)

    @scenario
    async def test_a_cancelled_wait_leaves_the_store_sound(self, case: Case) -> None:
        """A waiter that goes away ends at once, and the next one still hears."""
        for _ in range(3):
            gone = await waiting(case.store)
            gone.task.cancel()
            await asyncio.wait({gone.task}, timeout=HEARD_WITHIN_S)
            assert gone.task.cancelled()
        other = await case.other()
        listener = Listener(case.store, work=True)
        assert await listener.hears(lambda: other.enqueue(new_id(), [new_job()]))

    @scenario
    async def test_several_waiters_all_hear(self, case: Case) -> None:
        """One enqueue wakes everyone who waits for work."""
        other = await case.other()
        listeners = [Listener(case.store, work=True) for _ in range(5)]
        for listener in listeners:
            await listener.is_waiting()
        await other.enqueue(new_id(), [new_job()])
        assert await asyncio.gather(*(listener.task for listener in listeners)) == [True] * 5


class TestReady:
    """Whether a look for work is worth a write."""

    @scenario
    async def test_ready_work_is_seen_in_its_queue(self, case: Case) -> None:
        """A ready job is never overlooked, by its queue's name or among all."""
        assert not await case.store.ready(None)
        await case.add(queue="mail")
        assert await case.store.ready(None)
        assert await case.store.ready(["mail"])
        assert await case.store.ready(["other", "mail"])
        assert not await case.store.ready(["other"])

    @scenario
    async def test_running_and_future_jobs_are_not_ready(self, case: Case) -> None:
        """Only what can be claimed now counts."""
        await case.add()
        await case.add(delay=1_000_000)
        await (await case.worker()).claim()
        assert not await case.store.ready(None)
        assert not await case.store.ready(["default"])
