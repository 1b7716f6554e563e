"""Where a Redis may be: behind TLS, behind sentinels, in a cluster of three nodes."""

import asyncio
import contextlib
import random
import secrets
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conformance.certificates import make_certificates
from tests.conformance.looks import look
from tests.conformance.own_redis import needs_program
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.findings import Level
from treadle.store.open import open_store
from treadle.testing.conformance.kit import Hand, new_job, settlement, worker_info
from treadle.testing.servers import Redis

pytestmark = [needs_program, pytest.mark.slow]

PATIENCE_S = 5.0
FORM_S = 60.0
FAILOVER_S = 60.0
CALM_S = 60.0
"""How long a primary may be silent while nobody has killed it."""


def store_of(url: str, namespace: str = "default") -> Store:
    """Make a store by the server's own clock."""
    return open_store(url, namespace, Settings(store_timeout=PATIENCE_S))


async def line(store: Store) -> None:
    """Send one job down the whole line, and hear of it."""
    await store.open()
    worker = Hand(store, worker_info(f"w{secrets.token_hex(4)}"))
    await worker.register()
    await store.wait(work=True, ends=True, timeout=0.05)
    job = new_job(args=b'["' + b"x" * 200_000 + b'"]')
    await store.enqueue(new_id(), [job])
    assert await store.wait(work=True, ends=True, timeout=PATIENCE_S)
    [claim] = await worker.claim()
    assert claim.args == job.args
    assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED
    assert not (await worker.beat()).gone
    assert [r and r.state for r in await store.get([job.id])] == [JobState.SUCCEEDED]
    assert [r and r.state for r in await asyncio.to_thread(store.get_now, [job.id])] == [
        JobState.SUCCEEDED
    ]
    await store.close()


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two authorities, and a certificate for localhost signed by the first."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


class Door:
    """A TLS door before a server that has none: what stunnel is to many a Redis."""

    def __init__(self, port: int, folder: Path) -> None:
        self._to = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "host.pem", folder / "host.key")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._closed = threading.Event()
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            ready, _, _ = select.select([self._listener], [], [], 0.05)
            if ready:
                raw, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(raw,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(raw.close)
            try:
                inner = stack.enter_context(self._context.wrap_socket(raw, server_side=True))
            except (OSError, ssl.SSLError):
                return
            outer = stack.enter_context(socket.create_connection(("127.0.0.1", self._to)))
            with contextlib.suppress(OSError):
                self._pass_on(inner, outer)

    def _pass_on(self, inner: ssl.SSLSocket, outer: socket.socket) -> None:
        while not self._closed.is_set():
            ready = [inner] if inner.pending() else select.select([inner, outer], [], [], 0.05)[0]
            for source in ready:
                data = source.recv(65_536)
                if not data:
                    return
                (outer if source is inner else inner).sendall(data)

    def close(self) -> None:
        """Close the door and end its threads."""
        self._closed.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()


@pytest.fixture
def door(redis_url: str, certificates: Path) -> Iterator[Door]:
    """Put a TLS door before the session's server."""
    door = Door(int(redis_url.rpartition(":")[2].partition("/")[0]), certificates)
    yield door
    door.close()


def test_the_doctor_tells_whether_the_certificate_is_checked(
    door: Door, certificates: Path
) -> None:
    """Encrypted by somebody whom nobody asked who he is: a warning."""
    url = f"rediss://localhost:{door.port}/0"
    assert look(f"{url}?ssl_cert_reqs=none")["tls"].level is Level.WARNING
    assert look(f"{url}?ssl_ca_certs={certificates}/ours.pem")["tls"].level is Level.OK


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_tls_with_the_right_authority_carries_the_line(
    door: Door, certificates: Path, host: str
) -> None:
    """Large payloads, waits and sync calls included."""
    url = f"rediss://{host}:{door.port}/0?ssl_ca_certs={certificates}/ours.pem"
    asyncio.run(line(store_of(url, f"tls_{secrets.token_hex(6)}")))


@pytest.mark.parametrize("options", ["", "?ssl_ca_certs={folder}/theirs.pem"])
def test_tls_with_another_authority_is_refused(
    door: Door, certificates: Path, options: str
) -> None:
    """The error names what to give, and it is not taken for an outage."""
    url = f"rediss://localhost:{door.port}/0{options.format(folder=certificates)}"
    with pytest.raises(StoreError, match="ssl_ca_certs") as caught:
        store_of(url).open_now()
    assert isinstance(caught.value, StoreUnavailable)
    assert not caught.value.passing


def test_tls_to_a_server_without_it_is_refused(redis_url: str) -> None:
    """A plain server answers no handshake; the call ends in time."""
    begun = time.monotonic()
    with pytest.raises(StoreError):
        store_of(redis_url.replace("redis://", "rediss://")).open_now()
    assert time.monotonic() - begun < 3 * PATIENCE_S


# Sentinels


class Sentinel(Redis):
    """A sentinel that watches one primary."""

    def __init__(self, primary: Redis) -> None:
        super().__init__()
        (self.folder / "sentinel.conf").write_text(
            f"port {self.port}\n"
            f"sentinel monitor shop 127.0.0.1 {primary.port} 2\n"
            f"sentinel down-after-milliseconds shop {1000 * CALM_S:.0f}\n"
            "sentinel failover-timeout shop 3000\n"
        )

    def wake(self) -> None:
        """Take the primary for dead soon from here on, not after a moment in which all stand still.

        On a busy machine such a moment would be a failover before there is anything to see.
        """
        with redis.Redis(port=self.port) as client:
            client.sentinel_set("shop", "down-after-milliseconds", 500)

    def command(self) -> list[str]:
        """Run the server as a sentinel."""
        return [super().command()[0], str(self.folder / "sentinel.conf"), "--sentinel"]


def until(happened: Any, seconds: float) -> None:  # noqa: ANN401 -- any question
    """Ask until the answer is yes."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.mark.timeout(240)
def test_a_failover_by_sentinels_is_followed() -> None:
    """The primary dies, a replica takes its place, and calls go on there by themselves."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(Redis())
        replica = stack.enter_context(Redis("--replicaof", "127.0.0.1", str(primary.port)))
        sentinels = [stack.enter_context(Sentinel(primary)) for _ in range(3)]
        ask = stack.enter_context(redis.Redis(port=sentinels[0].port))
        until(
            lambda: (
                (found := ask.sentinel_master("shop"))["num-other-sentinels"] == 2
                and found["num-slaves"] == 1
            ),
            FORM_S,
        )
        copy = stack.enter_context(redis.Redis(port=replica.port))
        until(lambda: copy.info("replication")["master_link_status"] == "up", FORM_S)
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        url = f"redis+sentinel://{places}/shop/0"
        asyncio.run(line(store_of(url)))
        store = store_of(url)
        store.open_now()
        job = new_job()
        store.enqueue_now(new_id(), [job])
        until(lambda: copy.exists("{treadle:default}:job:" + job.id.hex()), FORM_S)
        primary.kill()
        for sentinel in sentinels:
            sentinel.wake()
        request, after, begun = new_id(), new_job(), time.monotonic()
        while True:
            try:
                store.enqueue_now(request, [after])
                break
            except StoreUnavailable:
                assert time.monotonic() - begun < FAILOVER_S
        found = store.get_now([job.id, after.id])
        assert [record and record.state for record in found] == [JobState.READY] * 2
        store.close_now()
        asyncio.run(line_of_two(store_of(url)))


async def line_of_two(store: Store) -> None:
    """Drain the two jobs that are there."""
    await store.open()
    worker = Hand(store, worker_info("after"))
    await worker.register()
    claims = await worker.claim(5)
    assert len(claims) == 2
    verdicts = await worker.settle(*(settlement(claim, Succeeded(b"1")) for claim in claims))
    assert verdicts == [Verdict.APPLIED] * 2
    await store.close()


def test_sentinels_that_do_not_know_the_name_say_so() -> None:
    """A wrong name in the URL is told from an outage by its words."""
    with Redis() as primary, Sentinel(primary) as sentinel:
        store = store_of(f"redis+sentinel://127.0.0.1:{sentinel.port}/other")
        with pytest.raises(StoreUnavailable, match="knows no primary 'other'"):
            store.open_now()


# A cluster


def low_port() -> int:
    """Find a free port whose cluster bus, 10,000 above it, is free as well.

    Both lie below those that systems give to whoever connects (from 32,768 on): a connection of
    anybody's could take one of them before the node does.
    """
    draw = random.Random()  # noqa: S311 -- guards nothing
    for _ in range(1_000):
        port = draw.randrange(11_000, 22_000)
        with socket.socket() as one, socket.socket() as two, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 10_000))
            return port
    raise AssertionError("no two free ports 10,000 apart")


