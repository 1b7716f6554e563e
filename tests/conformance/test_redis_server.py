"""What only a server of the test's own can show: it dies, fills up, forgets, and shuts its door."""

import asyncio
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.conformance.own_redis import needs_program
from treadle.core.durations import SECOND
from treadle.core.errors import SchemaMismatch, SettingsError, StoreError, StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.job import JobState, NewJob
from treadle.core.outcome import Failed, Outcome, Settlement, Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.contract import Note, Store
from treadle.store.open import open_store
from treadle.store.redis.keys import FAMILIES, FIXED, base_key
from treadle.testing.conformance.kit import (
    ERROR,
    Hand,
    new_job,
    settlement,
    take,
    worker_info,
)
from treadle.testing.servers import Redis, free_port

pytestmark = [needs_program, pytest.mark.slow]

PATIENCE_S = 3.0
MORE_S = 30.0
SECRET = "s3cr3t-w0rd"  # noqa: S105 -- of a server that lives for one test


def store_of(url: str, namespace: str = "default", **settings: Any) -> Store:  # noqa: ANN401
    """Make a store by the server's own clock."""
    return open_store(url, namespace, Settings(**({"store_timeout": PATIENCE_S} | settings)))


@pytest.fixture
def server() -> Iterator[Redis]:
    """Run a server that syncs every write."""
    with Redis("--appendfsync", "always") as server:
        yield server


@pytest.fixture
def client(server: Redis) -> Iterator[Any]:
    """Give a client of that server."""
    client = redis.Redis(port=server.port)
    yield client
    client.close()


async def _worker(store: Store, name: str = "w1") -> Hand:
    hand = Hand(store, worker_info(name))
    await hand.register()
    return hand


async def _drain(worker: Hand, until: asyncio.Event) -> int:
    """Settle and claim until told and nothing is left; the same request goes out until answered."""
    settled, request = 0, new_id()
    batch: list[Settlement] = []
    ending = until.is_set()
    while True:
        try:
            answer = await worker.exchange(batch, take(20), request)
        except StoreUnavailable:
            await asyncio.sleep(0.02)
            # The answer may be of the first time that it was sent, thus no newer than `ending`.
            continue
        request, ended, ending = new_id(), ending, until.is_set()
        if answer.gone:
            batch = []
            await worker.register()
            continue
        settled += sum(verdict is Verdict.APPLIED for verdict in answer.verdicts)
        batch = [settlement(claim, Succeeded(b"1")) for claim in answer.claims]
        if not batch and ended and not answer.more:
            return settled
        await asyncio.sleep(0)


def test_scripts_that_were_flushed_are_loaded_again_under_load(server: Redis, client: Any) -> None:  # noqa: ANN401
    """SCRIPT FLUSH at any moment costs a round trip, never a job."""

    async def scene() -> int:
        store, done = store_of(server.url), asyncio.Event()
        await store.open()
        worker = await _worker(store)
        drained = asyncio.create_task(_drain(worker, done))
        for _ in range(40):
            await store.enqueue(new_id(), [new_job() for _ in range(10)])
            client.script_flush()
        done.set()
        settled = await drained
        await store.close()
        return settled

    assert asyncio.run(scene()) == 400


def test_a_killed_server_loses_nothing_that_it_acknowledged(server: Redis) -> None:
    """With appendfsync always: every job that was answered for is there, and settled once."""

    async def scene() -> None:
        store, enough, done = store_of(server.url), asyncio.Event(), asyncio.Event()
        await store.open()
        worker = await _worker(store)
        drained = asyncio.create_task(_drain(worker, done))
        ids: list[bytes] = []

        async def produce() -> None:
            while not enough.is_set():
                request, jobs = new_id(), [new_job() for _ in range(5)]
                try:
                    await store.enqueue(request, jobs)
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
                    continue
                ids.extend(job.id for job in jobs)
                await asyncio.sleep(0)

        produced = asyncio.create_task(produce())
        for kills in range(5):
            async with asyncio.timeout(MORE_S):
                while len(ids) < 20 * (kills + 1):  # noqa: ASYNC110 -- grows beside this
                    await asyncio.sleep(0.01)
            if kills < 4:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
        enough.set()
        await produced
        # Only now: an enqueue that is on its way may be carried out behind the drain's last look.
        done.set()
        await drained
        found = await store.get(ids)
        assert len(ids) > 50
        assert {record and record.state for record in found} == {JobState.SUCCEEDED}
        assert {record and record.attempt for record in found} == {1}
        await store.close()

    asyncio.run(scene())


