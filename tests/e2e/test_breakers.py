"""Breakers and holds as users meet them: a task fails, and the fleet waits."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from treadle import (
    Breaker,
    Concurrency,
    Job,
    JobState,
    Retry,
    RetryLater,
    Snooze,
    Treadle,
    Worker,
)
from treadle.client.gates.control import GateInfo
from treadle.context import current


def _work(app: Treadle, jobs: Sequence[Job[Any]]) -> GateInfo:
    """Work until all of these have ended well, and give what the breaker says then."""

    async def work() -> GateInfo | None:
        async with Worker(app, concurrency=8):
            for job in jobs:
                await job.aresult(timeout=20)
            shown = await app.gates.aget("stripe")
        await app.aclose()
        return shown

    found = asyncio.run(work())
    assert found is not None
    return found


def _burst(app: Treadle, concurrency: int = 1) -> None:
    Worker(app, concurrency=concurrency, burst=True).run()


def test_jobs_wait_while_what_they_need_keeps_failing(app: Treadle) -> None:
    """Two failures open it: the rest is parked without an attempt, and can say why."""
    calls: list[int] = []

    @app.task(name="pay", retry=Retry(base=0), limits=Breaker("stripe", failures=2, cool_down=600))
    def pay(number: int) -> None:
        calls.append(number)
        raise ConnectionError("stripe is down")

    pay.enqueue(0)
    _burst(app)
    jobs = pay.enqueue_many([(n,) for n in range(1, 6)])
    _burst(app)
    assert calls == [0, 0]
    shown = app.gates.get("stripe")
    assert shown is not None
    assert (shown.breaker, shown.paused, shown.waiting) == ("open", True, 6)
    assert shown.limit == "2 failures/60s"
    last = app.job(jobs[4].id)
    assert (last.state, last.attempt, last.gate) == (JobState.BLOCKED, 0, "stripe")
    said = last.explain()
    assert "a breaker that is open until" in said
    assert "after 2 failures in 60 s: ConnectionError: stripe is down" in said
    app.close()


def test_it_closes_when_a_probe_ends_well(app: Treadle) -> None:
    """After the cool-down one job tries; then all of them run."""
    down = [True]

    @app.task(name="pay", retry=Retry(base=0), limits=Breaker("stripe", failures=2, cool_down=0.2))
    async def pay(number: int) -> int:
        if down[0]:
            raise ConnectionError("stripe is down")
        return number

    jobs = pay.enqueue_many([(n,) for n in range(6)])
    _burst(app, 8)
    down[0] = False
    shown = _work(app, jobs)
    assert (shown.breaker, shown.paused, shown.waiting) == ("closed", False, 0)
    app.close()


def test_a_probe_with_a_transaction_of_its_own_closes_it(app: Treadle) -> None:
    """Its success is written with the task's own writes, and the breaker learns of it there."""
    if app.store.transactional is None:
        pytest.skip("this store shares no transactions")
    down = [True]

    @app.task(name="sell", retry=Retry(base=0), limits=Breaker("stripe", failures=1, cool_down=0.1))
    def sell() -> None:
        with current().transaction() as db:
            db.execute("select 1")
        if down[0]:
            raise ConnectionError("stripe is down")

    job = sell.enqueue()
    _burst(app)
    down[0] = False
    assert _work(app, [job]).breaker == "closed"
    app.close()


def test_only_errors_that_it_names_count(app: Treadle) -> None:
    """A bug in the task opens nothing; nor does an attempt that asks for more time."""

    @app.task(
        name="pay",
        retry=Retry(attempts=1),
        limits=Breaker("stripe", failures=1, on=ConnectionError, never=ConnectionResetError),
    )
    def pay(kind: str) -> None:
        if kind == "later":
            raise RetryLater("busy", delay=60)
        raise {"bug": KeyError, "reset": ConnectionResetError, "down": ConnectionError}[kind]("x")

    for kind in ("bug", "later", "reset"):
        pay.enqueue(kind)
    _burst(app)
    shown = app.gates.get("stripe")
    assert shown is not None
    assert shown.breaker == "closed"
    pay.enqueue("down")
    _burst(app)
    shown = app.gates.get("stripe")
    assert shown is not None
    assert shown.breaker == "open"
    app.close()


def test_a_task_holds_its_limit_for_everyone(app: Treadle) -> None:
    """`hold` shuts it until then, in the write that ends the attempt; others spend nothing."""
    calls: list[str] = []

    @app.task(name="pay", limits=Concurrency(3, name="api"))
    def pay(kind: str) -> None:
        calls.append(kind)
        if kind == "first":
            raise Snooze(600, hold="api")

    first = pay.enqueue("first")
    _burst(app)
    others = pay.enqueue_many([("other",)] * 3)
    _burst(app)
    assert calls == ["first"]
    assert app.job(first.id).attempt == 0
    assert {app.job(job.id).state for job in others} == {JobState.BLOCKED}
    assert "which is paused until" in app.job(others[0].id).explain()
    assert app.gates.resume("api")
    _burst(app)
    assert calls == ["first", "other", "other", "other"]
    app.close()


def test_a_hold_of_a_limit_with_a_key_is_for_the_job_s_own_value(app: Treadle) -> None:
    """One account's `Retry-After` keeps nobody else waiting."""
    calls: list[int] = []

    @app.task(name="sync", limits=Concurrency(3, key="{account}", name="api"))
    def sync(account: int) -> None:
        calls.append(account)
        if account == 1 and len(calls) == 1:
            raise RetryLater("429", delay=600, hold="api")

    sync.enqueue(1)
    _burst(app)
    held, free = sync.enqueue(1), sync.enqueue(2)
    _burst(app)
    assert calls == [1, 2]
    assert app.job(held.id).gate == "api:1"
    assert app.job(free.id).state == JobState.SUCCEEDED
    app.close()
