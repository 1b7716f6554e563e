"""What happens to the PostgreSQL store when the server is away, slow, foreign or rude."""

import asyncio
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from treadle.core.clock import MovedClock
from treadle.core.errors import SchemaMismatch, SettingsError, StoreError, StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Cancelled, Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.postgres import schema
from treadle.store.postgres.engine import runner
from treadle.store.postgres.engine.pack import text
from treadle.store.postgres.engine.runner import Runner, Talk, drive_now, until
from treadle.store.postgres.engine.sql import Statement, place_of, statement, statements
from treadle.store.postgres.engine.target import read_target
from treadle.store.postgres.engine.wire import Ask, Rows
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Case, case, new_job, scenario, settlement, take
from treadle.testing.servers import free_port

__all__ = ["case"]

PASSWORD = "s3cr3t-and-more"  # noqa: S105 -- what no message may show
SHORT = Settings(store_timeout=3.0)
SOON_S = 20.0
"""Long after a call of theirs must have given up, and before it would end by itself."""


@pytest.fixture
def make_store(postgres_schema: str, clock: MovedClock) -> "Maker":
    """Make stores on the test's schema."""
    return Maker(postgres_schema, clock)


class Maker:
    """Makes stores of little patience."""

    def __init__(self, url: str, clock: MovedClock) -> None:
        self.url = url
        self.clock = clock

    def __call__(self, namespace: str = "default") -> PostgresStore:
        """Make a store with its tables."""
        store = PostgresStore(self.url, namespace, SHORT, self.clock)
        store.migrate_now()
        return store