def test_a_server_that_comes_back_empty_is_begun_anew() -> None:
    """Without persistence: the worker is told that it is gone, registers again, and goes on."""

    async def scene(server: Redis) -> None:
        store = store_of(server.url)
        await store.open()
        worker = await _worker(store)
        [job] = [new_job()]
        await store.enqueue(new_id(), [job])
        [claim] = await worker.claim()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        answer = await worker.exchange([settlement(claim, Succeeded(b"1"))], take(5))
        assert (answer.gone, list(answer.verdicts)) == (True, [Verdict.LOST])
        assert (await worker.beat(claim)).gone
        assert list(await store.get([job.id])) == [None]
        await worker.register()
        await store.enqueue(new_id(), [new_job()])
        assert len(await worker.claim()) == 1
        await store.close()

    with Redis("--appendonly", "no") as server:
        asyncio.run(scene(server))


def test_a_full_server_refuses_new_jobs_and_still_settles(server: Redis, client: Any) -> None:  # noqa: ANN401
    """With noeviction: enqueue says what is wrong; all the rest of the line goes on."""

    async def scene() -> None:
        store = store_of(server.url)
        await store.open()
        worker = await _worker(store)
        jobs = [new_job() for _ in range(30)]
        await store.enqueue(new_id(), jobs)
        claims = await worker.claim(20)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.enqueue(new_id(), [new_job()])
        await worker.register()
        await worker.beat(*claims)
        kinds: list[Outcome] = [
            Succeeded(b"1"),
            Failed(ERROR, delay=3_600 * SECOND),  # Not due again while this goes on.
            Failed(ERROR, retryable=False),
        ]
        batch = [settlement(claim, kinds[n % 3]) for n, claim in enumerate(claims)]
        answer = await worker.exchange(batch, take(20))
        assert set(answer.verdicts) == {Verdict.APPLIED}
        assert len(answer.claims) == 10
        assert await store.stage([], 100) >= 0
        late = await _worker(store, "late")
        assert await store.leave(worker.name) == 10
        assert len(await late.claim(20)) == 10
        await store.cancel([jobs[0].id, jobs[25].id])
        await store.pause("default")
        await store.resume("default")
        client.config_set("maxmemory", "0")
        assert await store.enqueue(new_id(), [new_job()]) == [JobState.READY]
        await store.close()

    asyncio.run(scene())


@pytest.mark.parametrize("login", ["", ":wrong@", "somebody:wrong@"])
def test_a_wrong_password_is_refused_clearly_and_never_shown(login: str) -> None:
    """It is no outage that passes: the error says what to correct, without the secret."""
    with Redis("--requirepass", SECRET) as server:
        place = f"127.0.0.1:{server.port}"
        with pytest.raises(StoreError, match="password") as caught:
            store_of(f"redis://{login}{place}/0").open_now()
        assert isinstance(caught.value, StoreUnavailable)
        assert not caught.value.passing
        assert "wrong" not in str(caught.value)
        store = store_of(f"redis://:{SECRET}@{place}/0")
        store.open_now()
        store.close_now()
        assert SECRET not in repr(store)


def test_a_user_with_the_rights_of_the_guide_can_do_everything(server: Redis, client: Any) -> None:  # noqa: ANN401
    """And one without them is told which to ask for."""
    rights = ("resetchannels", "~{treadle:*", "&{treadle:*", "+@all", "-@dangerous")
    client.execute_command("ACL", "SETUSER", "shop", "on", f">{SECRET}", *rights)
    client.execute_command("ACL", "SETUSER", "guest", "on", f">{SECRET}", "~other", "+@all")

    async def scene() -> None:
        store = store_of(f"redis://shop:{SECRET}@127.0.0.1:{server.port}/0")
        await store.open()
        worker = await _worker(store)
        await store.wait(work=True, ends=True, timeout=0.01)
        await store.enqueue(new_id(), [new_job()])
        assert await store.wait(work=True, ends=True, timeout=PATIENCE_S)
        [claim] = await worker.claim()
        assert await worker.finish(claim, Succeeded(b"1")) is Verdict.APPLIED
        await store.close()

    asyncio.run(scene())
    with pytest.raises(StoreError, match="ACL SETUSER"):
        store_of(f"redis://guest:{SECRET}@127.0.0.1:{server.port}/0").open_now()


def test_an_unreachable_server_is_an_error_in_time_without_secrets() -> None:
    """Nobody listens there: StoreUnavailable within the store's timeout."""
    store = store_of(f"redis://user:{SECRET}@127.0.0.1:{free_port()}/0")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        store.open_now()
    assert time.monotonic() - begun < 3 * PATIENCE_S
    assert SECRET not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        asyncio.run(store.open())
    assert time.monotonic() - begun < 6 * PATIENCE_S


