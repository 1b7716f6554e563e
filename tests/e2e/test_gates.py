"""Limits as users meet them: a worker runs the jobs, and the jobs themselves say what ran when."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from msgspec.structs import replace

from treadle import Breaker, Concurrency, JobState, RateLimit, Switch, Treadle, Worker


@contextmanager
def _running(app: Treadle) -> Iterator[None]:
    """Run a worker beside the test, on a thread of its own."""
    worker = Worker(app, concurrency=16)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        async with worker:
            loops.append(asyncio.get_running_loop())
            ready.set()
            await worker.wait()
        await app.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(worker.stop)
        thread.join()


class _Crowd:
    """Counts how many run at once, and the most there ever were."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0
        self._mutex = threading.Lock()

    def __enter__(self) -> None:
        with self._mutex:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            self.now -= 1


def test_no_more_jobs_run_at_once_than_the_limit(app: Treadle) -> None:
    """Sixteen slots, a limit of three: three run, and the burst ends all of them."""
    crowd = _Crowd()
    three = threading.Barrier(3)

    @app.task(name="pay", limits=Concurrency(3))
    def pay(number: int) -> int:
        with crowd:
            if number < three.parties:
                # The first three wait for each other, so that three do run at once.
                three.wait(20)
            time.sleep(0.005)
        return number

    jobs = pay.enqueue_many([(n,) for n in range(40)])
    Worker(app, concurrency=16, burst=True).run()
    assert (crowd.all, crowd.most) == (40, 3)
    assert {app.job(job.id).state for job in jobs} == {JobState.SUCCEEDED}
    shown = app.gates.get("pay/concurrency")
    assert shown is not None
    assert (shown.running, shown.waiting) == (0, 0)
    app.close()


def test_jobs_start_no_faster_than_their_rate(app: Treadle) -> None:
    """Twenty a second, one at a time: each starts 50 ms after the last, by the store's clock."""

    @app.task(name="mail", limits=RateLimit("20/s", burst=1))
    async def mail() -> None: ...

    jobs = mail.enqueue_many([()] * 11)
    with _running(app):
        for job in jobs:
            job.result(timeout=20)
        begun = [job.refresh().started_at for job in jobs]
    starts = sorted(at.timestamp() for at in begun if at is not None)
    gaps = [b - a for a, b in pairwise(starts)]
    assert len(starts) == 11
    assert min(gaps) > 0.0499
    app.close()


def test_a_paused_gate_holds_its_jobs_and_no_others(app: Treadle) -> None:
    """What is behind it waits, and `explain` says where; the rest of the queue goes on."""

    @app.task(name="pay", limits=Concurrency(3, name="stripe"))
    def pay() -> None: ...

    @app.task(name="mail")
    def mail() -> None: ...

    app.gates.pause("stripe", note="they are down")
    held, free = pay.enqueue(), mail.enqueue()
    Worker(app, burst=True).run()
    states = [app.job(job.id).state for job in (held, free)]
    assert states == [JobState.BLOCKED, JobState.SUCCEEDED]
    assert app.job(held.id).gate == "stripe"
    assert "parked at the gate 'stripe'" in app.job(held.id).explain()
    assert app.gates.resume("stripe")
    Worker(app, burst=True).run()
    assert app.job(held.id).state == JobState.SUCCEEDED
    app.close()


@pytest.mark.parametrize(
    ("note", "error", "text"),
    [
        (5, TypeError, "not int"),
        ("n" * 501, ValueError, "at most 500"),
        ("a\0b", ValueError, "NUL"),
        ("a\ud800b", ValueError, "lone surrogate"),
    ],
)
def test_a_note_that_no_store_can_hold_is_refused(
    note: object, error: type[Exception], text: str
) -> None:
    """It is refused with its reason before the store is asked, and nothing is paused."""
    app = Treadle("memory://")
    with pytest.raises(error, match=text):
        app.gates.pause("stripe", note=note)  # type: ignore[arg-type]
    assert app.gates.list() == []
    app.close()


