"""The doctor on PostgreSQL servers that are set badly on purpose: each finding is seen."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conformance.looks import look, losing
from tests.conformance.own_pooler import needs_pooler
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.findings import Level
from treadle.store.postgres.doctor import judge_holders, judge_room, judge_standbys
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import new_job
from treadle.testing.servers import NoServerError, PgBouncer, Postgres

DEAD = 12_000


def served(**settings: str) -> Postgres:
    """Make a server of the test's own, or skip where there is no program."""
    try:
        return Postgres(**settings)
    except NoServerError as error:
        pytest.skip(str(error))


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
    url: str, other: "psycopg.Connection[tuple[object, ...]]"
) -> None:
    """Many rows changed and nobody may vacuum: both are found."""
    store = PostgresStore(url, "default", Settings())
    for _ in range(DEAD // 1_000):
        store.enqueue_now(new_id(), [new_job() for _ in range(1_000)])
    store.close_now()
    name = url.partition("?schema=")[2]
    other.execute(f"set search_path = {name}".encode())
    other.execute("alter table treadle_jobs set (autovacuum_enabled = off)")
    for _ in range(2):
        other.execute("update treadle_jobs set progress = null")
    # A session hands its figures over at its next end of a transaction a second later, or now.
    other.execute("select pg_stat_force_next_flush()")
    found = look(url)
    assert found["dead rows of the hot table"].level is Level.WARNING
    assert found["autovacuum of the hot table"].level is Level.WARNING


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
    named = {"synchronous_standby_names": "b", "synchronous_commit": "on"}
    assert judge_standbys(named, 0, sees=False).level is Level.UNSEEN
    assert judge_standbys(named, 1, sees=True).level is Level.OK
