"""What a worker does when something goes wrong beside its jobs: it goes on, and loses nothing.

Real parts throughout. Errors are raised at the fault points, or made with a second connection
to the file, which holds its lock or changes its tables.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.worker.floor import WAIT_S, task, until
from treadle import Job, Treadle, Worker
from treadle.core import fault
from treadle.core.clock import MovedClock
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState, NewJob
from treadle.core.lanes import Lanes
from treadle.core.outcome import Settlement, Verdict
from treadle.core.settings import Settings
from treadle.store.contract import LOGS_MAX, Beaten, Store
from treadle.store.open import open_store
from treadle.worker.attempt import Attempt, Surroundings
from treadle.worker.crew import Crew
from treadle.worker.firing.firing import Firing
from treadle.worker.lease import Lease
from treadle.worker.notes import Notes
from treadle.worker.services import Services
from treadle.worker.settler import Settler
from treadle.worker.worker import worker_info

IMPATIENT: Final = Settings(store_timeout=0.1)
WORKER: Final = worker_info(1, Lanes(), 15)


@contextmanager
def upset_at(name: str, then: Callable[[], object]) -> Iterator[None]:
    """Raise an error of ours the first time a point is reached; call `then` at the second."""
    seen = []

    def hook(reached: str) -> None:
        if reached == name:
            seen.append(reached)
            if len(seen) == 1:
                raise RuntimeError(f"an upset at {name}")
            then()

    fault.arm(hook)
    try:
        yield
    finally:
        fault.arm(None)


@asynccontextmanager
async def opened(file: Path, settings: Settings = IMPATIENT) -> AsyncIterator[Store]:
    """Open a store on a file, with a worker that is registered."""
    store = open_store(f"sqlite:///{file}", "default", settings)
    await store.open()
    await store.register(WORKER)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file's write lock."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin immediate")
        yield other
        other.execute("rollback")


async def claimed(store: Store, *tasks: str) -> list[Attempt]:
    """Enqueue jobs of these tasks and claim them, as far as notes and settlements ask."""
    await store.enqueue(new_id(), [NewJob(new_id(), task, b"[]") for task in tasks])
    answer = await store.exchange(WORKER.id, new_id(), (), Lanes().demand(len(tasks)))
    surroundings = Surroundings(
        report=lambda *_: None,
        say=lambda *_: None,
        job_of=lambda record: Job.of_record(Treadle("memory://"), record),
        may_wait=lambda: True,
        result_max=1,
        timeout_us=1,
    )
    any_task = task(runs)
    return [Attempt(one, any_task, any_task.policy, surroundings) for one in answer.claims]


def runs() -> None:
    """Do nothing."""


def test_upkeep_goes_on_after_an_error_of_ours() -> None:
    """A service that meets an error nobody foresaw is tried again, not silently over."""

    async def scenario() -> None:
        clock, again = MovedClock(), asyncio.Event()
        store = open_store("memory://", "default", Settings(), clock)
        await store.open()
        await store.enqueue(new_id(), [NewJob(new_id(), "t", b"[]", delay=1_000_000)])
        clock.move(2)
        firing = Firing(store, "default", lambda _: True)
        services = Services(store, lambda: "w", lambda: (), lambda _: None, firing)
        with upset_at("stage.before_commit", again.set):
            services.start()
            await asyncio.wait_for(again.wait(), WAIT_S)
        await services.stop()
        await store.close()

    asyncio.run(scenario())


class Holder:
    """A holder of nothing, which waits for a beat."""

    id = WORKER.id

    def __init__(self) -> None:
        self.beaten = threading.Event()

    def held_claims(self) -> Sequence[tuple[bytes, int]]:
        """Hold nothing."""
        return ()

    def on_beaten(self, worker: str, beaten: Beaten) -> None:
        """Take the answer."""
        assert (worker, beaten.gone) == (self.id, False)
        self.beaten.set()

    def on_cut_off(self) -> None:
        """Fail: it is never cut off here."""
        raise AssertionError("this worker reaches its store")


@pytest.mark.parametrize("where", ["beat", "look"])
def test_the_lease_goes_on_after_an_error_of_ours(where: str) -> None:
    """The thread that beats outlives an error: without it the worker's jobs would run twice."""
    store = open_store("memory://", "default", Settings())
    store.open_now()
    asyncio.run(store.register(WORKER))
    holder = Holder()
    lease = Lease(store, holder, 15, 0.01)

    def look() -> None:
        if where == "look":
            raise RuntimeError("an upset while it looked")

    lease.look = look
    with upset_at("beat.before" if where == "beat" else "", lambda: None):
        lease.start()
        try:
            assert holder.beaten.wait(WAIT_S), "no beat after the error"
        finally:
            lease.stop()
    store.close_now()


