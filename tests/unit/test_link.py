"""The open store of an application: threads and event loops that need it at once share one."""

import asyncio
import threading
from pathlib import Path

from treadle.client.link import Link, Links
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store

WITHIN_S = 10.0


def test_a_loop_opens_the_store_while_a_thread_is_stuck_opening_it(tmp_path: Path) -> None:
    """The loop goes on at once, and the thread is given the same store when it comes through."""
    settings, begun, may_go = Settings(), threading.Event(), threading.Event()
    late: list[bool] = []

    def make() -> Store:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            late.append(may_go.wait(WITHIN_S))
        return open_store(f"sqlite:///{tmp_path}/jobs.db", "default", settings)

    async def scene() -> list[Link]:
        thread = asyncio.create_task(asyncio.to_thread(links.get))
        await asyncio.to_thread(begun.wait, WITHIN_S)
        mine = await links.aopen()
        may_go.set()
        return [mine, await thread]

    links = Links(settings, make)
    mine, theirs = asyncio.run(scene())
    assert late == [True], "the loop was held up until the thread gave up"
    assert theirs is mine is links.known
    links.close()
