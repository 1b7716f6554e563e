"""The line in which transactions of one process wait for their turn."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from tests.worker.floor import until
from treadle.store.sqlite.engine.turns import Turns


def test_first_come_first_served_for_threads_and_coroutines() -> None:
    """Each turn goes to the one who has waited longest."""
    turns = Turns()
    order: list[int] = []

    def in_thread(number: int, place: Future[None]) -> None:
        turns.wait_now(place, 10)
        order.append(number)
        turns.leave(place)

    async def on_loop(number: int) -> None:
        place: Future[None] = Future()
        await turns.wait(place, 10)
        order.append(number)
        turns.leave(place)

    async def main() -> None:
        first: Future[None] = Future()
        await turns.wait(first, 1)
        tasks, threads = [], []
        for number in range(6):
            if number % 2:
                place: Future[None] = Future()
                thread = threading.Thread(target=in_thread, args=(number, place))
                thread.start()
                threads.append(thread)
            else:
                tasks.append(asyncio.create_task(on_loop(number)))
            count = number + 1
            await until(lambda count=count: len(turns._waiting) == count)  # type: ignore[misc] # noqa: SLF001
        turns.leave(first)
        await asyncio.gather(*tasks)
        for thread in threads:
            await asyncio.to_thread(thread.join)

    asyncio.run(main())
    assert order == list(range(6))
    assert not turns.taken


def test_who_gives_up_is_passed_over() -> None:
    """A coroutine that is cancelled, or whose patience ends, holds nobody up."""
    turns = Turns()

    async def main() -> None:
        first, second, third, last = (Future[None]() for _ in range(4))
        await turns.wait(first, 1)
        waiting = asyncio.create_task(turns.wait(second, 10))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await turns.wait(third, 0.01)
        turns.leave(third)
        behind = asyncio.create_task(turns.wait(last, 10))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        turns.leave(first)
        await behind
        turns.leave(second)
        assert turns.taken
        turns.leave(last)
        turns.leave(last)

    asyncio.run(main())
    assert not turns.taken