def test_a_worker_claims_again_after_it_was_cut_off() -> None:
    """The beat that ends a cut-off wakes the worker: with nothing running nobody else would."""

    async def scenario() -> None:
        woken = asyncio.Event()
        crew = Crew(Treadle("memory://"), Lanes(), 1, woken.set, lambda _: None)
        crew.on_cut_off()
        crew.on_beaten("", Beaten())
        await asyncio.wait_for(woken.wait(), WAIT_S)
        assert crew.line.room() == 1
        crew.executors.close()
        crew.app.close()

    asyncio.run(scenario())


def test_a_rescued_worker_waits_for_a_locked_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that was rescued begins anew when it can, and leaves no live file behind."""
    file = tmp_path / "jobs.db"
    settings = {"store_timeout": 1.0, "poll": 0.05}
    app = Treadle(f"sqlite:///{file}", settings=settings)

    @app.task(name="double")
    async def double(n: int) -> int:
        return n * 2

    async def scenario() -> None:
        async with Worker(app, concurrency=1) as worker:
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("begin immediate")
                other.execute("delete from treadle_workers")
                other.execute("commit")
                other.execute("begin immediate")
                first = worker.id
                await until(lambda: "does not answer" in caplog.text)
                other.execute("rollback")
            job = await double.aenqueue(4)
            assert await job.aresult(timeout=WAIT_S) == 8
            assert worker.id != first
            assert live_files(file) == 1, "the new one's"

    asyncio.run(scenario())
    app.close()


def live_files(file: Path) -> int:
    """Count the live files beside a database."""
    return len(list(Path(f"{file}-live").iterdir()))


def test_a_refused_claim_is_not_asked_for_at_once_again(tmp_path: Path) -> None:
    """A store that refuses to claim raises, so that the worker pauses; later it gives."""
    file = tmp_path / "jobs.db"

    async def scenario() -> None:
        async with opened(file) as store:
            settler = Settler(store, lambda *_: None)
            await store.enqueue(new_id(), [NewJob(new_id(), "t", b"[]")])
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("alter table treadle_workers rename column request to old")
                with pytest.raises(StoreError, match="no such column"):
                    await settler.exchange(WORKER.id, Lanes().demand(1))
                other.execute("alter table treadle_workers rename column old to request")
            assert len((await settler.exchange(WORKER.id, Lanes().demand(1))).claims) == 1

    asyncio.run(scenario())


def test_settlements_are_kept_while_the_store_refuses_all(tmp_path: Path) -> None:
    """A settlement that cannot be written today is written when the store takes it again."""
    file = tmp_path / "jobs.db"
    answers: list[Verdict] = []

    async def scenario() -> None:
        async with opened(file) as store:
            settler = Settler(store, lambda _, verdict: answers.append(verdict))
            settler.pending = [ended(one) for one in await claimed(store, "a", "b")]
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("alter table treadle_workers rename column request to old")
                with pytest.raises(StoreError, match="no such column"):
                    await settler.exchange(WORKER.id, None)
                other.execute("alter table treadle_workers rename column old to request")
            assert len(settler.pending) == 2
            await settler.exchange(WORKER.id, None)
            assert answers == [Verdict.APPLIED] * 2

    asyncio.run(scenario())


@pytest.mark.parametrize("mended", [True, False])
def test_a_burst_ends_where_the_store_refuses_five_exchanges_in_a_row(
    tmp_path: Path, *, mended: bool
) -> None:
    """An outage before it is no refusal: one refusal after that, and it still goes on."""
    file = tmp_path / "jobs.db"
    app = Treadle(f"sqlite:///{file}", settings={"store_timeout": 0.05})
    app.task(name="runs")(runs)
    app.enqueue("runs")
    worker = Worker(app, burst=True)

    async def meddle(began: asyncio.Event) -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("begin immediate")
            began.set()
            await until(lambda: not mended or worker._crew.failed >= 4)  # noqa: SLF001
            other.execute("alter table treadle_workers rename column request to old")
            other.execute("commit")
            await until(lambda: not mended or worker._crew.refused)  # noqa: SLF001
            if mended:
                other.execute("alter table treadle_workers rename column old to request")

    async def play() -> None:
        began = asyncio.Event()
        async with asyncio.timeout(3 * WAIT_S), worker:
            meddling = asyncio.create_task(meddle(began))
            await began.wait()
            await worker.wait()
            await meddling

    if mended:
        asyncio.run(play())
        assert {job.state for job in app.jobs()} == {"succeeded"}
    else:
        with pytest.raises(StoreError, match="no such column"):
            asyncio.run(play())
    app.close()


def ended(attempt: Attempt) -> Settlement:
    """Settle an attempt as succeeded."""
    claim = attempt.claim
    return Settlement(
        claim.id, claim.number, JobState.SUCCEEDED, 1, "succeeded", result=b"1", keep=1
    )


def test_a_backlog_of_unknown_tasks_shares_the_loop() -> None:
    """Jobs that are handed back as they are claimed do not keep everything else from running."""
    app = Treadle("memory://")

    async def scenario() -> None:
        jobs = [NewJob(new_id(), "nobody", b"[]") for _ in range(200)]
        await app.store.enqueue(new_id(), jobs)
        seen = set()
        async with asyncio.timeout(WAIT_S), Worker(app, concurrency=1):
            while len(jobs) not in seen:
                await asyncio.sleep(0)
                [queue] = await app.store.queues()
                seen.add(queue.counts.get("scheduled", 0))
        assert len(seen) > 100, "the loop turned between the exchanges"

    asyncio.run(scenario())
    app.close()


def test_notes_that_wait_are_said_once_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However often they are tried; and once again in the next outage."""
    monkeypatch.setattr("treadle.worker.notes.FLUSH_S", 0.01)
    file = tmp_path / "jobs.db"

    def waiting() -> list[str]:
        return [one for one in caplog.messages if one.startswith("progress and log lines wait")]

    async def scenario() -> None:
        async with opened(file) as store:
            [claim] = await claimed(store, "a")
            notes = Notes(store, lambda: WORKER.id)
            running = asyncio.create_task(notes.run())
            for text in ("one", "two"):
                said = len(waiting())
                with locked(file):
                    notes.say(claim, "info", text)
                    await until(lambda said=said: len(waiting()) > said)  # type: ignore[misc]
                    await asyncio.sleep(5 * IMPATIENT.store_timeout)
                for _ in range(int(100 * WAIT_S)):
                    if notes.empty:
                        break
                    await asyncio.sleep(0.01)
            running.cancel()
            assert [text for *_, text in await store.logs(claim.claim.id)] == ["one", "two"]

    asyncio.run(scenario())
    assert len(waiting()) == 2


