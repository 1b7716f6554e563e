"""Stores to move between, filled with jobs of every kind; nothing here asserts what a move does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from treadle.core.ids import new_id
from treadle.core.job import JobRecord, JobState, NewJob
from treadle.core.outcome import Failed
from treadle.core.settings import Settings
from treadle.store.contract import Filter, Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import ERROR, Hand, settlement, worker_info

RUNNABLE: Final = (JobState.READY, JobState.SCHEDULED, JobState.RETRYING)
KINDS: Final = ("sqlite", "postgresql", "redis")
WAIT_S: Final = 60.0
Done = subprocess.CompletedProcess[str]
STATES: Final = (*RUNNABLE, JobState.BLOCKED, JobState.FAILED, JobState.RUNNING)


class House:
    """A store by its URL and namespace."""

    def __init__(self, url: str, namespace: str = "default") -> None:
        self.url = url
        self.namespace = namespace

    @asynccontextmanager
    async def opened(self, settings: Settings | None = None) -> AsyncIterator[Store]:
        """Open it, made and migrated."""
        store = open_store(self.url, self.namespace, settings or Settings())
        if not self.url.startswith("sqlite"):
            await store.migrate()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    def words(self, side: str) -> list[str]:
        """Name it on the command line."""
        return [f"--{side}", self.url, f"--{side}-namespace", self.namespace]

    def ids(self, *states: JobState) -> set[bytes]:
        """Give the ids of the jobs in these states."""
        return {record.id for record in self.records(*states)}

    def records(self, *states: JobState) -> list[JobRecord]:
        """Give the jobs in these states."""
        return asyncio.run(self._records(states))

    async def _records(self, states: Sequence[JobState]) -> list[JobRecord]:
        async with self.opened() as store:
            pages = [await store.find(Filter(state=state), limit=2_000) for state in states]
        return [record for page in pages for record in page]

    def fill(self, ready: int, *, others: int = 3) -> list[bytes]:
        """Put jobs in: so many ready ones, and some of every other kind that moves."""
        return asyncio.run(self._fill(ready, others))

    async def _fill(self, ready: int, others: int) -> list[bytes]:
        async with self.opened() as store:
            retries = [new_job(priority=9, attempts_max=5) for _ in range(others)]
            deaths = [new_job(priority=9, attempts_max=1) for _ in range(others)]
            await store.enqueue(new_id(), [*retries, *deaths])
            hand = Hand(store, worker_info("filler"))
            await hand.register()
            for claim in await hand.claim(2 * others):
                await hand.settle(settlement(claim, Failed(ERROR, delay=3_600_000_000, ran=3)))
            await store.leave("filler")
            later = [new_job(delay=3_600_000_000, queue="slow") for _ in range(others)]
            plain = [new_job() for _ in range(ready)]
            await store.enqueue(new_id(), [*later, *plain])
        return [job.id for job in (*retries, *deaths, *later, *plain)]

    def run(self, play: Callable[[Store], object]) -> None:
        """Do something with the open store."""

        async def main() -> None:
            async with self.opened() as store:
                await play(store)  # type: ignore[misc]

        asyncio.run(main())


Make = Callable[[str], House]


def move(source: House, target: House, *words: str, fault: str = "") -> Done:
    """Run the command as a process; give it when it has ended."""
    target.ids(JobState.READY)  # The target is there, as after `treadle migrate`.
    module = ["treadle.testing.faults", fault, "--"] if fault else ["treadle"]
    command = [*source.words("from"), *target.words("to"), *words]
    return subprocess.run(
        [sys.executable, "-m", *module, "move", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


def new_job(**fields: object) -> NewJob:
    """Make a job with a new id."""
    said: dict[str, object] = {"task": "shop.mail", "args": b"[[],{}]", **fields}
    return NewJob(new_id(), **said)  # type: ignore[arg-type]
