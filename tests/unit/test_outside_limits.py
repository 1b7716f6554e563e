"""A limit outside jobs: `app.limit(...).acquire()`, beside a worker, over threads and processes."""

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.frozen import freeze_beside
from treadle import (
    Concurrency,
    LimitLost,
    LimitTimeout,
    RateLimit,
    Treadle,
    UnknownLimit,
    Worker,
)
from treadle.client.background import BACKGROUND
from treadle.client.gates.limit import Asking
from treadle.store.parts.holding import HoldTaken

HOLDER: Final = """
import sys, time
from treadle import Concurrency, Treadle
app = Treadle(sys.argv[1])
hold = app.limit("stripe", Concurrency(1), lease=1.5).acquire()
print("held", flush=True)
time.sleep(60)
"""
WAIT_S: Final = 40.0
ONE: Final = Concurrency(1)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Name a store in a file."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def app(url: str) -> Iterator[Treadle]:
    """Give an application on it, with a task that has two limits."""
    made = Treadle(url)

    @made.task(name="charge", limits=[Concurrency(1, name="stripe"), RateLimit("100/s")])
    def charge(amount: int) -> int:
        return amount

    @made.task(name="sync", limits=Concurrency(1, key="{account}", name="account"))
    def sync(account: int) -> int:
        return account

    yield made
    made.close()


def test_a_place_is_held_in_its_block(app: Treadle) -> None:
    """Nobody else finds room meanwhile; whoever comes after does."""
    with app.limit("stripe").acquire() as hold:
        hold.check()
        shown = app.gates.get("stripe")
        assert shown is not None
        assert (shown.running, shown.holds) == (1, 1)
        with pytest.raises(LimitTimeout, match="'stripe' had no room within 0 s") as caught:
            app.limit("stripe").acquire(timeout=0)
        assert isinstance(caught.value, TimeoutError)
        after = app.gates.get("stripe")
        assert after is not None
        assert after.asking == 0, "who gave up is still in the line"
    assert not hold.is_held
    app.limit("stripe").acquire(timeout=0).release()


def test_a_limit_by_itself_is_a_block(app: Treadle) -> None:
    """It waits for as long as it takes, and one block holds once."""
    limit = app.limit("stripe")
    with limit as hold:
        hold.check()
        with pytest.raises(RuntimeError, match=r"with limit.acquire\(\)"), limit:
            pass
    assert not hold.is_held
    with limit:
        pass


def test_blocks_of_one_limit_that_wait_at_once_leave_no_hold_behind(app: Treadle) -> None:
    """The second is refused while the first waits for its place, and every place is given up."""
    limit = app.limit("stripe")
    inside: list[bool] = []

    def enter() -> None:
        with limit as hold:
            inside.append(hold.is_held)

    first = threading.Thread(target=enter)
    with app.limit("stripe").acquire():
        first.start()
        _until_somebody_asks(app)
        with pytest.raises(RuntimeError, match="has not ended"), limit:
            pass
    first.join(WAIT_S)
    assert inside == [True]
    shown = app.gates.get("stripe")
    assert shown is not None
    assert shown.holds == 0


def test_a_block_that_is_cancelled_as_it_waits_can_begin_again(app: Treadle) -> None:
    """Its place in the line is left, and the limit is used as before."""
    limit = app.limit("stripe")

    async def enter() -> bool:
        async with limit as hold:
            return hold.is_held

    async def cancel() -> None:
        waits = asyncio.create_task(enter())
        await asyncio.to_thread(_until_somebody_asks, app)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits

    with app.limit("stripe").acquire():
        asyncio.run(cancel())
    assert asyncio.run(enter())


def test_one_lock_is_waited_for_by_one_at_a_time(app: Treadle) -> None:
    """The second is told to ask for one of his own, and what the first gets is given up again."""
    block = app.lock("stripe", timeout=WAIT_S)
    told: list[str] = []

    def enter() -> None:
        try:
            with block:
                told.append("in")
        except RuntimeError as error:
            told.append(str(error))

    both = [threading.Thread(target=enter) for _ in range(2)]
    with app.lock("stripe", timeout=WAIT_S):
        for thread in both:
            thread.start()
        deadline = time.monotonic() + WAIT_S / 3
        while not told and time.monotonic() < deadline:
            time.sleep(0.001)
    for thread in both:
        thread.join(WAIT_S)
    assert min(told) == "in"
    assert "already" in max(told)
    app.lock("stripe", timeout=0).acquire().release()


