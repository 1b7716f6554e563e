"""Bad input on PostgreSQL: each wrong thing is an error that says what it is and what to do."""

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conformance.certificates import make_certificates
from tests.conformance.greeting import Greeting
from treadle.core.errors import SettingsError, StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import new_job
from treadle.testing.servers import Postgres

PASSWORD = "s3cr3t-and-more"  # noqa: S105 -- what no message may show
SHORT = Settings(store_timeout=2.0)


def served(**settings: str) -> Postgres:
    """Make a server of the test's own, or skip where there is no program."""
    return Postgres(**settings)


def refusal(
    url: str,
    act: Callable[[PostgresStore], object] = PostgresStore.open_now,
    *,
    passing: bool = False,
) -> str:
    """Give what a store says, which is no password, and the same on both faces of `open`.

    `passing` is whether it may end by itself: then a worker that starts waits for it.
    """
    store = PostgresStore(url, "default", SHORT)
    try:
        with pytest.raises(StoreUnavailable) as caught:
            act(store)
        if act is PostgresStore.open_now:
            with pytest.raises(StoreUnavailable) as again:
                asyncio.run(store.open())
            assert PASSWORD not in str(again.value)
    finally:
        store.close_now()
    assert PASSWORD not in str(caught.value)
    assert caught.value.passing is passing
    return str(caught.value)


