"""What can be done to whole queues: look, pause, resume, purge.

Each method has an async twin with the prefix a. What a queue's jobs are is asked of
`app.jobs(queue=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from treadle.client.link import Steps, carry
from treadle.client.views import QueueInfo
from treadle.core.lanes import check_queue
from treadle.store.contract import BATCH_MAX

if TYPE_CHECKING:
    from treadle.client.link import Links
    from treadle.store.contract import Store

PURGE_MAX: Final = 1_000_000
"""Jobs that one call of `purge` cancels at most."""


class Queues:
    """The queues of one application."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def list(self) -> Sequence[QueueInfo]:
        """Give every queue that ever held a job, by name."""
        return self._links.get().run(self.alist())

    async def alist(self) -> Sequence[QueueInfo]:
        """Do the same as `list` without blocking the event loop."""
        link = await self._links.aget()
        found = [QueueInfo.of(record) for record in await link.store.queues()]
        return sorted(found, key=lambda queue: queue.name)

    def counts(self, name: str | None = None) -> dict[str, int]:
        """Count the jobs of one queue, or of all, by state."""
        return self._links.get().run(self.acounts(name))

    async def acounts(self, name: str | None = None) -> dict[str, int]:
        """Do the same as `counts` without blocking the event loop."""
        total: dict[str, int] = {}
        for queue in await self.alist():
            if name in (None, queue.name):
                for state, count in queue.counts.items():
                    total[state] = total.get(state, 0) + count
        return total

    def pause(self, name: str) -> bool:
        """Let no worker take jobs from a queue; True where it was not paused before.

        What runs goes on, and new jobs are stored all the same.
        """
        return self._links.get().run(self.apause(name))

    async def apause(self, name: str) -> bool:
        """Do the same as `pause` without blocking the event loop."""
        return await (await self._links.aget()).store.pause(check_queue(name))

    def resume(self, name: str) -> bool:
        """Let workers take jobs from a queue again; True where it was paused."""
        return self._links.get().run(self.aresume(name))

    async def aresume(self, name: str) -> bool:
        """Do the same as `resume` without blocking the event loop."""
        return await (await self._links.aget()).store.resume(check_queue(name))

    def purge(self, name: str) -> int:
        """Cancel the waiting jobs of a queue, at most a million; return how many."""
        link = self._links.get()
        return link.run_steps(_purge(link.store, check_queue(name)))

    async def apurge(self, name: str) -> int:
        """Do the same as `purge` without blocking the event loop for longer than a batch."""
        link = await self._links.aget()
        return await carry(_purge(link.store, check_queue(name)))


def _purge(store: Store, name: str) -> Steps[int]:
    done = 0
    for _ in range(PURGE_MAX // BATCH_MAX):
        batch: int = yield store.purge(name, limit=BATCH_MAX)
        done += batch
        if batch < BATCH_MAX:
            break
    return done
