"""The doctor on Redis servers that are set badly on purpose: each finding is seen."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.conformance.looks import look, losing
from tests.conformance.own_redis import needs_program
from tests.conformance.test_redis_places import low_port
from treadle import LockLost, LockTimeout, Treadle
from treadle.store.findings import Level
from treadle.store.redis.doctor import Answers, judge
from treadle.store.redis.engine.address import read_address
from treadle.testing.servers import Redis

pytestmark = needs_program

RIGHTS = ("resetchannels", "~{treadle:*", "&{treadle:*", "+@all", "-@dangerous")
WAIT_S = 15.0


@pytest.fixture
def server() -> Iterator[Redis]:
    """Run a server whose settings lose nothing."""
    with Redis("--appendfsync", "always") as server:
        yield server


@pytest.fixture
def client(server: Redis) -> Iterator[Any]:
    """Give a client of that server."""
    with redis.Redis(port=server.port) as client:
        yield client


def test_a_sound_server_loses_nothing(server: Redis) -> None:
    """The settings of the guide: no finding is worse than a note."""
    found = look(server.url)
    assert {f.level for f in found.values()} <= {Level.OK, Level.NOTE}
    assert found["appendfsync"].found == "always"
    assert found["clock"].level is Level.OK


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--maxmemory-policy", "allkeys-lru"), "maxmemory-policy", "allkeys-lru"),
        (("--appendonly", "no"), "appendonly", "no snapshots"),
        (("--appendonly", "no", "--save", "900", "1"), "appendonly", "changes since"),
        (("--appendfsync", "no"), "appendfsync", "no"),
    ],
)
def test_settings_that_lose_jobs(words: tuple[str, ...], name: str, value: str) -> None:
    """Each is found by its name and its value, and says what to do."""
    with Redis(*words) as server:
        found = look(server.url)
    assert losing(found) == {name}
    assert value in found[name].found
    assert "CONFIG SET" in found[name].advice


@pytest.mark.parametrize(
    ("setting", "value", "name", "level"),
    [
        ("appendfsync", "everysec", "appendfsync", Level.NOTE),
        ("no-appendfsync-on-rewrite", "yes", "no-appendfsync-on-rewrite", Level.WARNING),
        ("maxmemory", "1mb", "maxmemory", Level.WARNING),
        ("maxmemory", "512mb", "maxmemory", Level.OK),
        ("maxmemory-policy", "volatile-lru", "maxmemory-policy", Level.WARNING),
        ("maxmemory-policy", "volatile-ttl", "maxmemory-policy", Level.WARNING),
        ("maxmemory-policy", "noeviction", "maxmemory-policy", Level.OK),
    ],
)
def test_settings_that_cost_something(
    server: Redis,
    client: Any,  # noqa: ANN401
    setting: str,
    value: str,
    name: str,
    level: Level,
) -> None:
    """They are told, and are no reason to fail."""
    client.config_set(setting, value)
    found = look(server.url)
    assert (found[name].level, losing(found)) == (level, set())


def test_a_full_server_that_deletes_what_expires_forgets_a_lock(
    server: Redis,
    client: Any,  # noqa: ANN401
) -> None:
    """What the doctor warns of happens: a job stays, and a held lock is taken a second time."""
    client.config_set("maxmemory-policy", "volatile-ttl")
    finding = look(server.url)["maxmemory-policy"]
    assert "a lock gets two holders" in finding.means
    assert "noeviction" in finding.advice
    first, second = Treadle(server.url), Treadle(server.url)
    job = first.enqueue("elsewhere")
    held, other = first.lock("till").acquire(), second.lock("till", timeout=0)
    with pytest.raises(LockTimeout):
        other.acquire()
    client.config_set("maxmemory", "1mb")
    with pytest.raises(redis.OutOfMemoryError):
        for _ in range(1_000):  # As long as it is at deleting, it takes writes.
            client.set("more", "x")
    client.config_set("maxmemory", "0")
    with other, pytest.raises(LockLost):
        held.release()
    assert second.job(job.id).state == "ready"
    first.close()
    second.close()


def test_a_replica_that_is_not_online_yet(server: Redis, client: Any) -> None:  # noqa: ANN401
    """One that the primary has not sent its copy to is found by its address and state."""
    client.config_set("repl-diskless-sync", "yes")
    client.config_set("repl-diskless-sync-delay", "60")
    with Redis("--replicaof", "127.0.0.1", str(server.port)) as replica:
        deadline = time.monotonic() + WAIT_S
        while client.info("replication")["connected_slaves"] == 0:
            assert time.monotonic() < deadline
        lag = look(server.url)["replica lag"]
        assert lag.level is Level.WARNING
        assert f"127.0.0.1:{replica.port} wait_bgsave" in lag.found
        # One that is still synchronising puts a polite end off.
        replica.kill()


def test_a_primary_whose_replica_may_be_behind(server: Redis, client: Any) -> None:  # noqa: ANN401
    """Failover is told for what it is; a primary that may be cut off unseen loses jobs."""
    with Redis("--replicaof", "127.0.0.1", str(server.port)) as replica:
        deadline = time.monotonic() + WAIT_S
        while client.info("replication")["connected_slaves"] == 0:
            assert time.monotonic() < deadline
        assert losing(look(server.url)) == {"min-replicas-to-write"}
        client.config_set("min-replicas-to-write", "1")
        found = look(server.url)
        assert losing(found) == set()
        assert "a failover can lose" in found["replicas"].means
        seen = look(replica.url)
        assert losing(seen) == {"role"}
        assert f"replica of 127.0.0.1:{server.port}" in seen["role"].found
        # One that is still synchronising puts a polite end off.
        replica.kill()


def test_a_server_that_cannot_write_its_snapshot(server: Redis, client: Any) -> None:  # noqa: ANN401
    """A folder that is gone: the failed write is found."""
    client.set("a", "b")
    (server.folder / "dump.rdb").mkdir()
    with pytest.raises(redis.RedisError):
        client.save()
    client.bgsave()
    deadline = time.monotonic() + WAIT_S
    while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
        assert time.monotonic() < deadline
    assert look(server.url)["rdb_last_bgsave_status"].level is Level.WARNING


def test_a_user_who_may_not_look_is_told_so(server: Redis, client: Any) -> None:  # noqa: ANN401
    """With the rights of the guide INFO and CONFIG are refused: unseen, never well."""
    client.execute_command("ACL", "SETUSER", "shop", "on", ">s3cr3t", *RIGHTS)
    found = look(f"redis://shop:s3cr3t@127.0.0.1:{server.port}/0")
    unseen = {name for name, finding in found.items() if finding.level is Level.UNSEEN}
    assert unseen == {
        "memory, persistence, replication",
        "appendfsync, save, min-replicas-to-write",
    }
    assert "maxmemory-policy" not in found
    client.execute_command("ACL", "SETUSER", "shop", "+info", "+config|get")
    assert not [f for f in look(f"redis://shop:s3cr3t@127.0.0.1:{server.port}/0").values()
                if f.level is Level.UNSEEN]  # fmt: skip


def test_a_single_url_to_a_node_of_a_cluster() -> None:
    """The slot is named, a cluster without all of its slots is found, and so is the URL."""
    port = low_port()
    words = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    with Redis(*words, port=port) as server, redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        deadline = time.monotonic() + WAIT_S
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
        found = look(f"redis+cluster://127.0.0.1:{port}")
        assert found["cluster slot"].found == str(client.execute_command(
            "CLUSTER", "KEYSLOT", "{treadle:default}"))  # fmt: skip
        assert found["cluster_state"].level is Level.OK
        assert look(server.url)["url"].level is Level.WARNING


def test_what_a_server_says_of_trouble_with_its_files() -> None:
    """Failed writes of the append-only file lose jobs; a failed rewrite and a slow disk warn."""
    info = {
        "aof_enabled": "1", "aof_last_write_status": "err", "aof_last_bgrewrite_status": "err",
        "aof_delayed_fsync": "3", "role": "master", "connected_slaves": "1",
        "slave0": "ip=10.0.0.2,port=6379,state=online,offset=1,lag=40",
    }  # fmt: skip
    answers = Answers(
        hello={"version": "7.2.4"}, info=info, config=None, slot=None, cluster=None, schema=1
    )
    found = {f.name: f.level for f in judge(answers, read_address("redis://10.0.0.1"), 0.0)}
    assert found["aof_last_write_status"] is Level.LOSES
    assert found["aof_last_bgrewrite_status"] is Level.WARNING
    assert found["aof_delayed_fsync"] is Level.NOTE
    assert found["replica lag"] is Level.WARNING
    assert found["tls"] is Level.NOTE