@pytest.fixture(scope="module")
def locked() -> Iterator[Postgres]:
    """Run a server that asks for passwords, with one user that has one."""
    with served() as server:
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute(f"create role shop login password '{PASSWORD}x'".encode())
            db.execute("create role treadle_admin login superuser")
        server.end()
        hba = server.folder / "hba.conf"
        hba.write_text(
            "host all treadle 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        server.settings["hba_file"] = str(hba)
        server.start()
        yield server


def at(server: Postgres, login: str, database: str = "postgres", query: str = "") -> str:
    """Write a URL."""
    return f"postgresql://{login}@127.0.0.1:{server.port}/{database}{query}"


class TestWhoAsks:
    """A user or a password that the server does not know."""

    def test_a_wrong_password(self, locked: Postgres) -> None:
        """The URL is to be checked."""
        assert "the password is wrong" in refusal(at(locked, f"shop:{PASSWORD}"))

    def test_no_password(self, locked: Postgres) -> None:
        """The server wants one."""
        assert "the password is wrong" in refusal(at(locked, "shop"))

    def test_an_unknown_user_where_passwords_are_asked_for(self, locked: Postgres) -> None:
        """The server does not tell it from a wrong password."""
        assert "the password is wrong" in refusal(at(locked, f"nobody:{PASSWORD}"))

    def test_an_unknown_user_where_none_are(self, postgres_url: str) -> None:
        """The role is named."""
        said = refusal(postgres_url.replace("treadle@", f"nobody_known:{PASSWORD}@"))
        assert "refuses this user" in said
        assert 'role "nobody_known" does not exist' in said

    def test_a_user_that_no_rule_lets_in(self, locked: Postgres) -> None:
        """The server's own file of rules is named."""
        hba = locked.folder / "hba.conf"
        before = hba.read_text()
        hba.write_text("host all treadle 127.0.0.1/32 trust\n")
        try:
            with psycopg.connect(locked.url, autocommit=True) as db:
                db.execute("select pg_reload_conf()")
            assert "pg_hba.conf" in refusal(at(locked, f"shop:{PASSWORD}"))
        finally:
            hba.write_text(before)
            with psycopg.connect(locked.url, autocommit=True) as db:
                db.execute("select pg_reload_conf()")

    def test_a_url_without_a_database(self, locked: Postgres) -> None:
        """The user's name is taken for it, and the error says which one that was."""
        url = f"postgresql://treadle:{PASSWORD}@127.0.0.1:{locked.port}"
        said = refusal(url)
        assert "database 'treadle'" in said
        assert "no such database" in said


class TestRights:
    """A user who may connect, and not do what the work needs."""

    @pytest.fixture
    def guest(self, postgres_url: str, postgres_schema: str) -> Iterator[str]:
        """Give the URL of a user without any right in the test's schema."""
        name = postgres_schema.partition("?schema=")[2]
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute(f"create schema if not exists {name}".encode())
            db.execute(f"create role guest_{name} login".encode())
            yield f"{postgres_url.replace('treadle@', f'guest_{name}@')}?schema={name}"
            db.execute(f"drop owned by guest_{name} cascade".encode())
            db.execute(f"drop role guest_{name}".encode())

    def test_nothing_may_be_made(self, guest: str) -> None:
        """`migrate` names the right that is missing, and makes nothing."""
        said = refusal(guest, PostgresStore.migrate_now)
        assert "lacks a right" in said
        assert "create on the schema" in said

    def test_nothing_may_be_read_or_written(
        self, guest: str, postgres_url: str, postgres_schema: str
    ) -> None:
        """Opening needs to read; with that alone an enqueue names what is missing."""
        owner = PostgresStore(postgres_schema, "default", SHORT)
        owner.migrate_now()
        owner.close_now()
        name = postgres_schema.partition("?schema=")[2]
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute(f"grant usage on schema {name} to guest_{name}".encode())
            assert "lacks a right" in refusal(guest)
            db.execute(f"grant select on all tables in schema {name} to guest_{name}".encode())

        def enqueue(store: PostgresStore) -> object:
            store.open_now()
            return store.enqueue_now(new_id(), [new_job()])

        assert "all on treadle's tables" in refusal(guest, enqueue)


class TestServers:
    """A server that cannot carry a store."""

    def test_a_standby(self) -> None:
        """A real one in recovery, which takes readers: it says what it is."""
        with served() as server:
            store = PostgresStore(server.url, "default", SHORT)
            store.migrate_now()
            store.close_now()
            server.end()
            (server.folder / "data" / "standby.signal").touch()
            server.start()
            assert "is in recovery" in refusal(server.url, passing=True)

    def test_a_user_who_may_only_read(self, postgres_schema: str) -> None:
        """The setting is named, because it may be the user's alone."""
        url = f"{postgres_schema}&options=-c%20default_transaction_read_only%3Don"
        assert "default_transaction_read_only" in refusal(url, passing=True)

    def test_no_connection_is_left(self) -> None:
        """The server's limit is named, and the store works once there is room again."""
        with served(max_connections="5", superuser_reserved_connections="0") as server:
            store = PostgresStore(server.url, "default", SHORT)
            store.migrate_now()
            store.close_now()
            with contextlib.ExitStack() as stack:
                for _ in range(5):
                    stack.enter_context(psycopg.connect(server.url))
                said = refusal(server.url, passing=True)
                assert "raise max_connections or use a pooler" in said
            store.open_now()
            store.close_now()

    @pytest.mark.parametrize("version", ["12.22", "9.6.24"])
    def test_a_server_that_is_too_old(self, version: str) -> None:
        """Its greeting is enough: nothing that it does not know is sent to it."""
        with Greeter(version) as greeter:
            said = refusal(f"postgresql://shop:{PASSWORD}@127.0.0.1:{greeter.port}/shop")
        assert f"is version {version.partition('.')[0]}; treadle needs 13 or later" in said
        assert greeter.asked == 0


class Greeter(Greeting):
    """A server that lets everybody in, greets as this version, and can do nothing else."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.asked = 0
        super().__init__()

    def greet(self, peer: socket.socket) -> None:
        """Let a client in and say which version this is; count what comes after that."""
        while True:
            (length,) = struct.unpack("!i", peer.recv(4, socket.MSG_WAITALL))
            (code,) = struct.unpack("!i", peer.recv(length - 4, socket.MSG_WAITALL)[:4])
            if code == 196_608:  # Protocol 3.0; what comes before asks for TLS or GSSAPI.
                break
            peer.sendall(b"N")
        said = b"server_version\0" + self._version.encode() + b"\0"
        peer.sendall(_message(b"R", b"\0\0\0\0") + _message(b"S", said) + _message(b"Z", b"I"))
        # Only a farewell may come.
        self.asked += bool(peer.recv(1) not in (b"", b"X"))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


class TestUrls:
    """What is wrong with a URL is told before anything connects."""

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            (f"postgres+psycopg://u:{PASSWORD}@host/db", "write memory://, sqlite:///"),
            (f"postgresl://u:{PASSWORD}@host/db", "is not a store"),
            (f"postgresql:/u:{PASSWORD}@host/db", "is not a store"),
            (f"postgresql://u:{PASSWORD}@host:99999/db", "a port is a number from 1 to 65535"),
            (f"postgresql://u:{PASSWORD}@host:0/db", "a port is a number from 1 to 65535"),
            (f"postgresql://u:{PASSWORD}@host/db?schema=Big", "small letters"),
            (f"postgresql://u:{PASSWORD}@host/db?speed=9", "its form is wrong"),
        ],
    )
    def test_a_wrong_one(self, url: str, said: str) -> None:
        """The error says which part, and never the password."""
        with pytest.raises(SettingsError, match=said) as caught:
            open_store(url, "default", SHORT)
        assert PASSWORD not in str(caught.value)

    def test_a_missing_package_is_named_with_its_cure(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the extra the URL's error is the line to type."""
        for name in [name for name in sys.modules if name.startswith("treadle.store.postgres")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(SettingsError, match=r'pip install "treadle\[postgres\]"') as caught:
            open_store(f"postgresql://u:{PASSWORD}@host/db", "default", SHORT)
        assert PASSWORD not in str(caught.value)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Path]]:
    """Run a server with a certificate for localhost, signed by `ours`."""
    folder = make_certificates(tmp_path_factory.mktemp("tls"))
    with contextlib.ExitStack() as stack:
        server = served()
        stack.callback(server.stop)
        for name in ("host.pem", "host.key"):
            there = server.folder / name
            there.write_bytes((folder / name).read_bytes())
            there.chmod(0o600)
            if server.user is not None and server.group is not None:
                os.chown(there, server.user, server.group)
        server.settings |= {
            "ssl": "on",
            "ssl_cert_file": str(server.folder / "host.pem"),
            "ssl_key_file": str(server.folder / "host.key"),
        }
        try:
            server.start()
        except RuntimeError as error:
            if "SSL is not supported" not in str(error):
                raise
            pytest.skip("this PostgreSQL was built without TLS")
        yield server, folder


