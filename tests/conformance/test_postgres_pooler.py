"""What is special behind PgBouncer: nobody listens, and a worker works all the same."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.conformance.own_pooler import needs_pooler
from tests.conformance.test_postgres_processes import Scene, until
from treadle import JobState
from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.postgres.engine.pack import int8
from treadle.store.postgres.engine.runner import Dial, dial, drive_now
from treadle.store.postgres.engine.runner import until as until_read
from treadle.store.postgres.engine.sql import statement
from treadle.store.postgres.engine.target import read_target
from treadle.store.postgres.engine.trouble import ConnectionLost, ServerError
from treadle.store.postgres.engine.wire import Ask, Wire
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import new_job
from treadle.testing.servers import PgBouncer

pytestmark = needs_pooler

SOON_S = 5.0
WOKEN_S = 60.0
UNTOLD_S = 2.0
LONG_POLL = {"TREADLE_POLL": "600"}
ECHO = statement("select $1::int8")
LINGER = statement("select pg_sleep(0.002)")
DIVIDE = statement("select 1 / $1::int8")


@pytest.fixture
def narrow(postgres_url: str) -> Iterator[PgBouncer]:
    """Run a pooler in transaction mode that lends one connection to everybody in turn."""
    with PgBouncer(postgres_url, connections=1) as pooler:
        yield pooler


def through(pooler: PgBouncer, postgres_schema: str) -> str:
    """Give the URL of the test's schema through a pooler."""
    return f"{pooler.url}?schema={postgres_schema.partition('?schema=')[2]}"


def test_an_idle_worker_behind_a_pooler_finds_a_job_in_time(
    postgres_schema: str, narrow: PgBouncer, tmp_path: Path
) -> None:
    """No notification reaches it and its next look is far away: it is woken all the same."""
    scene = Scene(through(narrow, postgres_schema), tmp_path)
    with scene.worker(LONG_POLL):
        for key in ("first", "second"):
            job = scene.app.enqueue("touch", key)
            begun = time.monotonic()
            until(lambda job=job: scene.app.job(job.id).is_terminal)  # type: ignore[misc]
            assert time.monotonic() - begun < WOKEN_S
    scene.app.close()


def test_a_waiter_leaves_no_listener_on_a_shared_connection(
    postgres_schema: str, narrow: PgBouncer
) -> None:
    """The next client of that connection would get the news, and never read them."""

    async def wait_once(url: str) -> None:
        store = PostgresStore(url, "default", Settings())
        await store.migrate()
        await store.open()
        for _ in range(2):
            await store.wait(work=True, ends=True, timeout=SOON_S)
        await store.close()

    asyncio.run(wait_once(through(narrow, postgres_schema)))
    with psycopg.connect(narrow.url, autocommit=True) as db:
        assert db.execute("select count(*) from pg_listening_channels()").fetchone() == (0,)


def test_a_pooler_in_statement_mode_is_refused_when_the_store_is_opened(
    postgres_schema: str,
) -> None:
    """Not in mid-job, when a task wants a transaction; the error names the setting."""
    with PgBouncer(postgres_schema.partition("?")[0], mode="statement") as pooler:
        store = PostgresStore(through(pooler, postgres_schema), "default", Settings())
        store.migrate_now()
        with pytest.raises(StoreUnavailable, match="set pool_mode to transaction or session"):
            store.open_now()
        with pytest.raises(StoreUnavailable, match="pool_mode"):
            asyncio.run(store.open())
        store.close_now()


def test_a_pooler_that_restarts_is_a_short_outage(postgres_schema: str, narrow: PgBouncer) -> None:
    """What rests is found broken and replaced; no call sees more than a retry of its own."""
    store = PostgresStore(through(narrow, postgres_schema), "default", Settings(store_timeout=5))
    store.migrate_now()
    jobs = [new_job() for _ in range(4)]
    store.enqueue_now(new_id(), jobs[:2])
    narrow.kill()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.enqueue_now(new_id(), jobs[2:])
    narrow.start()
    store.enqueue_now(new_id(), jobs[2:])
    assert None not in store.get_now([job.id for job in jobs])
    store.close_now()