@contextmanager
def session(url: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """Open a session of somebody else on the test's schema."""
    bare, _, name = url.partition("?schema=")
    with psycopg.connect(bare, autocommit=True) as db:
        db.execute(f"set search_path = {name}".encode())
        yield db


def refused(url: str) -> str:
    """Give what opening this store fails with, which comes soon and keeps the password."""
    begun = time.monotonic()
    store = PostgresStore(url, "default", SHORT)
    with pytest.raises(StoreUnavailable) as caught:
        store.open_now()
    with pytest.raises(StoreUnavailable) as again:
        asyncio.run(store.open())
    assert time.monotonic() - begun < 2 * SOON_S
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in str(again.value)
    store.close_now()
    return str(caught.value)


class TestOpening:
    """A store that cannot be opened says why, soon, and never with the password."""

    def test_nobody_listens(self) -> None:
        """A port that refuses."""
        said = refused(f"postgresql://treadle:{PASSWORD}@127.0.0.1:{free_port()}/postgres")
        assert "cannot be reached" in said

    def test_nobody_answers(self) -> None:
        """A program that takes the connection and says nothing."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            said = refused(f"postgresql://treadle:{PASSWORD}@127.0.0.1:{port}/postgres")
        assert "has not taken a connection within 3 s" in said

    def test_no_such_host(self) -> None:
        """A name that is none."""
        assert "cannot be reached" in refused(f"postgresql://t:{PASSWORD}@no.such.invalid/db")

    def test_no_such_database(self, postgres_url: str) -> None:
        """The server knows no database of that name."""
        url = re.sub(r"//([^@/]+)@", rf"//\1:{PASSWORD}@", postgres_url)
        assert "no such database" in refused(url.rpartition("/")[0] + "/nowhere")

    def test_a_read_only_server(self, postgres_url: str) -> None:
        """A replica, or a server made read-only."""
        url = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"
        assert "read-only" in refused(url)

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://u:{PASSWORD}@host:port/db",
            f"postgresql://u:{PASSWORD}@host/db?no_such_option=1",
            f"postgresql://u:{PASSWORD}@host/db?schema=a;drop",
            f"postgresql://u:{PASSWORD}@host/db?schema=",
            f"postgresql://host/db?password={PASSWORD}&no_such_option=1",
        ],
    )
    def test_a_url_of_a_wrong_form(self, url: str) -> None:
        """Is told at once, without connecting."""
        with pytest.raises(SettingsError) as caught:
            open_store(url, "default", SHORT)
        assert PASSWORD not in str(caught.value)


class TestSchema:
    """Workers never make or change the tables; `migrate` does, once."""

    def test_no_tables_yet(self, postgres_schema: str) -> None:
        """Opening names the command."""
        store = PostgresStore(postgres_schema, "default", SHORT)
        with pytest.raises(SchemaMismatch, match="treadle migrate --store 'postgresql://"):
            store.open_now()
        store.close_now()

    @pytest.mark.parametrize("version", [schema.VERSION + 1, 0])
    def test_another_version(self, postgres_schema: str, version: int) -> None:
        """Neither a newer nor an older schema is worked on; nor is a newer one migrated."""
        store = PostgresStore(postgres_schema, "default", SHORT)
        store.migrate_now()
        with session(postgres_schema) as db:
            db.execute("update treadle_meta set value = %s", [str(version)])
        with pytest.raises(SchemaMismatch):
            store.open_now()
        if version:
            with pytest.raises(SchemaMismatch, match="newer treadle"):
                store.migrate_now()
        store.close_now()

    def test_many_migrate_at_once(self, postgres_schema: str) -> None:
        """One of them makes the tables; the others find them."""
        stores = [PostgresStore(postgres_schema, "default", Settings()) for _ in range(6)]
        with ThreadPoolExecutor(6) as threads:
            done = list(threads.map(lambda store: store.migrate_now(), stores))
        assert sorted(done) == [(0, schema.VERSION)] + [(schema.VERSION,) * 2] * 5
        for store in stores:
            store.close_now()

    def test_the_script_does_what_migrate_does(self, postgres_schema: str) -> None:
        """What is printed for a database's administrator makes the same tables."""
        store = PostgresStore(postgres_schema, "shop", SHORT)
        with session(postgres_schema) as db:
            db.execute(store.migration_script().encode())
        store.open_now()
        assert store.migrate_now() == (schema.VERSION, schema.VERSION)
        store.close_now()

    def test_a_table_that_was_dropped(self, postgres_schema: str) -> None:
        """Is told as what it is."""
        store = PostgresStore(postgres_schema, "default", SHORT)
        store.migrate_now()
        with session(postgres_schema) as db:
            db.execute("drop table treadle_requests")
        with pytest.raises(SchemaMismatch, match="treadle migrate"):
            store.enqueue_now(new_id(), [new_job()])
        store.close_now()


class TestSlow:
    """A call ends within the store's timeout, whatever holds it up."""

    @scenario
    async def test_a_row_that_is_locked(self, case: Case, postgres_schema: str) -> None:
        """The call fails in time, wrote nothing, and goes through when it is sent again."""
        [job] = await case.add()
        worker = await case.worker()
        [claim] = await worker.claim()
        request = new_id()
        with session(postgres_schema) as db, db.transaction():
            db.execute("select * from treadle_jobs for update")
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await worker.exchange([settlement(claim, Succeeded(b"1"))], None, request)
            assert time.monotonic() - begun < SOON_S
            assert (await case.job(job)).state == JobState.RUNNING
        answer = await worker.exchange([settlement(claim, Succeeded(b"1"))], None, request)
        assert list(answer.verdicts) == [Verdict.APPLIED]

    @scenario
    async def test_a_beat_waits_for_no_exchange(self, case: Case, postgres_schema: str) -> None:
        """The worker's row is locked; its lease is prolonged all the same."""
        worker = await case.worker()
        with session(postgres_schema) as db, db.transaction():
            db.execute("select * from treadle_workers for update")
            assert not (await worker.beat()).gone

    @scenario
    async def test_more_calls_than_connections(self, case: Case) -> None:
        """They take turns; none fails and no connection is left over."""
        ids = await case.add(3)
        found = await asyncio.gather(*(case.store.get(ids) for _ in range(60)))
        assert all(len(records) == len(ids) for records in found)

    @scenario
    async def test_a_cancelled_call_leaves_the_store_sound(self, case: Case) -> None:
        """Its connection goes with it, as nobody knows what it would answer next."""
        ids = await case.add(2)
        for delay in (0, 0, 0.0005, 0.001):
            call = asyncio.create_task(case.store.get(ids))
            await asyncio.sleep(delay)
            call.cancel()
            await asyncio.wait({call})
        assert await case.states(ids) == [JobState.READY] * 2


class TestPooler:
    """Nothing is relied on that a pooler in transaction mode does not keep."""

    def test_prepared_statements_that_are_gone(self, postgres_schema: str) -> None:
        """They are done without, and no call fails for it."""
        target = read_target(postgres_schema, 5)
        place = place_of("default", target.schema)
        sql = statements(place)
        runner = Runner(target, sql, timeout=5, clock=None)
        asked = statement("select 7::bigint")
        for _ in range(2):
            for one in (asked, statement("deallocate all")):
                drive_now(runner.run(partial(_ask, one)))
        assert drive_now(runner.run(lambda: _ask(asked))) == [(7,)]
        runner.pool.close()

    def test_what_was_lost_is_said_and_tried_again(
        self, postgres_schema: str, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """One warning a while, in which statements are sent whole; then they are prepared anew."""
        target = read_target(postgres_schema, 5)
        made = Runner(target, statements(place_of("default", None)), timeout=5, clock=None)
        asked, forget = statement("select 7::bigint"), statement("deallocate all")
        for one in (asked, forget, asked, asked):
            drive_now(made.run(partial(_ask, one)))
        assert [r.levelname for r in caplog.records if "sent whole" in r.getMessage()] == [
            "WARNING"
        ]
        assert not prepared(made, asked)
        monkeypatch.setattr(runner, "UNPREPARED_S", 0.0)
        made.pool.close()
        again = Runner(target, statements(place_of("default", None)), timeout=5, clock=None)
        for one in (asked, forget, asked, asked):
            drive_now(again.run(partial(_ask, one)))
        assert prepared(again, asked)
        again.pool.close()

    def test_a_statement_that_comes_twice_is_prepared_once(
        self, postgres_schema: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In one pipeline, and in what follows its commit; nothing is done without for it."""
        target = read_target(postgres_schema, 5)
        made = Runner(target, statements(place_of("default", None)), timeout=5, clock=None)
        asked, bad = statement("select 7::bigint"), statement("select 1 / 0")

        def talk() -> Talk[int]:
            twice = [(asked, ()), (asked, ())]
            _, rows = yield Ask(twice, after=[*twice, (bad, ()), (asked, ())])
            return len(rows)

        for _ in range(2):
            assert drive_now(made.run(talk)) == 2
        assert prepared(made, asked)
        assert not caplog.records
        made.pool.close()

    def test_no_limit_outlives_its_transaction(self, postgres_schema: str) -> None:
        """On a connection of our own all that stays is how to plan, which is said to it once."""
        target = read_target(postgres_schema, 5)
        runner = Runner(target, statements(place_of("default", None)), timeout=5, clock=None)
        wire_of = statement("select pg_backend_pid()::bigint")
        [(pid,)] = drive_now(runner.run(lambda: _ask(wire_of)))
        wire = runner.pool.take()
        assert wire is not None
        assert wire.pid == pid
        settings = statement(
            "select current_setting('statement_timeout'), current_setting('lock_timeout'), "
            "current_setting('jit'), current_setting('treadle.now', true)"
        )
        # Spoken to directly: a runner would begin a transaction with settings of its own.
        found = drive_now(until(wire.ask(Ask([(settings, ())])), time.monotonic() + SOON_S))
        assert found == [[("0", "0", "off", "")]]
        runner.pool.give(wire)
        runner.pool.close()


def test_the_line_keeps_to_one_connection(postgres_schema: str) -> None:
    """Whatever else the process asks beside it, and however often."""
    target = read_target(postgres_schema, 5)
    runner = Runner(target, statements(place_of("default", None)), timeout=5, clock=None)
    asked = statement("select pg_backend_pid()::bigint")
    lent = [drive_now(runner.lend(time.monotonic() + SOON_S)) for _ in range(2)]
    for wire in lent:
        runner.pool.give(wire)
    line, others = set(), set()
    for _ in range(3):
        line.update(drive_now(runner.run(lambda: _ask(asked), line=True)))
        others.update(drive_now(runner.run(lambda: _ask(asked))))
    assert (len(line), len(others)) == (1, 1)
    assert line != others
    runner.pool.close()


_PREPARED = statement("select exists(select from pg_prepared_statements where name = $1::text)")


def prepared(made: Runner, which: Statement) -> bool:
    """Tell whether a statement is prepared on the connection that is idle."""

    def talk() -> Talk[bool]:
        _, [[(found,)]] = yield Ask([(_PREPARED, (text(which.name.decode()),))])
        return bool(found)

    return drive_now(made.run(talk))


def _ask(asked: Statement) -> Talk[Rows]:
    """Be a verb of one statement."""
    _, [rows] = yield Ask([(asked, ())])
    return rows


def test_a_fork_in_mid_use_disturbs_neither_side(postgres_schema: str) -> None:
    """The child opens connections of its own; the parent's go on as if nothing had been."""
    store = PostgresStore(postgres_schema, "default", Settings())
    store.migrate_now()
    jobs = [new_job() for _ in range(3)]
    store.enqueue_now(new_id(), jobs[:1])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.enqueue_now(new_id(), jobs[1:2])
            asyncio.run(store.close())
            code = 0
        finally:
            os._exit(code)
    store.enqueue_now(new_id(), jobs[2:])
    assert os.waitpid(child, 0)[1] == 0
    store.enqueue_now(new_id(), [new_job()])
    assert None not in store.get_now([job.id for job in jobs])
    store.close_now()


@scenario
async def test_each_of_many_enqueues_is_heard(case: Case) -> None:
    """Not only the first one over a connection, and each well before a poll would find it."""
    other = await case.other()

    async def listen(heard: asyncio.Event) -> None:
        while True:
            if await case.store.wait(work=True, ends=False, timeout=SOON_S):
                heard.set()

    heard = asyncio.Event()
    listener = asyncio.create_task(listen(heard))
    for _ in range(10):
        # The first hints come for nothing; those after them do not.
        heard.clear()
        async with asyncio.timeout(SOON_S / 2):
            await other.enqueue(new_id(), [new_job()])
            await heard.wait()
    listener.cancel()
    await asyncio.wait({listener})


@scenario
async def test_a_batch_sent_again_after_its_jobs_were_deleted(case: Case) -> None:
    """Within the hour a request is remembered, whatever became of its jobs."""
    request, job = new_id(), new_job()
    first = await case.store.enqueue(request, [job])
    await case.store.cancel([job.id])
    assert list(await case.store.discard([job.id])) == [True]
    assert list(await case.store.enqueue(request, [job])) == list(first)
    assert await case.states([job.id]) == ["gone"]
    case.clock.move(3_600)
    await case.store.prune(10)
    assert list(await case.store.enqueue(request, [job])) == list(first)
    assert await case.states([job.id]) == [JobState.READY]


@scenario
async def test_a_job_stored_again_after_its_hour_holds_nothing_up(case: Case) -> None:
    """Its old record stays in history, the new one runs, and its neighbours settle beside it."""
    job = new_job()
    worker = await case.worker()
    for _ in range(2):
        await case.store.enqueue(new_id(), [job, new_job()])
        claims = await worker.claim(2)
        verdicts = await worker.settle(*(settlement(c, Succeeded(b"1")) for c in claims))
        assert verdicts == [Verdict.APPLIED] * 2
    assert (await case.job(job.id)).state == JobState.SUCCEEDED


@scenario
async def test_text_that_the_server_cannot_hold(case: Case) -> None:
    """A zero character in a name is refused; in what a task says it is replaced."""
    with pytest.raises(StoreError):
        await case.add(task="a\0b")
    await case.add()
    worker = await case.worker()
    answer = await worker.exchange(demand=take(1))
    await worker.finish(answer.claims[0], Cancelled("a\0b"))
    assert (await case.job(answer.claims[0].id)).reason == "a\ufffdb"