class TestTls:
    """`sslmode` is libpq's, on a real server that speaks TLS."""

    def test_the_right_authority(self, sealed: tuple[Postgres, Path]) -> None:
        """With verify-full the whole line works, and the connection is encrypted."""
        server, folder = sealed
        url = at(server, "treadle", query=f"?sslmode=verify-full&sslrootcert={folder}/ours.pem")
        store = PostgresStore(url, "default", SHORT)
        store.migrate_now()
        store.open_now()
        jobs = [new_job() for _ in range(3)]
        store.enqueue_now(new_id(), jobs)
        assert None not in store.get_now([job.id for job in jobs])
        with psycopg.connect(server.url) as db:
            query = (
                "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) "
                "where ssl and application_name = 'treadle'"
            )
            assert db.execute(query).fetchone() != (0,)
        store.close_now()

    def test_a_wrong_authority(self, sealed: tuple[Postgres, Path]) -> None:
        """A certificate that somebody else signed is refused, and the cure is named."""
        server, folder = sealed
        query = f"?sslmode=verify-full&sslrootcert={folder}/theirs.pem"
        said = refusal(at(server, f"treadle:{PASSWORD}", query=query))
        assert "no TLS" in said
        assert "sslrootcert" in said

    def test_another_host(self, sealed: tuple[Postgres, Path]) -> None:
        """A certificate of another name is refused."""
        server, folder = sealed
        query = f"?sslmode=verify-full&sslrootcert={folder}/ours.pem&hostaddr=127.0.0.1"
        url = at(server, "treadle", query=query).replace("@127.0.0.1", "@db.example.com")
        assert "no TLS" in refusal(url)

    def test_a_file_that_is_not_there(self, sealed: tuple[Postgres, Path]) -> None:
        """The file is named."""
        server, folder = sealed
        query = f"?sslmode=verify-full&sslrootcert={folder}/gone.pem"
        said = refusal(at(server, "treadle", query=query))
        assert "no TLS" in said
        assert "gone.pem" in said

    def test_a_server_without_tls(self, locked: Postgres) -> None:
        """`require` is refused by the name of what is missing."""
        said = refusal(at(locked, f"shop:{PASSWORD}", query="?sslmode=require"))
        assert "no TLS" in said