def test_the_next_client_finds_no_setting_of_ours(postgres_schema: str, narrow: PgBouncer) -> None:
    """How the store has its statements planned, and its limits, end with each transaction."""
    store = PostgresStore(through(narrow, postgres_schema), "default", Settings())
    store.migrate_now()
    store.enqueue_now(new_id(), [new_job()])
    with psycopg.connect(narrow.url, autocommit=True, prepare_threshold=None) as db:
        left = db.execute(
            "select name, setting from pg_settings where source = 'session' "
            "and (name like 'enable%' or name like '%timeout' "
            "or name in ('jit', 'plan_cache_mode'))"
        ).fetchall()
    store.close_now()
    assert left == []


def test_a_failed_transaction_leaves_no_answer_to_the_next_client(narrow: PgBouncer) -> None:
    """Whatever was to follow it: the pooler lends its connection on as soon as one fails."""
    target, wrong = read_target(narrow.url, WOKEN_S), list[object]()

    def open_wire() -> Wire:
        wire = dial(Dial(target.conninfo, time.monotonic() + WOKEN_S))
        drive_now(until_read(wire.meet((ECHO, (int8(0),))), time.monotonic() + WOKEN_S))
        return wire

    def speak(number: int) -> None:
        wire = open_wire()
        for turn in range(60):
            fails = turn % 3 == 0
            calls = [(ECHO, (int8(number),)), (DIVIDE, (int8(0 if fails else 1),))]
            talk = wire.ask(Ask(calls, after=[(LINGER, ())]), prepare=False)
            try:
                answers = drive_now(until_read(talk, time.monotonic() + WOKEN_S))
            except ServerError:
                wire.close()
                wire = open_wire()
            except ConnectionLost as error:
                wrong.append(error)
                wire = open_wire()
            else:
                wrong.extend(answers[0] if answers[0] != [(number,)] else ())
        wire.close()

    with ThreadPoolExecutor(8) as pool:
        for spoken in [pool.submit(speak, number) for number in range(8)]:
            spoken.result()
    assert not wrong


@contextmanager
def holding(pooler: PgBouncer) -> Iterator[psycopg.Connection]:
    """Hold one of the pooler's connections in an open transaction, once it has one to lend."""
    with psycopg.connect(pooler.url) as db:
        db.execute("select 1")
        yield db


def queued(pooler: PgBouncer) -> int:
    """Count who waits for one of the pooler's connections."""
    console = pooler.url.rpartition("/")[0] + "/pgbouncer"
    with psycopg.connect(console, autocommit=True, row_factory=dict_row) as db:
        return sum(row["cl_waiting"] for row in db.execute("show pools").fetchall())


def test_what_is_committed_is_acknowledged_though_the_news_of_it_cannot_be_told(
    postgres_schema: str, narrow: PgBouncer
) -> None:
    """Others have the pooler's connections as soon as it is; it waits for none of them."""
    store = PostgresStore(through(narrow, postgres_schema), "default", Settings(store_timeout=20))
    store.migrate_now()
    first, second = new_job(), new_job()
    store.enqueue_now(new_id(), [first])
    done = Event()

    def take_next() -> None:
        with holding(narrow):
            assert done.wait(WOKEN_S)

    with ThreadPoolExecutor(2) as others:
        with holding(narrow):
            told = others.submit(store.enqueue_now, new_id(), [second])
            until(lambda: queued(narrow) == 1)
            after = others.submit(take_next)
            until(lambda: queued(narrow) == 2)
        try:
            assert told.result(WOKEN_S / 2) == [JobState.READY]
        finally:
            done.set()
        after.result(WOKEN_S)
    assert None not in store.get_now([first.id, second.id])
    store.close_now()


def test_what_is_asked_after_the_commit_is_answered_though_the_news_cannot_be_told(
    postgres_schema: str, narrow: PgBouncer
) -> None:
    """An enqueue that is sent again asks for the answer of then, and tells last of all."""
    store = PostgresStore(through(narrow, postgres_schema), "default", Settings(store_timeout=30))
    store.migrate_now()
    request, job = new_id(), new_job()
    answer = store.enqueue_now(request, [job])

    def take_next() -> None:
        with holding(narrow):
            time.sleep(UNTOLD_S)  # What passes is the patience with news.

    with ThreadPoolExecutor(2) as others:
        with holding(narrow):
            again = others.submit(store.enqueue_now, request, [job])
            until(lambda: queued(narrow) == 1)
            after = others.submit(take_next)
            until(lambda: queued(narrow) == 2)
        assert again.result(WOKEN_S) == answer
        after.result(WOKEN_S)
    store.close_now()
