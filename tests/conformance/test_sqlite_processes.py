"""What only real processes show of the SQLite store: waking each other, and sudden death."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from treadle.core.clock import MovedClock
from treadle.core.ids import id_bytes
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.kit import Case, MakeStore, case, scenario
from treadle.testing.conformance.upkeep.wait import Listener

__all__ = ["case"]

WAIT_S = 20
# The other process: it does as it is told on its standard input, one word a line.
PROGRAM = """
import asyncio, sys
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.testing.conformance.kit import Hand, new_job, worker_info

async def main():
    store = open_store(f"sqlite:///{sys.argv[1]}", "default", Settings())
    await store.open()
    worker = Hand(store, worker_info("other"))
    for word in sys.stdin:
        if word == "enqueue\\n":
            job = new_job()
            await store.enqueue(job.id, [job])
            print(job.id.hex(), flush=True)
        elif word == "register\\n":
            await worker.register()
            print("registered", flush=True)
        else:
            [claim] = await worker.claim()
            store.mark("other", claim.id, claim.number, 0)
            print(claim.id.hex(), flush=True)
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def make_store(file: Path, clock: MovedClock) -> MakeStore:
    """Make stores on the test's file."""

    def make(namespace: str = "default") -> Store:
        return open_store(f"sqlite:///{file}", namespace, Settings(), clock)

    return make


class Other:
    """The other process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def tell(self, word: str) -> str:
        """Give it a word and read its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer, "the other process has ended; its error is above"
        return answer


@contextmanager
def other_process(file: Path) -> Iterator[Other]:
    """Start the other process, and end it with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Other(process)
        finally:
            process.kill()


@scenario
async def test_an_enqueue_by_another_process_is_heard(case: Case, file: Path) -> None:
    """A worker asleep wakes up for what another process stores."""
    listener = Listener(case.store, work=True)
    with other_process(file) as other:
        await listener.is_waiting()
        [told] = await asyncio.gather(asyncio.to_thread(other.tell, "enqueue"))
        assert await asyncio.wait_for(listener.task, WAIT_S)
    assert (await case.job(id_bytes(told))).state == "ready"


@scenario
async def test_a_killed_process_is_rescued_at_once(case: Case, file: Path) -> None:
    """The machine proves its death: no lease has to end, and the mark outlives it."""
    marked, unmarked = await case.add(2)
    rescuer = await case.worker("rescuer")
    with other_process(file) as other:
        await asyncio.to_thread(other.tell, "register")
        assert id_bytes(await asyncio.to_thread(other.tell, "claim")) == marked
        assert await rescuer.rescue() == []
        other.process.kill()
        await asyncio.to_thread(other.process.wait, WAIT_S)
        [orphan] = await rescuer.rescue()
    assert (orphan.claim.id, orphan.started, orphan.lost_by) == (marked, True, "other")
    assert [claim.id for claim in await rescuer.claim(5)] == [unmarked]


@scenario
async def test_a_stopped_process_is_not_dead(case: Case, file: Path) -> None:
    """One that is only held up keeps its claims until its lease has ended."""
    await case.add()
    rescuer = await case.worker("rescuer")
    with other_process(file) as other:
        await asyncio.to_thread(other.tell, "register")
        await asyncio.to_thread(other.tell, "claim")
        other.process.send_signal(signal.SIGSTOP)
        for _ in range(5):
            assert await rescuer.rescue() == []
