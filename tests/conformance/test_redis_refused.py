"""Bad input on Redis: a server of the wrong kind, age or place says what to write instead."""

import asyncio
import socket

import pytest
import redis

from tests.conformance.greeting import Greeting
from tests.conformance.own_redis import needs_program
from tests.conformance.test_redis_places import low_port
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.redis.engine.replies import misplaced
from treadle.testing.servers import Redis

SECRET = "s3cr3t-w0rd"  # noqa: S105 -- what no message may show


def refusal(url: str) -> str:
    """Give what opening a store fails with on both of its faces; it is no outage to wait for."""
    store = open_store(url, "default", Settings(store_timeout=2))
    try:
        with pytest.raises(StoreError) as caught:
            store.open_now()
        with pytest.raises(StoreError) as again:
            asyncio.run(store.open())
    finally:
        store.close_now()
    assert not (isinstance(caught.value, StoreUnavailable) and caught.value.passing)
    assert str(caught.value) == str(again.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


class Old(Greeting):
    """A server that answers every command with the same words, as an old one answers HELLO."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.asked: set[bytes] = set()
        """The command of each packet that came."""
        super().__init__()

    def greet(self, peer: socket.socket) -> None:
        """Say the same to each command."""
        while said := peer.recv(4_096):
            self.asked.add(said.split(b"\r\n")[2])
            peer.sendall(self._answer)


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (b"-ERR unknown command `HELLO`, with args beginning with: \r\n", "older than 6"),
        (b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.0.16\r\n", "6.0.16"),
    ],
)
class TestAge:
    """A server that is too old: its greeting is enough, and one without one is older still."""

    def test_it_is_named_with_what_to_do(self, answer: bytes, version: str) -> None:
        """Whoever opens it reads its age, the age that is needed, and what to do."""
        with Old(answer) as server:
            said = refusal(f"redis://127.0.0.1:{server.port}/0")
        assert f"is Redis {version}; treadle needs 6.2 or later, or Valkey: upgrade" in said

    def test_nothing_is_written_to_it(self, answer: bytes, version: str) -> None:
        """Also `migrate`, which opens nothing first, asks for its age before all else."""
        with Old(answer) as server:
            url = f"redis://127.0.0.1:{server.port}/0"
            store = open_store(url, "default", Settings(store_timeout=2))
            try:
                with pytest.raises(StoreError, match=f"is Redis {version}"):
                    asyncio.run(store.migrate())
            finally:
                store.close_now()
        assert server.asked == {b"HELLO"}


def test_a_server_that_knows_no_users_is_too_old() -> None:
    """It refuses a user's name beside the password, which is no wrong password."""
    with Old(b"-ERR wrong number of arguments for 'auth' command\r\n") as server:
        said = refusal(f"redis://shop:{SECRET}@127.0.0.1:{server.port}/0")
    assert "is Redis older than 6; treadle needs 6.2 or later" in said


@needs_program
class TestPlaces:
    """A URL of one kind that leads to a server of another."""

    def test_a_cluster_url_to_a_plain_server(self) -> None:
        """It would work until the first failover; it is refused with what to write."""
        with Redis() as server:
            said = refusal(f"redis+cluster://127.0.0.1:{server.port}")
        assert "is no node of a cluster; write redis://host:6379/0" in said

    def test_a_plain_url_to_a_sentinel(self) -> None:
        """A sentinel carries no jobs, it knows who does."""
        said = misplaced("server", version="7.0.15", mode="sentinel", name="redis://a:26379/0")
        assert said == "redis://a:26379/0 is a sentinel; write redis+sentinel://host:26379/NAME"

    def test_a_database_of_a_cluster(self) -> None:
        """A cluster has one alone, but for one of Valkey 9, which has as many as it is told."""
        with Redis("--cluster-enabled", "yes", port=low_port()) as server:
            said = refusal(f"redis://127.0.0.1:{server.port}/3")
        alone = "is a cluster, which has the database 0 alone; write redis+cluster://"
        assert alone in said or "has no database of that number" in said

    def test_a_node_that_has_not_the_slot(self) -> None:
        """A cluster with slots that nobody serves is named as what is wrong."""
        with Redis("--cluster-enabled", "yes", port=low_port()) as server:
            store = open_store(
                f"redis+cluster://127.0.0.1:{server.port}", "default", Settings(store_timeout=10)
            )
            with pytest.raises(StoreUnavailable, match="its cluster is down or lacks slots"):
                store.open_now()
            store.close_now()

    def test_a_database_that_the_server_has_not(self) -> None:
        """The number is to be changed, here or there."""
        with Redis() as server:
            assert "has no database of that number" in refusal(f"{server.url}99")

    def test_a_replica(self) -> None:
        """Opening for work writes the schema's version, and a replica takes no writes."""
        with Redis() as server, redis.Redis(port=server.port) as client:
            client.replicaof("127.0.0.1", low_port())
            store = open_store(server.url, "default", Settings(store_timeout=10))
            with pytest.raises(StoreUnavailable, match="replica"):
                store.open_now()
            store.close_now()
            client.replicaof("NO", "ONE")

    def test_an_unknown_user(self) -> None:
        """The same words as for a wrong password, and neither is shown."""
        with Redis("--requirepass", SECRET) as server:
            said = refusal(f"redis://nobody:{SECRET}@127.0.0.1:{server.port}/0")
        assert "does not know this user and password" in said
