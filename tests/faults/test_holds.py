"""Who holds a limit outside jobs may die at any moment: his place is free again on every store."""

import asyncio
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import EACH_STORE
from tests.faults.scene import check_crowd
from treadle import Concurrency, LimitTimeout, Treadle
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.ledger import Ledger

WAIT_S: Final = 25.0
KILLED_AFTER: Final = 5
TURNS: Final = 4
ENDLESS: Final = 100_000
"""Turns of the process that is killed: it has not ended by then, however late that is."""
SOON_S: Final = 10.0
"""Less than a lease."""
HOLDER: Final = """
import sys, time
from treadle import Concurrency, Treadle
app = Treadle(sys.argv[1], namespace=sys.argv[2])
limit = app.limit("stripe", Concurrency(1), lease=1.5)
if sys.argv[3] == "asks":
    print("asks", flush=True)
hold = limit.acquire()
print("held", flush=True)
time.sleep(60)
"""
CROWD: Final = """
import asyncio, sys, threading, time
from pathlib import Path
from treadle import Concurrency, Treadle
from treadle.testing.ledger import Ledger
app = Treadle(sys.argv[1], namespace=sys.argv[2])
ledger, me = Ledger(Path(sys.argv[3])), sys.argv[4]
limit = lambda: app.limit("stripe", Concurrency(2), lease=4)

def by_thread(who):
    for turn in range(int(sys.argv[5])):
        with limit().acquire():
            ledger.write("START", f"bounded-{me}-{who}-{turn}")
            time.sleep(0.002)
            ledger.write("END", f"bounded-{me}-{who}-{turn}")

async def by_task(who):
    for turn in range(int(sys.argv[5])):
        async with await limit().aacquire():
            ledger.write("START", f"bounded-{me}-{who}-{turn}")
            await asyncio.sleep(0.002)
            ledger.write("END", f"bounded-{me}-{who}-{turn}")

async def all_tasks():
    await asyncio.gather(by_task("c"), by_task("d"))

threads = [threading.Thread(target=by_thread, args=(who,), daemon=True) for who in "ab"]
for thread in threads:
    thread.start()
asyncio.run(all_tasks())
for thread in threads:
    thread.join()
app.close()
"""
ONE: Final = Concurrency(1)
TWO: Final = Concurrency(2)


@pytest.fixture(params=EACH_STORE)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    """Give an application on a store of each kind, in a namespace of its own."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_url")
    own = f"h_{secrets.token_hex(6)}"
    store = open_store(url, own, Settings())
    if isinstance(store, PostgresStore):
        store.migrate_now()
        store.close_now()
    made = Treadle(url, namespace=own)
    yield made
    made.close()


def _holder(app: Treadle, what: str) -> subprocess.Popen[str]:
    words = [app.settings.store, app.settings.namespace, what]
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, *words], stdout=subprocess.PIPE, text=True
    )


def _said(holder: subprocess.Popen[str]) -> str:
    assert holder.stdout is not None
    return holder.stdout.readline().strip()


def test_the_place_of_a_killed_holder_is_free_when_its_lease_ends(app: Treadle) -> None:
    """Until then nobody has it, and after that one has."""
    with _holder(app, "holds") as holder:
        try:
            assert _said(holder) == "held"
            with pytest.raises(LimitTimeout):
                app.limit("stripe", ONE).acquire(timeout=0)
            holder.send_signal(signal.SIGKILL)
            with app.limit("stripe", ONE).acquire(timeout=WAIT_S):
                shown = app.gates.get("stripe")
                assert shown is not None
                assert (shown.running, shown.holds) == (1, 1)
        finally:
            holder.kill()


def test_no_crowd_of_processes_overruns_a_limit(app: Treadle, tmp_path: Path) -> None:
    """Threads and tasks of three, one of which is killed inside: two at once, and none is kept."""
    ledger = Ledger(tmp_path / "ledger.txt")
    ledger.write("START", "nobody")
    words = [app.settings.store, app.settings.namespace, str(ledger.path)]
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", CROWD, *words, str(n), str(turns)])
            )
            for n, turns in enumerate((ENDLESS, TURNS, TURNS))
        ]
        for process in crowd:
            stack.callback(process.kill)
        deadline = time.monotonic() + WAIT_S
        while sum(e.key.startswith("bounded-0-") for e in ledger.entries()) < KILLED_AFTER:
            assert time.monotonic() < deadline, "the first process has not begun"
            time.sleep(0.001)
        crowd[0].kill()
        assert [process.wait(WAIT_S) for process in crowd] == [-signal.SIGKILL, 0, 0]
    entries = list(ledger.entries())
    check_crowd(entries)
    for n in (1, 2):
        assert (
            sum(e.word == "END" and e.key.startswith(f"bounded-{n}-") for e in entries) == 4 * TURNS
        )
    two = app.limit("stripe", TWO), app.limit("stripe", TWO)
    with two[0].acquire(timeout=WAIT_S), two[1].acquire(timeout=WAIT_S):
        shown = app.gates.get("stripe")
        assert shown is not None
        assert (shown.running, shown.holds, shown.asking) == (2, 2, 0)


Enter = Callable[[Treadle], AbstractAsyncContextManager[object]]


@asynccontextmanager
async def _place(app: Treadle) -> AsyncIterator[object]:
    async with await app.limit("stripe", TWO).aacquire() as hold:
        yield hold


def _lock(app: Treadle) -> AbstractAsyncContextManager[object]:
    return app.lock("stripe", timeout=WAIT_S)


@pytest.mark.parametrize("enter", [_place, _lock])
def test_those_who_are_cancelled_leave_nothing_taken(app: Treadle, enter: Enter) -> None:
    """Hundreds give up at any moment; when the last has gone all is free, long before a lease."""
    draw = random.Random(7)  # noqa: S311 -- spreads moments, guards nothing

    async def impatient(seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds), enter(app):
                await asyncio.sleep(0.001)
        except TimeoutError:
            return False
        return True

    async def main() -> list[bool]:
        done: list[bool] = []
        for _ in range(8):
            patience = [draw.random() * 0.2 for _ in range(25)]
            done += await asyncio.gather(*(impatient(seconds) for seconds in patience))
            assert await impatient(SOON_S)
        shown = await app.gates.aget("stripe")
        assert shown is None or (shown.holds, shown.asking) == (0, 0)
        return done

    assert False in asyncio.run(main())


def test_one_that_is_killed_as_it_waits_holds_nobody_up(app: Treadle) -> None:
    """It was the first of the line; the next one passes when the dead one asks no more."""
    hold = app.limit("stripe", ONE).acquire()
    with _holder(app, "asks") as holder:
        try:
            assert _said(holder) == "asks"
            deadline = time.monotonic() + WAIT_S
            while (shown := app.gates.get("stripe")) is None or not shown.asking:
                assert time.monotonic() < deadline, "the other process does not ask"
            holder.send_signal(signal.SIGKILL)
            holder.wait(WAIT_S)
            hold.release()
            app.limit("stripe", ONE).acquire(timeout=WAIT_S).release()
        finally:
            holder.kill()