def test_no_settlement_overtakes_its_notes(tmp_path: Path) -> None:
    """What is settled next is fixed first; then every note is written, those under way too."""
    file = tmp_path / "jobs.db"

    async def scenario() -> None:
        async with opened(file, Settings()) as store:
            [first, second] = await claimed(store, "a", "b")
            notes, settler = Notes(store, lambda: WORKER.id), Settler(store, lambda *_: None)
            with locked(file):
                notes.say(first, "info", "one")
                flushing = asyncio.create_task(notes.flush())
                await asyncio.sleep(0)
                settled_first = notes.empty
                notes.say(first, "info", "two")
                settler.pending = [ended(first)]
                settler.fix(None)
                settler.pending.append(ended(second))
            await asyncio.gather(flushing, notes.flush())
            assert (settled_first, notes.empty) == (False, True)
            assert len((await settler.exchange(WORKER.id, None)).verdicts) == 1
            lines = await store.logs(first.claim.id)
            assert [text for *_, text in lines] == ["one", "two"]

    asyncio.run(scenario())


def test_lines_wait_for_a_store_that_was_away(tmp_path: Path) -> None:
    """Lines whose flush failed stand before those that were said meanwhile."""
    file = tmp_path / "jobs.db"

    async def scenario() -> None:
        async with opened(file) as store:
            [attempt] = await claimed(store, "a")
            notes = Notes(store, lambda: WORKER.id)
            with locked(file):
                notes.say(attempt, "info", "one")
                flushing = asyncio.create_task(notes.flush())
                await asyncio.sleep(0)
                notes.say(attempt, "info", "two")
                with pytest.raises(StoreUnavailable):
                    await flushing
            await notes.flush()
            lines = await store.logs(attempt.claim.id)
            assert [text for *_, text in lines] == ["one", "two"]

    asyncio.run(scenario())


def test_the_last_lines_of_a_job_are_kept(tmp_path: Path) -> None:
    """When a job says more than is kept between two flushes, its oldest lines make room."""

    async def scenario() -> None:
        async with opened(tmp_path / "jobs.db") as store:
            [attempt] = await claimed(store, "a")
            notes = Notes(store, lambda: WORKER.id)
            for n in range(LOGS_MAX + 5):
                notes.say(attempt, "info", str(n))
            assert notes.dropped == 5
            await notes.flush()
            lines = [text for *_, text in await store.logs(attempt.claim.id)]
            assert (len(lines), lines[0], lines[-1]) == (LOGS_MAX, "5", str(LOGS_MAX + 4))

    asyncio.run(scenario())
