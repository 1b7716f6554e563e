"""How a transaction ends otherwise: limits, lost claims and answers, stops; who waits for it."""

import asyncio
import random
import sqlite3
import time
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

import treadle
from tests.worker.floor import Gate, until
from tests.worker.shop import CTX, Shop, both, play, seller
from treadle import (
    Context,
    StoreError,
    StoreUnavailable,
    Worker,
)
from treadle.core import fault

CALM: Final = {"beat": 60, "lease": 600, "poll": 60}
"""Beats so rare that nothing but the store tells a worker what it has lost."""


@both
def test_a_hard_limit_rolls_back_although_the_code_goes_on(
    tmp_path: Path, *, is_async: bool
) -> None:
    """The lock is free at once; what the code still writes is refused, and so is its success."""
    shop, gate, said = Shop(tmp_path), Gate(), []

    def write_on(db: sqlite3.Connection) -> str:
        try:
            db.execute("insert into sales (who) values ('late')")
        except StoreError as error:
            said.append(str(error))
        return "done"

    @shop.app.task(name="stuck", retry=1, timeout=0.5)
    def stuck(ctx: Context = CTX) -> str:
        with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            while True:
                try:
                    gate.enter()
                    break
                except BaseException:  # noqa: BLE001, S112 -- code that ignores its end
                    continue
            return write_on(db)

    @shop.app.task(name="astuck", retry=1, timeout=0.5)
    async def astuck(ctx: Context = CTX) -> str:
        async with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            try:
                await gate.aenter()
            except asyncio.CancelledError:
                await gate.aenter()
            return write_on(db)

    async def scene(_: Worker) -> None:
        job = await (astuck if is_async else stuck).aenqueue()
        await job.await_(10)
        assert (job.state, shop.locked) == ("failed", False)
        assert job.error is not None
        assert "longer than its time limit" in job.error.message
        gate.open()
        await until(lambda: said)

    asyncio.run(play(shop, scene))
    assert "transaction of this job is over" in said[0]
    assert shop.sales == []
    shop.app.close()