def test_a_job_waits_for_a_hold_and_a_hold_for_a_job(app: Treadle) -> None:
    """One place is shared: while one has it the other waits, whichever came first."""
    began, let = threading.Event(), threading.Event()

    @app.task(name="slow", limits=Concurrency(1, name="stripe"))
    def slow() -> None:
        began.set()
        assert let.wait(WAIT_S)

    async def meet() -> None:
        async with Worker(app, concurrency=2):
            hold = await app.limit("stripe").aacquire()
            job = await slow.aenqueue()
            assert (await job.arefresh()).gate == "stripe"
            await hold.arelease()
            assert await asyncio.to_thread(began.wait, WAIT_S)
            with pytest.raises(LimitTimeout):
                await app.limit("stripe").aacquire(timeout=0.05)
            let.set()
            async with await app.limit("stripe").aacquire(timeout=WAIT_S):
                assert (await job.arefresh()).is_terminal

    asyncio.run(meet())


async def _two(app: Treadle) -> list[str]:
    seen: list[str] = []

    async def one(name: str) -> None:
        async with await app.limit("stripe").aacquire(timeout=WAIT_S):
            seen.append(f"{name} in")
            await asyncio.sleep(0)
            seen.append(f"{name} out")

    await asyncio.gather(one("a"), one("b"))
    async with app.limit("stripe") as hold:
        assert hold.is_held
    return seen


def test_async_holders_come_one_after_the_other(app: Treadle) -> None:
    """The loop goes on while one of them waits."""
    seen = asyncio.run(_two(app))
    assert [word.split()[1] for word in seen] == ["in", "out"] * 2


def _until_somebody_asks(app: Treadle) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        shown = app.gates.get("stripe")
        if shown is not None and shown.asking:
            return
    raise AssertionError("nobody asks")


def test_a_waiter_who_is_cancelled_leaves_the_line(app: Treadle) -> None:
    """What he would have been given is there for the next one."""

    async def cancel() -> None:
        task = asyncio.create_task(app.limit("stripe").aacquire())
        await asyncio.to_thread(_until_somebody_asks, app)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with app.limit("stripe").acquire():
        asyncio.run(cancel())
        shown = app.gates.get("stripe")
        assert shown is not None
        assert shown.asking == 0


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Keep every writer waiting in the block."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as db:
        db.execute("begin immediate")
        yield
        db.execute("rollback")


@pytest.mark.parametrize("what", ["limit", "lock"])
def test_one_who_is_cancelled_as_he_gives_up_has_given_up(
    app: Treadle, url: str, what: str
) -> None:
    """The place or the lock is free at once, and not when its lease ends."""

    async def main() -> None:
        lock = app.lock("report", timeout=5)
        held = await (app.limit("stripe").aacquire() if what == "limit" else lock.aacquire())
        with _locked(url):
            giving = asyncio.create_task(held.arelease())
            # Twice the way to the background loop and back: by then it waits for the lock.
            for _ in range(2):
                await asyncio.to_thread(lambda: BACKGROUND.run(asyncio.sleep(0), WAIT_S))
            giving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await giving
        if what == "limit":
            await (await app.limit("stripe").aacquire(timeout=5)).arelease()
        else:
            async with lock:
                pass

    asyncio.run(main())


def test_who_waits_asks_sooner_while_the_line_moves() -> None:
    """It stands still: twice a second. It moves: soon, and the sooner the nearer he stands."""
    asking = Asking(ONE.use_named("stripe", None, 1), None)
    still = [asking.rest(HoldTaken(is_held=False, ahead=3)) for _ in range(12)]
    assert 0.25 <= still[-1] <= 0.5
    assert asking.rest(HoldTaken(is_held=False, ahead=2)) <= 0.04
    assert asking.rest(HoldTaken(is_held=False, ahead=0)) <= 0.02
    assert Asking(asking.use, None).rest(HoldTaken(is_held=False, ahead=500)) == 0.5


