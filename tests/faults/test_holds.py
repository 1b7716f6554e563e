"""Who holds a limit outside jobs may die at any moment: his place is free again on every store."""

import asyncio
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.far import EACH_STORE
from treadle import Concurrency, LimitTimeout, Treadle
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.postgres.store import PostgresStore

WAIT_S: Final = 25.0
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

    async def impatient() -> bool:
        try:
            async with asyncio.timeout(draw.random() * 0.2), enter(app):
                await asyncio.sleep(0.001)
        except TimeoutError:
            return False
        return True

    async def main() -> list[bool]:
        done: list[bool] = []
        for _ in range(8):
            done += await asyncio.gather(*(impatient() for _ in range(25)))
            async with asyncio.timeout(5), enter(app):
                pass
        shown = await app.gates.aget("stripe")
        assert shown is None or (shown.holds, shown.asking) == (0, 0)
        return done

    done = asyncio.run(main())
    assert True in done
    assert False in done


def test_one_that_is_killed_as_it_waits_holds_nobody_up(app: Treadle) -> None:
    """It was the first of the line; the next one passes when the dead one asks no more."""
    hold = app.limit("stripe", ONE).acquire()
    with _holder(app, "asks") as holder:
        try:
            assert _said(holder) == "asks"
            for _ in range(10_000):
                shown = app.gates.get("stripe")
                if shown is not None and shown.asking:
                    break
            else:
                raise AssertionError("the other process does not ask")
            holder.send_signal(signal.SIGKILL)
            holder.wait(WAIT_S)
            hold.release()
            app.limit("stripe", ONE).acquire(timeout=WAIT_S).release()
        finally:
            holder.kill()