def test_a_silent_server_is_given_up_in_time(server: Redis) -> None:
    """One that takes the call and never answers: the same, and the connection is not used again."""
    store = store_of(server.url, store_timeout=2.0)
    store.open_now()
    assert server.process is not None
    os.kill(server.process.pid, 19)  # SIGSTOP
    begun = time.monotonic()
    try:
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            asyncio.run(store.enqueue(new_id(), [new_job()]))
        with pytest.raises(StoreUnavailable):
            store.enqueue_now(new_id(), [new_job()])
        assert time.monotonic() - begun < Settings().store_timeout
    finally:
        os.kill(server.process.pid, 18)  # SIGCONT
    job = new_job()
    assert store.enqueue_now(new_id(), [job]) == [JobState.READY]
    assert [record and record.id for record in store.get_now([job.id])] == [job.id]
    store.close_now()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hidden@host:port",
        "redis://:hidden@host:99999/0",
        "redis://:hidden@host/nine",
        "redis://:hidden@a,b/0",
        "redis+sentinel://:hidden@host",
        "redis+cluster://:hidden@host/3",
        "redis://:hidden@host/0?speed=9",
        "redis://:hidden@[::1/0",
        "rediss://:hidden@host/0?ssl_ca_certs=no/such/file",
        "redis:hidden",
        "redis+odd://:hidden@host",
    ],
)
def test_a_url_of_a_wrong_form_is_refused_when_the_store_is_made(url: str) -> None:
    """By its form alone, before anything connects, and without its password."""
    with pytest.raises(SettingsError) as caught:
        store_of(url)
    assert "hidden" not in str(caught.value) or url == "redis:hidden"


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the URL's error is the line to type."""
    for name in [name for name in sys.modules if name.startswith("treadle.store.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(SettingsError, match=r'pip install "treadle\[redis\]"'):
        store_of("redis://localhost")


def test_a_replica_is_told_from_its_primary(server: Redis, client: Any) -> None:  # noqa: ANN401
    """Writes to a read-only replica say so, after a few looks for the primary."""
    store = store_of(server.url)
    store.open_now()
    client.replicaof("127.0.0.1", free_port())
    with pytest.raises(StoreUnavailable, match=r"replica"):
        store.enqueue_now(new_id(), [new_job()])
    client.replicaof("NO", "ONE")
    assert store.enqueue_now(new_id(), [new_job()]) == [JobState.READY]
    store.close_now()


def test_a_newer_schema_is_refused(server: Redis, client: Any) -> None:  # noqa: ANN401
    """And nothing is written to it."""
    client.hset(base_key("default"), "version", "99")
    with pytest.raises(SchemaMismatch, match="99"):
        store_of(server.url).open_now()
    assert client.keys("*") == [base_key("default").encode()]


def test_a_look_at_an_empty_namespace_writes_nothing(server: Redis, client: Any) -> None:  # noqa: ANN401
    """Without `create` an unknown namespace is an empty one."""
    store = store_of(server.url)
    store.open_now(create=False)
    assert store.get_now([new_id()]) == [None]
    assert client.keys("*") == []
    store.close_now()


def _named(keys: list[bytes], namespace: str) -> set[str]:
    """Give the names of these keys in the list of keys; an unknown one fails."""
    names = set()
    for raw in keys:
        whole = raw.decode(errors="replace")
        assert whole.startswith(base_key(namespace)), whole
        rest = whole.removeprefix(base_key(namespace)).removeprefix(":")
        name = rest.partition(":")[0]
        assert not rest or name in FIXED or (name in FAMILIES and ":" in rest), whole
        names.add(name)
    return names


def test_every_key_is_in_the_list_and_goes_with_its_jobs(server: Redis, client: Any) -> None:  # noqa: ANN401
    """Types are as listed; after all jobs are pruned only what is bounded by itself is left."""

    async def scene() -> None:
        store = store_of(server.url, "walk")
        await store.open()
        worker, other = await _worker(store), await _worker(store, "w2")
        jobs = [
            new_job(queue=f"q{n % 3}", expires_in=3_600 * SECOND, tenant="a" if n % 2 else None)
            for n in range(9)
        ]
        await store.enqueue(new_id(), jobs)
        await store.enqueue(new_id(), [new_job(delay=60 * SECOND), new_job(task="odd")])
        await store.wait(work=True, ends=True, timeout=0.01)
        [claim, *rest] = await worker.claim(6)
        note = Note(claim.id, claim.number, b"[1,2]", ((1, "info", "text"),))
        await store.note("w1", [note])
        await worker.settle(
            settlement(claim, Failed(ERROR, delay=SECOND)),
            settlement(rest[0], Failed(ERROR, retryable=False)),
            settlement(rest[1], Succeeded(b"1")),
        )
        await other.claim(2)
        seen = client.keys("*")
        assert _named(seen, "walk") >= {
            *("job", "ready", "due", "held", "logs", "attempts", "ended", "turns"),
        }
        for raw in seen:
            name = raw.decode().removeprefix(base_key("walk")).removeprefix(":").partition(":")[0]
            kind = (FIXED | FAMILIES).get(name, ("hash", ""))[0]
            assert client.type(raw).decode() == kind, raw
        for name in ("w1", "w2"):
            await store.leave(name)
        await store.purge("default", limit=100)
        for queue in ("q0", "q1", "q2"):
            await store.purge(queue, limit=100)
        far = time.time_ns() // 1000 + 40 * 86_400 * SECOND
        assert await store.prune(1_000, now=far) == len(jobs) + 2
        left = _named(client.keys("*"), "walk")
        assert left <= {"", "queues", "ears_work", "ears_ends"}
        assert all(client.ttl(k) > 0 for k in client.keys("*ears*"))
        assert {queue.name for queue in await store.queues()} == {"default", "q0", "q1", "q2"}
        await store.close()

    asyncio.run(scene())


def test_two_namespaces_share_no_key(server: Redis, client: Any) -> None:  # noqa: ANN401
    """Each store writes under its own hash tag alone."""
    for namespace in ("one", "one_more"):
        store = store_of(server.url, namespace)
        store.open_now()
        store.enqueue_now(new_id(), [new_job()])
        store.close_now()
    tags = {re.match(r"\{treadle:(\w+)\}", raw.decode()).group(1) for raw in client.keys("*")}  # type: ignore[union-attr]
    assert tags == {"one", "one_more"}


def test_a_child_of_a_fork_opens_its_own_connection(server: Redis) -> None:
    """Parent and child go on side by side, and no answer crosses over."""
    store = store_of(server.url)
    store.open_now()
    parents = [new_job() for _ in range(50)]
    store.enqueue_now(new_id(), parents[:1])
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        children = [new_job() for _ in range(50)]
        for job in children:
            store.enqueue_now(new_id(), [job])
        good = [record and record.id for record in store.get_now([job.id for job in children])]
        os.write(writer, b"1" if good == [job.id for job in children] else b"0")
        os._exit(0)
    for job in parents[1:]:
        store.enqueue_now(new_id(), [job])
    found = store.get_now([job.id for job in parents])
    assert [record and record.id for record in found] == [job.id for job in parents]
    os.waitpid(pid, 0)
    assert os.read(reader, 1) == b"1"
    os.close(reader)
    os.close(writer)
    store.close_now()


def test_a_cancelled_call_leaves_no_answer_for_the_next(server: Redis) -> None:
    """A call that its caller gives up in mid-flight costs its connection, nothing else."""

    async def scene() -> None:
        store = store_of(server.url)
        await store.open()
        jobs = [new_job(meta=secrets.token_hex(8).encode()) for _ in range(200)]
        await store.enqueue(new_id(), jobs)
        for n, job in enumerate(jobs):
            lost = asyncio.ensure_future(store.get([jobs[-1 - n].id]))
            for _ in range(n % 7):
                await asyncio.sleep(0)
            lost.cancel()
            [record] = await store.get([job.id])
            assert record is not None
            assert (record.id, record.meta) == (job.id, job.meta)
        await asyncio.sleep(0)
        await store.close()

    asyncio.run(scene())


def test_many_callers_share_a_bounded_number_of_connections(server: Redis, client: Any) -> None:  # noqa: ANN401
    """Five hundred reads at once, from one loop and from threads, end on at most 32."""

    async def scene() -> None:
        store = store_of(server.url, store_timeout=20)
        await store.open()
        job: NewJob = new_job()
        await store.enqueue(new_id(), [job])
        reads = [store.get([job.id]) for _ in range(300)]
        reads += [asyncio.to_thread(store.get_now, [job.id]) for _ in range(200)]
        for answer in await asyncio.gather(*reads):
            assert [record and record.id for record in answer] == [job.id]
        most = client.info("clients")["connected_clients"]
        assert most <= 32 + 1
        await store.close()

    asyncio.run(scene())