def test_a_hold_that_is_forgotten_gives_its_place_up(
    app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    """It is prolonged no more, so its place is back within its lease, and the log says whose."""
    app.limit("stripe", lease=1).acquire()
    gc.collect()
    app.limit("stripe").acquire(timeout=WAIT_S).release()
    assert "the place at 'stripe' was never given up" in caplog.text


def test_a_rate_is_spent_and_holds_nothing(app: Treadle) -> None:
    """Three of two a day do not pass; the error says when the next one may."""
    limit = app.limit("api", RateLimit("2/d"))
    with limit.acquire(), limit.acquire() as hold:
        hold.check()
    with pytest.raises(LimitTimeout, match=r"will have none for 4[0-9]{4}") as caught:
        limit.acquire(timeout=0)
    assert caught.value.wait == pytest.approx(43_200, abs=60)


def test_a_dear_call_takes_what_it_costs(app: Treadle) -> None:
    """A cost of three leaves two of five."""
    limit = app.limit("tokens", RateLimit("5/d"))
    limit.acquire(cost=3)
    shown = app.gates.get("tokens")
    assert shown is not None
    assert shown.room == 2
    with pytest.raises(LimitTimeout):
        limit.acquire(timeout=0, cost=3)
    limit.acquire(timeout=0, cost=2)


def test_a_start_of_a_rate_is_waited_for(app: Treadle) -> None:
    """It comes when the clock says, not at the next of many questions."""
    limit = app.limit("often", RateLimit("5/s", burst=1))
    began = time.monotonic()
    limit.acquire()
    limit.acquire(timeout=WAIT_S)
    assert 0.15 < time.monotonic() - began < WAIT_S / 3


def test_each_key_has_a_limit_of_its_own(app: Treadle) -> None:
    """One account does not wait for another; it is the gate that its jobs pass."""
    with app.limit("account", key=7).acquire() as hold:
        assert hold.gate == "account:7"
        app.limit("account", key="8").acquire(timeout=0).release()
        with pytest.raises(LimitTimeout):
            app.limit("account", key="7").acquire(timeout=0)


def test_a_key_that_is_missing_or_too_many_is_an_error(app: Treadle) -> None:
    """A limit for each account needs one, a limit for all has none."""
    with pytest.raises(ValueError, match=r"one for each '{account}'; say which with key="):
        app.limit("account").acquire()
    with pytest.raises(ValueError, match="'stripe' has no key"):
        app.limit("stripe", key=7).acquire()
    with pytest.raises(TypeError, match="key is the text"):
        app.limit("account", key=True)


def test_an_unknown_limit_names_those_that_are_there(app: Treadle) -> None:
    """The error says which there are and how to say what it is."""
    with pytest.raises(UnknownLimit, match="'account', 'charge/100/s', 'stripe'") as caught:
        app.limit("strope").acquire()
    assert isinstance(caught.value, LookupError)
    with pytest.raises(TypeError, match="not 5"):
        app.limit("x", 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not named 'x'"):
        app.limit("x", Concurrency(1, name="y"))
    with pytest.raises(ValueError, match="at least 1 s"):
        app.limit("x", ONE, lease=0.5)
    with pytest.raises(ValueError, match="cost"):
        app.limit("x", ONE).acquire(cost=0)


def test_a_hold_that_is_given_up_twice_is_an_error(app: Treadle) -> None:
    """The second release could only be a mistake."""
    hold = app.limit("stripe").acquire()
    hold.release()
    with pytest.raises(LimitLost, match="given up already"):
        hold.release()
    with pytest.raises(LimitLost, match="given up"):
        hold.check()


def test_the_error_of_a_block_is_the_one_that_is_seen(app: Treadle) -> None:
    """A place that cannot be given up is a note on it."""

    def lose() -> None:
        with app.limit("stripe") as hold:
            hold.release()
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine") as caught:
        lose()
    assert "given up already" in caught.value.__notes__[0]


def test_a_hold_outlives_its_lease_while_its_holder_lives(app: Treadle) -> None:
    """It is prolonged beside its holder, who does nothing for it."""
    with app.limit("stripe", lease=5).acquire() as hold:
        with pytest.raises(LimitTimeout):
            app.limit("stripe").acquire(timeout=6.2)
        assert hold.is_held
        hold.check()


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_place_falls_with_its_holder(app: Treadle, url: str, end: str, tmp_path: Path) -> None:
    """When a process dies or stands still its lease ends, and the next one passes."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(LimitTimeout):
                app.limit("stripe", ONE).acquire(timeout=0)
            if end == "killed":
                holder.kill()
            else:
                freeze_beside(holder, tmp_path / "jobs.db")
            app.limit("stripe", ONE).acquire(timeout=WAIT_S).release()
        finally:
            holder.kill()
