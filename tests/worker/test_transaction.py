"""What `ctx.transaction()` promises: a task's own writes and its success are one, or neither is."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from tests.worker.shop import CTX, Ends, Shop, both, seller
from treadle import (
    Cancel,
    Context,
    Reject,
    RetryLater,
    Snooze,
    StoreError,
    Treadle,
)


@both
def test_writes_children_and_success_are_one(shop: Shop, *, is_async: bool) -> None:
    """They are there together, and the children run."""
    job = shop.run(seller(shop, lambda: "sold", is_async=is_async), "ann")
    assert (job.state, job.result(), shop.sales) == ("succeeded", "sold", ["ann"])
    assert shop.children == ([1, 2, 3] if is_async else [1])
    assert {one.state for one in shop.app.jobs()} == {"succeeded"}


def raises(error: BaseException) -> Ends:
    """End by raising this."""

    def end() -> object:
        raise error

    return end


ENDS: Final[dict[str, tuple[Ends, str, str | None]]] = {
    "error": (raises(ValueError("no")), "retrying", None),
    "retry": (raises(RetryLater(delay=60)), "retrying", None),
    "snooze": (raises(Snooze(60)), "scheduled", None),
    "cancel": (raises(Cancel("enough")), "cancelled", "enough"),
    "reject": (raises(Reject("bad")), "failed", "rejected"),
    "result": (object, "failed", "bad_result"),
    "large": (lambda: "x" * 300_000, "failed", "bad_result"),
}


@both
@pytest.mark.parametrize("end", ENDS)
def test_any_other_end_rolls_back(shop: Shop, end: str, *, is_async: bool) -> None:
    """The job ends as it would without a transaction, and nothing that was written is left."""
    how, state, reason = ENDS[end]
    job = shop.run(seller(shop, how, is_async=is_async), "ann")
    assert (job.state, job.reason) == (state, reason)
    assert (shop.sales, shop.children, shop.locked) == ([], [], False)


@both
def test_an_error_that_leaves_the_block_rolls_back_at_once(shop: Shop, *, is_async: bool) -> None:
    """A task that catches it goes on without its writes, and without the lock."""
    locked = []

    @shop.app.task(name="caught")
    def caught(ctx: Context = CTX) -> str:
        try:
            with ctx.transaction() as db:
                db.execute("insert into sales (who) values ('ann')")
                raise KeyError("ann")  # noqa: TRY301 -- it is to leave the block
        except KeyError:
            locked.append(shop.locked)
        shop.child.enqueue(5)
        return "went on"

    @shop.app.task(name="acaught")
    async def acaught(ctx: Context = CTX) -> str:
        try:
            async with ctx.transaction() as db:
                db.execute("insert into sales (who) values ('ann')")
                raise KeyError("ann")  # noqa: TRY301 -- as above
        except KeyError:
            locked.append(shop.locked)
        await shop.child.aenqueue(5)
        return "went on"

    job = shop.run(acaught if is_async else caught)
    assert (job.result(), shop.sales, shop.children, locked) == ("went on", [], [5], [False])


def test_it_is_entered_once_an_attempt(shop: Shop) -> None:
    """The second time is an error that says so."""

    @shop.app.task(name="twice", retry=1)
    def twice(ctx: Context = CTX) -> None:
        with ctx.transaction():
            pass
        with ctx.transaction():
            pass

    job = shop.run(twice)
    assert job.error is not None
    assert "has entered ctx.transaction() before" in job.error.message


@both
def test_a_block_that_is_not_left_is_rolled_back(shop: Shop, *, is_async: bool) -> None:
    """A function that returns inside of it has failed: its writes may be half done."""

    @shop.app.task(name="stays", retry=1)
    def stays(ctx: Context = CTX) -> None:
        db = ctx.transaction().__enter__()
        db.execute("insert into sales (who) values ('ann')")

    @shop.app.task(name="astays", retry=1)
    async def astays(ctx: Context = CTX) -> None:
        db = await ctx.transaction().__aenter__()
        db.execute("insert into sales (who) values ('ann')")

    job = shop.run(astays if is_async else stays)
    assert (job.state, shop.sales, shop.locked) == ("failed", [], False)
    assert job.error is not None
    assert "the block of ctx.transaction() was still open" in job.error.message


def test_with_is_for_threads(shop: Shop) -> None:
    """In an async task it would block the loop, and says what to write."""

    @shop.app.task(name="wrong", retry=1)
    async def wrong(ctx: Context = CTX) -> None:
        with ctx.transaction():
            pass

    job = shop.run(wrong)
    assert job.error is not None
    assert "async with ctx.transaction()" in job.error.message


WRONG_ENDS: Final[list[Callable[[sqlite3.Connection], object]]] = [
    lambda db: db.commit(),
    lambda db: db.rollback(),
    lambda db: db.close(),
    lambda db: db.__enter__(),
    lambda db: db.execute("commit"),
    lambda db: db.execute("/* now */ rollback"),
    lambda db: db.execute("begin"),
    lambda db: db.executescript("delete from sales"),
    lambda db: db.cursor().executescript("delete from sales"),
]


def test_the_task_cannot_end_it(shop: Shop) -> None:
    """Whatever would commit or roll back is refused, and the transaction goes on."""
    said = []

    @shop.app.task(name="ends")
    def ends(ctx: Context = CTX) -> None:
        with ctx.transaction() as db:
            db.execute("insert into sales (who) values ('ann')")
            for wrong in WRONG_ENDS:
                with pytest.raises(RuntimeError, match=r"connection of ctx.transaction\(\)") as one:
                    wrong(db)
                said.append(str(one.value))

    assert shop.run(ends).state == "succeeded"
    assert len(said) == len(WRONG_ENDS)
    assert shop.sales == ["ann"]


def test_its_connection_is_one_of_sqlite3(shop: Shop) -> None:
    """Rows, factories, functions, savepoints and many rows work as they do elsewhere."""

    @shop.app.task(name="uses")
    def uses(ctx: Context = CTX) -> list[Any]:
        with ctx.transaction() as db:
            assert isinstance(db, sqlite3.Connection)
            db.row_factory = sqlite3.Row
            db.create_function("shout", 1, str.upper)
            db.executemany("insert into sales (who) values (shout(?))", [("ann",), ("bob",)])
            db.execute("savepoint mine")
            db.execute("delete from sales")
            db.execute("rollback to mine")
            db.text_factory = bytes
            cursor = db.execute("select who from sales order by id")
            first = cursor.fetchone()
            db.text_factory = str
            return [
                first["who"].decode(),
                *(row["who"] for row in cursor),
                db.cursor().execute("select id from sales").fetchmany(1)[0][0],
                db.in_transaction,
            ]

    assert shop.run(uses).result() == ["ANN", "BOB", 1, True]


@both
def test_another_write_of_the_same_job_is_refused_at_once(shop: Shop, *, is_async: bool) -> None:
    """It would wait for the very job it comes from; the error names what to write instead."""
    app, child = shop.app, shop.child
    took: list[float] = []

    def check(write: Callable[[], object]) -> None:
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"using\(connection=db\)"):
            write()
        took.append(time.monotonic() - begun)

    async def acheck(write: Awaitable[object]) -> None:
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"using\(connection=db\)"):
            await write
        took.append(time.monotonic() - begun)

    @app.task(name="plain")
    def plain(ctx: Context = CTX) -> None:
        with ctx.transaction():
            check(lambda: child.enqueue(1))
        check(lambda: child.enqueue_many([(1,)]))
        check(lambda: app.queues.pause("default"))

    @app.task(name="aplain")
    async def aplain(ctx: Context = CTX) -> None:
        async with ctx.transaction():
            await acheck(child.aenqueue(1))
        await acheck(child.aenqueue_many([(1,)]))
        await acheck(app.queues.apause("default"))

    assert shop.run(aplain if is_async else plain).state == "succeeded"
    assert max(took) < 5.0
    assert shop.children == []


def test_a_job_that_joins_anothers_write_is_refused_as_well(shop: Shop) -> None:
    """The write of another thread would carry it, and wait for the transaction."""
    inside, leave = threading.Event(), threading.Event()
    errors: list[StoreError] = []

    @shop.app.task(name="joins")
    def joins(ctx: Context = CTX) -> None:
        with ctx.transaction():
            inside.set()
            assert leave.wait(10)
            try:
                shop.child.enqueue(1)
            except StoreError as error:
                errors.append(error)

    def other() -> None:
        assert inside.wait(10)
        threading.Timer(0.05, leave.set).start()
        shop.child.enqueue(7)

    thread = threading.Thread(target=other)
    thread.start()
    assert shop.run(joins).state == "succeeded"
    thread.join()
    assert len(errors) == 1
    assert shop.children == [7]


@both
def test_what_a_job_says_is_kept_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    """Lines and progress of before, inside and after the block are there when it has succeeded."""
    monkeypatch.setattr("treadle.worker.notes.FLUSH_S", 0.01)

    @shop.app.task(name="tells")
    def tells(ctx: Context = CTX) -> None:
        ctx.log("before")
        with ctx.transaction():
            ctx.log("inside")
            time.sleep(0.1)  # What has gathered is on its way to the store, and waits.
        ctx.log("after")
        ctx.progress(3, 3)

    @shop.app.task(name="atells")
    async def atells(ctx: Context = CTX) -> None:
        ctx.log("before")
        async with ctx.transaction():
            ctx.log("inside")
            await asyncio.sleep(0.1)
        ctx.log("after")
        ctx.progress(3, 3)

    job = shop.run(atells if is_async else tells)
    assert [line.text for line in job.logs()] == ["before", "inside", "after"]
    assert job.progress is not None
    assert job.progress.done == 3


def test_it_works_in_memory_and_under_test() -> None:
    """A drain runs the same code on the memory store, whose only connection is lent."""
    app = Treadle("memory://")

    @app.task(name="count", retry=2)
    def count(number: int, ctx: Context = CTX) -> int:
        with ctx.transaction() as db:
            db.execute("insert into seen values (?)", (number,))
            if number == 2:
                count.using(connection=db).enqueue(20)
            found = db.execute("select sum(n) from seen").fetchone()
        if number == 13:
            raise ValueError(number)
        return int(found[0])

    @app.task(name="acount")
    async def acount(number: int, ctx: Context = CTX) -> int:
        async with ctx.transaction() as db:
            db.execute("insert into seen values (?)", (number,))
            return int(db.execute("select sum(n) from seen").fetchone()[0])

    with app.testing() as kit:
        with kit.transaction() as db:
            db.execute("create table seen (n integer)")
        with pytest.raises(sqlite3.ProgrammingError), kit.transaction() as db:
            db.executemany("insert into seen values (?)", iter([(1,), (2, 3)]))
        jobs = [count.enqueue(n) for n in (1, 2, 13)]
        assert app.drain() == 5
        last = acount.enqueue(100)
        assert app.drain() == 1
        states = [job.refresh().state for job in jobs]
        assert states == ["succeeded", "succeeded", "failed"]
        assert last.refresh().result() == 123
        with kit.transaction() as db:
            assert db.execute("select count(*) from seen").fetchone() == (4,)
