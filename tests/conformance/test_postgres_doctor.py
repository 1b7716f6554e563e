"""The doctor on PostgreSQL servers that are set badly on purpose: each finding is seen."""

import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.pq import ExecStatus, PGconn, abc

from tests.conformance.looks import look, losing
from tests.conformance.own_pooler import needs_pooler
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.findings import Level
from treadle.store.postgres.doctor import judge_holders, judge_room, judge_standbys
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import new_job
from treadle.testing.servers import PgBouncer, Postgres

DEAD = 12_000
WAIT_S = 15.0


def served(**settings: str) -> Postgres:
    """Make a server of the test's own, or skip where there is no program."""
    return Postgres(**settings)


def migrated(url: str) -> str:
    """Make treadle's tables; give the URL."""
    store = PostgresStore(url, "default", Settings())
    store.migrate_now()
    store.close_now()
    return url


@pytest.fixture
def url(postgres_schema: str) -> str:
    """Give the test's own schema, migrated."""
    return migrated(postgres_schema)


@pytest.fixture
def other(postgres_url: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """Give a session of somebody else."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        yield db


def test_a_sound_server_loses_nothing() -> None:
    """The server's defaults: no finding is worse than a note."""
    with served(fsync="on") as server:
        found = look(migrated(server.url))
    assert {f.level for f in found.values()} <= {Level.OK, Level.NOTE}
    assert found["clock"].level is Level.OK
    assert found["pooler"].found == "none"


def test_a_server_set_to_lose_jobs() -> None:
    """Each setting is found by its name, and those that only cost something do not hide it."""
    with served(
        fsync="off", synchronous_commit="off", full_page_writes="off", autovacuum="off",
        default_transaction_isolation="serializable", tcp_keepalives_idle="7200",
        idle_in_transaction_session_timeout="0",
    ) as server:  # fmt: skip
        found = look(migrated(server.url))
    assert losing(found) == {"fsync", "synchronous_commit", "full_page_writes"}
    assert found["autovacuum"].level is Level.WARNING
    assert found["default_transaction_isolation"].found == "serializable"
    assert found["default_transaction_isolation"].level is Level.WARNING
    assert found["idle_in_transaction_session_timeout"].level is Level.NOTE
    assert found["tcp_keepalives_idle"].level is Level.NOTE


def test_a_synchronous_standby_that_is_not_there() -> None:
    """Commits would wait for it without end."""
    with served(fsync="on") as server:
        migrated(server.url)
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute("alter system set synchronous_standby_names = 'other'")
            db.execute("select pg_reload_conf()")
        found = look(server.url)
        assert losing(found) == {"synchronous_standby_names"}
        assert "commits wait" in found["synchronous_standby_names"].means


def test_a_transaction_that_stays_open_is_named(
    url: str, other: "psycopg.Connection[tuple[object, ...]]"
) -> None:
    """By its process, so that it can be ended; a minute makes it a warning."""
    with other.transaction():
        other.execute("set transaction isolation level repeatable read")
        other.execute("select 1")
        found = look(url)["oldest transaction"]
        assert f"process {other.info.backend_pid}" in found.found
        assert "pg_terminate_backend" in found.advice
    rows = [("session", "process 7", 1_000, 61), ("replication slot", "old", 5, None)]
    assert [f.level for f in judge_holders(rows, sees=True)] == [Level.WARNING] * 2
    assert [f.level for f in judge_holders([("session", "process 7", 1, 3)], sees=True)] == [
        Level.NOTE
    ]


def test_a_prepared_transaction_and_a_slot_are_named() -> None:
    """Nobody's session shows them, and they hold back vacuum for months."""
    with served(max_prepared_transactions="5", wal_level="logical") as server:
        url = migrated(server.url)
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute("begin")
            db.execute("select txid_current()")
            db.execute("prepare transaction 'forgotten'")
        found = look(url)["oldest transaction"]
        assert "prepared transaction: forgotten" in found.found


def test_dead_rows_of_the_hot_table(
    url: str, other: "psycopg.Connection[tuple[object, ...]]", postgres_url: str
) -> None:
    """Many rows changed and nobody may vacuum: both are found, with the table's own name."""
    store = PostgresStore(url, "shop", Settings())
    store.migrate_now()
    for _ in range(DEAD // 1_000):
        store.enqueue_now(new_id(), [new_job() for _ in range(1_000)])
    store.close_now()
    name = url.partition("?schema=")[2]
    other.execute(f"set search_path = {name}".encode())
    other.execute("alter table treadle_shop_jobs set (autovacuum_enabled = off)")
    with psycopg.connect(postgres_url) as reader:
        # Who might still read the old rows keeps the server from clearing them up on the way.
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from pg_class")
        for _ in range(2):
            other.execute("update treadle_shop_jobs set progress = null")
    # A session hands its figures over at the end of a transaction, each second at the most.
    wait_for(
        other,
        "select count(*) from pg_stat_all_tables where relname = 'treadle_shop_jobs'"  # noqa: S608
        f" and schemaname = '{name}' and n_dead_tup > {DEAD}",
    )
    found = look(url, "shop")
    for what in ("dead rows of the hot table", "autovacuum of the hot table"):
        assert found[what].level is Level.WARNING
        assert f"{name}.treadle_shop_jobs" in found[what].advice


def test_a_user_who_may_not_see_other_sessions_is_told_so(
    url: str, other: "psycopg.Connection[tuple[object, ...]]", postgres_url: str
) -> None:
    """Without pg_read_all_stats their state is unseen, never well."""
    name = url.partition("?schema=")[2]
    other.execute("drop role if exists treadle_guest")
    other.execute("create role treadle_guest login")
    other.execute(f"grant usage on schema {name} to treadle_guest".encode())
    other.execute(f"grant select on all tables in schema {name} to treadle_guest".encode())
    try:
        guest = postgres_url.replace("treadle@", "treadle_guest@")
        found = look(f"{guest}?schema={name}")
        assert found["sessions of other users"].level is Level.UNSEEN
        assert "pg_read_all_stats" in found["sessions of other users"].advice
    finally:
        other.execute("drop owned by treadle_guest")
        other.execute("drop role treadle_guest")


def test_a_full_server_is_seen_by_a_plain_user() -> None:
    """Connections of others count for one who may not see whose they are."""
    with served(max_connections="20", superuser_reserved_connections="3") as server:
        url = migrated(server.url)
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("create role plain login")
            db.execute("grant usage on schema public to plain")
            db.execute("grant select on all tables in schema public to plain")
        plain = url.replace("treadle@", "plain@")
        assert look(plain)["max_connections"].level is Level.OK
        with ExitStack() as held:
            for _ in range(14):
                held.enter_context(psycopg.connect(url))
            for one in (plain, url):
                found = look(one)["max_connections"]
                assert found.level is Level.WARNING
                assert "of 17 connections in use" in found.found


def feedback(url: str, xmin: int, slot: str = "") -> abc.PGconn:
    """Follow a server as a standby does, and tell it the oldest transaction that is read there."""
    link = PGconn.connect(f"{url}?replication=true".encode())
    start = f"START_REPLICATION {f'SLOT {slot} ' if slot else ''}PHYSICAL 0/1000000"
    link.send_query(start.encode())
    answer = link.get_result()
    assert answer is not None
    assert answer.status == ExecStatus.COPY_BOTH
    # The message of hot_standby_feedback: 'h', when, xmin and its epoch, those of the catalogue.
    link.put_copy_data(struct.pack("!cqIIII", b"h", 0, xmin, 0, 0, 0))
    link.flush()
    return link


@pytest.mark.parametrize("slot", ["", "old_standby"])
def test_a_standby_that_holds_back_dead_rows_is_named(slot: str) -> None:
    """By its slot, also when the standby is gone, or by its process where it has none."""
    with served(wal_level="replica") as server:
        url = migrated(server.url)
        with psycopg.connect(url, autocommit=True) as db:
            if slot:
                db.execute("select pg_create_physical_replication_slot(%s, true)", (slot,))
            now = db.execute("select txid_current()").fetchone()
            assert now is not None
            link = feedback(url, int(now[0]), slot)
            held = (
                "select count(*) from (select xmin from pg_replication_slots union all"
                " select backend_xmin from pg_stat_replication) as held where xmin is not null"
            )
            wait_for(db, held)
            if slot:
                link.finish()
            found = look(url)["oldest transaction"]
            said = f"replication slot: {slot}" if slot else f"process {link.backend_pid},"
            assert said in found.found
            assert found.level is Level.WARNING
            link.finish()


def wait_for(db: "psycopg.Connection[tuple[object, ...]]", count: str) -> None:
    """Wait until a statement counts something."""
    deadline = time.monotonic() + WAIT_S
    while db.execute(count.encode()).fetchone() == (0,):
        assert time.monotonic() < deadline


def test_an_autovacuum_worker_is_nobody_to_end() -> None:
    """It holds a snapshot while it works, and is not named beside a command that would end it."""
    with served(
        autovacuum_naptime="1", autovacuum_vacuum_cost_delay="100", autovacuum_vacuum_cost_limit="1"
    ) as server:  # fmt: skip
        url = migrated(server.url)
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(
                "create table many with (autovacuum_vacuum_threshold = 1,"
                " autovacuum_vacuum_scale_factor = 0, autovacuum_enabled = on)"
                " as select repeat('x', 500) as text from generate_series(1, 20000)"
            )
            db.execute("delete from many")
            wait_for(
                db,
                "select count(*) from pg_stat_activity"
                " where backend_type = 'autovacuum worker' and backend_xmin is not null",
            )
            found = look(url)["oldest transaction"]
            still = db.execute(
                "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker'"
            ).fetchone()
        assert still != (0,)
        assert found.level is Level.OK


@needs_pooler
@pytest.mark.parametrize(
    ("mode", "connections", "said"),
    [
        ("transaction", 4, "transaction"),
        ("transaction", 1, "transaction"),
        ("session", 4, "session"),
    ],
)
def test_a_pooler_is_found_out(url: str, mode: str, connections: int, said: str) -> None:
    """By what its connections do, with no right to ask the pooler itself."""
    plain, _, name = url.partition("?schema=")
    with PgBouncer(plain, mode=mode, connections=connections) as pooler:
        assert f"in {said} mode" in look(f"{pooler.url}?schema={name}")["pooler"].found


def test_rules_that_no_test_server_can_show() -> None:
    """A server that is almost full, and standbys of which nothing may be seen."""
    said = {"max_connections": "100", "superuser_reserved_connections": "3"}
    assert judge_room(said, 90).level is Level.WARNING
    assert judge_room(said, 20).level is Level.OK
    assert judge_room(said | {"reserved_connections": "75"}, 20).level is Level.WARNING
    named = {"synchronous_standby_names": "b", "synchronous_commit": "on"}
    assert judge_standbys(named, 0, sees=False).level is Level.UNSEEN
    assert judge_standbys(named, 1, sees=True).level is Level.OK