@both
def test_it_may_keep_others_out_for_a_bounded_time(tmp_path: Path, *, is_async: bool) -> None:
    """Then it is rolled back, and the attempt has failed with what to do about it."""
    shop, gate = Shop(tmp_path, transaction_timeout=0.5), Gate()

    @shop.app.task(name="slow", retry=1)
    def slow(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            gate.spin()

    @shop.app.task(name="aslow", retry=1)
    async def aslow(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            await asyncio.sleep(60)

    job = shop.run(aslow if is_async else slow)
    assert (job.state, shop.sales, shop.locked) == ("failed", [], False)
    assert job.error is not None
    assert job.error.type == "TimeoutError"
    assert "for longer than 0.5 s (transaction_timeout)" in job.error.message
    shop.app.close()


def test_a_statement_that_runs_too_long_is_interrupted(tmp_path: Path) -> None:
    """The limit also ends what is inside SQLite, where no error can be raised in a thread."""
    shop = Shop(tmp_path, transaction_timeout=0.5)

    @shop.app.task(name="endless", retry=1)
    def endless(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            db.execute(
                "with recursive n(i) as (select 1 union all select i + 1 from n) "
                "select count(*) from n"
            ).fetchone()

    begun = time.monotonic()
    job = shop.run(endless)
    assert time.monotonic() - begun < 20
    assert (job.state, shop.sales, shop.locked) == ("failed", [], False)
    shop.app.close()


# A limit that strikes in a weakref's callback is told of by Python and passed over; such a task is
# left behind when its time is over.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(3))
def test_limits_that_strike_anywhere_leave_nothing_behind(tmp_path: Path, seed: int) -> None:
    """Whatever a thread is at when its time is over, its lock is free and its writes are gone."""
    shop, draw = Shop(tmp_path, stuck_max=1_000), random.Random(seed)  # noqa: S311

    @shop.app.task(name="writes", retry=1)
    def writes(who: str, ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            for _ in range(20):
                db.execute("insert into sales (who) values (?)", (who,))
                db.execute("select count(*) from sales where who = ?", (who,)).fetchall()

    for n in range(120):
        timeout = draw.choice([0.002, 0.004, 0.008, 0.016, 0.032, 10])
        writes.using(timeout=timeout).enqueue(f"{n:03}")
    assert Worker(shop.app, burst=True, concurrency=8).run() == 0
    done = sorted(job.args[0] for job in shop.app.jobs(state="succeeded", limit=1_000))
    assert shop.sales == sorted(done * 20)
    assert not shop.locked
    assert len(done) >= 10
    shop.app.close()


@both
def test_a_lost_claim_refuses_the_commit(tmp_path: Path, *, is_async: bool) -> None:
    """A job that was cancelled while its worker did not hear of it leaves nothing behind."""
    shop, gate = Shop(tmp_path, **CALM), Gate()

    @shop.app.task(name="late")
    def late(ctx: Context = CTX) -> None:
        gate.enter()
        with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")

    @shop.app.task(name="alate")
    async def alate(ctx: Context = CTX) -> None:
        await gate.aenter()
        async with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")

    async def scene(worker: Worker) -> None:
        job = await (alate if is_async else late).aenqueue()
        await until(lambda: gate.inside)
        assert await job.acancel()
        gate.open()
        await until(lambda: worker.lost)
        assert (await job.arefresh()).state == "cancelled"

    asyncio.run(play(shop, scene))
    assert (shop.sales, shop.locked) == ([], False)
    shop.app.close()


@both
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_without_an_answer(shop: Shop, when: str, *, is_async: bool) -> None:
    """Whether it was carried out or not, the write and the success are there once, together."""
    met: list[str] = []

    def upset(name: str) -> None:
        if name == f"transaction.{when}_commit" and not met:
            met.append(name)
            raise StoreUnavailable("the answer does not arrive")

    fault.arm(upset)
    task = seller(shop, lambda: "sold", is_async=is_async, retry=treadle.Retry(base=0))
    job = shop.run(task, "ann")
    assert met
    assert (job.state, shop.sales) == ("succeeded", ["ann"])
    assert job.attempt == (1 if when == "after" else 2)


@both
def test_a_worker_that_stops_at_once_rolls_back(tmp_path: Path, *, is_async: bool) -> None:
    """The job is handed back unspent, with nothing written."""
    shop, gate = Shop(tmp_path), Gate()

    @shop.app.task(name="long")
    def long(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            gate.spin()

    @shop.app.task(name="along")
    async def along(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            await gate.aenter()

    async def scene(worker: Worker) -> None:
        await (along if is_async else long).aenqueue()
        await until(lambda: gate.inside)
        worker.stop_at_once()

    asyncio.run(play(shop, scene))
    [job] = shop.app.jobs()
    assert (job.state, job.attempt, shop.sales, shop.locked) == ("ready", 0, [], False)
    shop.app.close()


def test_the_loop_goes_on_beside_a_transaction(shop: Shop) -> None:
    """The worker's own exchange waits for the lock without blocking; others settle after it."""
    gate, beats = Gate(), []

    @shop.app.task(name="holds")
    async def holds(ctx: Context = CTX) -> None:
        async with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            await gate.aenter()

    @shop.app.task(name="ticks")
    async def ticks() -> None:
        for _ in range(20):
            beats.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def scene(_: Worker) -> None:
        others = [await ticks.aenqueue() for _ in range(3)]
        holder = await holds.aenqueue()
        await until(lambda: gate.inside and len(beats) == 60)
        await asyncio.sleep(0.1)
        gate.open()
        for job in (holder, *others):
            await job.await_(10)
            assert job.state == "succeeded"

    asyncio.run(play(shop, scene))
    # A loop that were blocked would stand still until the transaction is cut off, after 5 s.
    assert max(after - before for before, after in pairwise(beats)) < 4


def test_a_blocking_enqueue_beside_an_async_transaction_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same loop it would wait for what it holds up; after a second it says so."""
    gate = Gate()
    errors: list[StoreUnavailable] = []

    @shop.app.task(name="holds")
    async def holds(ctx: Context = CTX) -> None:
        async with ctx.transaction():
            await gate.aenter()

    @shop.app.task(name="blocks")
    async def blocks() -> None:
        await until(lambda: gate.inside)
        try:
            shop.child.enqueue(1)
        except StoreUnavailable as error:
            errors.append(error)
        gate.open()

    async def scene(_: Worker) -> None:
        jobs = await blocks.aenqueue(), await holds.aenqueue()
        for job in jobs:
            await job.await_(10)

    monkeypatch.setattr("treadle.task._warned", {"blocking"})
    asyncio.run(play(shop, scene))
    assert "await the async twin" in str(errors[0])


def test_many_wait_their_turn(shop: Shop) -> None:
    """Threads and coroutines stand in one line; none starves and none deadlocks."""
    sync = seller(shop, lambda: None, is_async=False)
    asyn = shop.app.named("asell")
    for n in range(100):
        sync.enqueue(f"s{n}")
        asyn.enqueue(f"a{n}")
    assert Worker(shop.app, burst=True).run() == 0
    assert len(shop.sales) == 200
    assert shop.app.queues.counts() == {"succeeded": 200 + 100 + 300}