def _is_whole(client: Any) -> bool:  # noqa: ANN401 -- the client has no types for this
    said = client.cluster("INFO")
    return bool(said["cluster_state"] == "ok" and int(said["cluster_known_nodes"]) == 3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[Redis]]:
    """Run a cluster of three nodes that share all slots."""
    with contextlib.ExitStack() as stack:
        words = ("--cluster-enabled", "yes")
        nodes = [stack.enter_context(Redis(*words, port=low_port())) for _ in range(3)]
        clients = [stack.enter_context(redis.Redis(port=node.port)) for node in nodes]
        for number, client in enumerate(clients):
            first, last = number * 5_462, min(16_383, number * 5_462 + 5_461)
            client.execute_command("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            if number:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        for client in clients:
            until(partial(_is_whole, client), FORM_S)
        yield nodes


@pytest.mark.parametrize("seed", range(3))
def test_each_namespace_lives_on_its_node(cluster: list[Redis], seed: int) -> None:
    """Whichever node the URL names: the store finds the one that holds its slot."""
    for _ in range(3):
        url = f"redis+cluster://127.0.0.1:{cluster[seed].port}"
        asyncio.run(line(store_of(url, f"n{secrets.token_hex(6)}")))
    plain = f"redis://127.0.0.1:{cluster[seed].port}/0"
    asyncio.run(line(store_of(plain, f"n{secrets.token_hex(6)}")))


def test_a_slot_that_is_handed_over_is_followed(cluster: list[Redis]) -> None:
    """An empty namespace whose slot is on its way: asked of the new node, then found there."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(redis.Redis(port=node.port)) for node in cluster]
        names = [str(client.execute_command("CLUSTER", "MYID"), "ascii") for client in clients]
        namespace = f"moving_{secrets.token_hex(4)}"
        slot = int(clients[0].execute_command("CLUSTER", "KEYSLOT", f"{{treadle:{namespace}}}"))
        source = slot // 5_462
        target = (source + 1) % 3
        clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        url = f"redis+cluster://127.0.0.1:{cluster[source].port}"
        asyncio.run(line(store_of(url, namespace)))
        for client in (clients[target], clients[source]):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        asyncio.run(line(store_of(url, namespace)))
        assert clients[target].execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) > 0
        assert clients[source].execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == 0