@pytest.mark.parametrize(("rate", "shown"), [("10/m", "10/60s"), ("5/31d", "5/2678400s")])
def test_a_rate_is_shown_as_it_can_be_written(rate: str, shown: str) -> None:
    """What a gate says that it bounds can be given to `RateLimit` and to `treadle gates set`."""
    app = Treadle("memory://")
    app.gates.set("api", RateLimit(rate))
    found = app.gates.get("api")
    assert found is not None
    assert found.limit == shown
    app.gates.set("api", RateLimit(found.limit))
    again = app.gates.get("api")
    assert again is not None
    assert replace(again, opens_at=None) == replace(found, opens_at=None)
    app.close()


@pytest.mark.parametrize("name", ["stripe", "pay/concurrency:7", "strict"])
def test_a_gate_keeps_its_kind(app: Treadle, name: str) -> None:
    """Other numbers are set, another kind is not, also where the store has no such gate yet."""
    limits = [
        Breaker("stripe"),
        Concurrency(2, key="{account}"),
        RateLimit("10/m", name="strict", window="sliding"),
    ]

    @app.task(name="pay", limits=limits)
    def pay(account: int) -> None: ...

    for _ in range(2):
        with pytest.raises(ValueError, match=f"the gate {name!r} is a .*change_kind=True"):
            app.gates.set(name, RateLimit("10/m"))
        pay.enqueue(7)
    found = app.gates.get(name)
    assert found is not None
    assert not found.is_set
    app.gates.set(name, RateLimit("10/m"), change_kind=True)
    found = app.gates.get(name)
    assert found is not None
    assert (found.kind, found.is_set) == ("rate", True)
    app.gates.set(name, RateLimit("20/m"))
    with pytest.raises(ValueError, match=r"is a token bucket.* \(rate\)"):
        app.gates.set(name, Concurrency(2))
    app.close()


def test_a_paused_task_waits_and_says_why(app: Treadle) -> None:
    """It has no limits; others' jobs run, its own say who holds them, and resume runs them."""

    @app.task(name="mail")
    def mail(number: int) -> int:
        return number

    @app.task(name="bill")
    def bill() -> None: ...

    assert app.tasks.pause("mail", note="wrong sender")
    held, free = mail.enqueue(7), bill.enqueue()
    assert "Why: Its task 'mail' is paused until somebody resumes it: wrong sender." in (
        held.explain()
    )
    Worker(app, burst=True).run()
    states = [app.job(job.id).state for job in (held, free)]
    assert states == [JobState.BLOCKED, JobState.SUCCEEDED]
    told = held.explain()
    assert "Why: Its task 'mail' is paused until somebody resumes it: wrong sender." in told
    assert "resume its task with `treadle gates resume task:mail`" in told
    assert app.tasks.resume("mail")
    assert not app.tasks.resume("mail")
    Worker(app, burst=True).run()
    assert held.result(timeout=10) == 7
    app.close()


def test_a_paused_key_waits_and_others_run(app: Treadle) -> None:
    """Of limits with one key the switch is paused; a pause of the key is none of the task."""
    limits = [Concurrency(3, key="{account}"), Switch(key="{account}"), Concurrency(9, name="all")]

    @app.task(name="sync", limits=limits)
    def sync(account: int) -> int:
        return account

    assert app.tasks.pause("sync", key=7, note="no token")
    held, free = sync.enqueue(7), sync.enqueue(8)
    Worker(app, burst=True).run()
    states = [app.job(job.id).state for job in (held, free)]
    assert states == [JobState.BLOCKED, JobState.SUCCEEDED]
    assert held.refresh().gate == "sync/switch:7"
    assert "paused until somebody resumes it: no token" in held.explain()
    assert not app.tasks.resume("sync")
    assert not app.tasks.resume("sync", key="8")
    assert app.tasks.resume("sync", key="7")
    Worker(app, burst=True).run()
    assert held.result(timeout=10) == 7
    app.close()


def test_a_pause_of_a_task_comes_to_a_worker_that_runs(app: Treadle) -> None:
    """A worker that has been idle finds the jobs that a resume wakes."""

    @app.task(name="mail")
    async def mail() -> str:
        return "sent"

    with _running(app):
        assert mail.enqueue().result(timeout=20) == "sent"
        app.tasks.pause("mail", lasting=3600)
        held = mail.enqueue()
        limit = time.monotonic() + 20
        while held.refresh().state is not JobState.BLOCKED:
            assert time.monotonic() < limit
            held.wait(0.02)
        assert held.gate == "task:mail"
        app.tasks.resume("mail")
        assert held.result(timeout=20) == "sent"
