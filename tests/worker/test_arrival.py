"""A worker that starts before its store: it waits, says so, and begins when the store is there."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator

import psycopg
import pytest
import redis

from tests.conformance.own_redis import needs_program
from treadle import StoreError, StoreUnavailable, Treadle, Worker
from treadle.core.settings import Settings
from treadle.events import Event
from treadle.store.postgres.store import PostgresStore
from treadle.testing.proxy import Proxy
from treadle.testing.servers import Postgres, Redis
from treadle.worker.life.arrival import Arrival
from treadle.worker.life.health import Health

WAIT_S = 25.0
QUICK = Settings(beat=0.5, store_timeout=2.0, poll=0.2, lease=5.0)

Server = Postgres | Redis


def prepared(server: Server) -> Server:
    """Make what a worker needs on the server, which ends again."""
    server.start()
    if isinstance(server, Postgres):
        store = PostgresStore(server.url, "default", QUICK)
        store.migrate_now()
        store.close_now()
    server.end()
    return server


@pytest.fixture(params=[pytest.param("redis", marks=needs_program), "postgres"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server of the test's own that has all that a worker needs, and is away."""
    made: Server = Postgres() if request.param == "postgres" else Redis()
    try:
        yield prepared(made)
    finally:
        made.stop()


class Scene:
    """An application with one task, and what its events have told."""

    def __init__(self, url: str) -> None:
        self.app = Treadle(url, settings=QUICK)
        self.app.task(name="add")(self._add)
        self.events: list[Event] = []
        self.greeted = 0
        self._more = asyncio.Event()
        self.app.on_startup(self._greet)
        self.app.on_event(self._take)

    async def _add(self, left: int, right: int) -> int:
        return left + right

    def _greet(self) -> None:
        self.greeted += 1

    def _take(self, event: Event) -> None:
        if event.name in ("worker.well", "worker.unwell", "worker.started"):
            self.events.append(event)
            self._more.set()

    async def until_it_waits(self) -> None:
        """Wait until the worker has said that its store does not answer."""
        await self.until(lambda: bool(self.events))
        assert self.events[0].name == "worker.unwell"

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait for events until this is true."""
        async with asyncio.timeout(WAIT_S):
            while not happened():
                await self._more.wait()
                self._more.clear()

    async def see_it_work(self, worker: Worker, come: Callable[[], object]) -> None:
        """Start a worker, let its store come once it waits for it, and see a job done."""
        entering = asyncio.create_task(worker.__aenter__())
        await self.until_it_waits()
        assert not worker.health.ok
        assert worker.health.problem.startswith("waiting for the store: ")
        assert worker.health.since is not None
        assert not entering.done()
        await asyncio.to_thread(come)
        try:
            await asyncio.wait_for(entering, WAIT_S)
            assert (worker.health.ok, worker.health.problem) == (True, "")
            job = await self.app.named("add").aenqueue(1, 2)
            assert await job.aresult(timeout=WAIT_S) == 3
        finally:
            await worker.__aexit__(None, None, None)
        names = [event.name for event in self.events]
        assert names == ["worker.unwell", "worker.well", "worker.started"]
        assert self.greeted == 1


def test_a_worker_that_starts_before_its_store_begins_when_it_is_there(server: Server) -> None:
    """It says that it waits and for what, runs its hooks once, and works as if nothing had been."""

    async def main() -> None:
        scene = Scene(server.url)
        await scene.see_it_work(Worker(scene.app), server.start)
        await scene.app.aclose()

    asyncio.run(main())


def test_a_standby_that_is_made_the_primary_is_waited_for() -> None:
    """A server in recovery refuses a worker today and may be the primary in a moment."""
    server = Postgres()

    def promote() -> None:
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute("select pg_promote(true, 20)")

    async def main() -> None:
        scene = Scene(server.url)
        worker = Worker(scene.app)
        await scene.see_it_work(worker, promote)
        assert "is in recovery" in (scene.events[0].extra or {})["problem"]
        await scene.app.aclose()

    try:
        prepared(server)
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        asyncio.run(main())
    finally:
        server.stop()


@needs_program
def test_a_server_that_reads_its_files_is_waited_for() -> None:
    """Redis answers while it loads, and says that it does so; the worker waits until it has."""
    server = Redis("--appendonly", "no")
    # It listens to others each 2 MiB: some 80 keys of half of one, a tenth of a second each.
    loading = Redis("--appendonly", "no", "--key-load-delay", "100000", port=server.port)
    loading.folder.rmdir()
    loading.folder = server.folder

    async def main() -> None:
        scene = Scene(server.url)
        await scene.see_it_work(Worker(scene.app), lambda: None)
        await scene.app.aclose()

    try:
        server.start()
        with redis.Redis(port=server.port) as client:
            client.mset({f"other:{n}": os.urandom(500_000) for n in range(80)})
            client.save()
        server.end()
        loading.answers = lambda: _is_loading(server.port)  # type: ignore[method-assign]
        loading.start()
        asyncio.run(main())
    finally:
        loading.end()
        server.stop()


def _is_loading(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.info("persistence")["loading"])
    except redis.ConnectionError:
        return False


def test_a_stop_while_it_waits_is_a_clean_end(server: Server) -> None:
    """`arun` gives 0, `async with` says that it was never started, and neither waits any longer."""

    async def main() -> None:
        scene = Scene(server.url)
        worker = Worker(scene.app)
        running = asyncio.create_task(worker.arun())
        await scene.until_it_waits()
        worker.stop()
        assert await asyncio.wait_for(running, WAIT_S) == 0
        assert worker.health.problem == "it has stopped"
        scene.events.clear()
        again = Worker(scene.app)
        entering = asyncio.create_task(again.__aenter__())
        await scene.until_it_waits()
        again.stop()
        with pytest.raises(StoreUnavailable, match="asked to stop while it waited for its store"):
            await asyncio.wait_for(entering, WAIT_S)
        assert scene.greeted == 0
        await scene.app.aclose()

    asyncio.run(main())


def test_a_stop_does_not_wait_for_a_server_that_never_answers(server: Server) -> None:
    """A connection into nothing, with a patience of an hour, is given up at once."""
    patient = Settings(store_timeout=3_600.0)

    async def main() -> None:
        with server, Proxy(server.port) as proxy:
            proxy.swallow()
            url = server.url.replace(str(server.port), str(proxy.port))
            app = Treadle(url, settings=patient)
            worker = Worker(app)
            running = asyncio.create_task(worker.arun())
            async with asyncio.timeout(WAIT_S):
                while not proxy.accepted:  # noqa: ASYNC110 -- set by a thread
                    await asyncio.sleep(0.01)
                worker.stop()
                assert await running == 0
                await app.aclose()

    asyncio.run(main())


def test_a_burst_does_not_wait(server: Server) -> None:
    """Whoever calls it waits for its end, and learns at once that there is no store."""
    app = Treadle(server.url, settings=QUICK)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
        Worker(app, burst=True).run()
    app.close()


def test_a_server_without_tables_ends_the_start() -> None:
    """Nobody but a person migrates PostgreSQL: the command is named at once."""
    server = Postgres()
    with server:
        app = Treadle(server.url, settings=QUICK)
        with pytest.raises(StoreError, match="treadle migrate"):
            Worker(app).run()
        app.close()


def test_the_wait_is_said_once_however_often_it_tries(caplog: pytest.LogCaptureFixture) -> None:
    """One line at its beginning and one at its end, which counts the tries."""
    tries = 0

    async def step() -> str:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise StoreUnavailable("nobody listens there", passing=True)
        return "there"

    async def main() -> str:
        arrival = Arrival(Health(), asyncio.Event(), patient=True)
        return await arrival.until_done(step)

    with caplog.at_level(logging.INFO, "treadle.worker"):
        assert asyncio.run(main()) == "there"
    said = [record.getMessage() for record in caplog.records]
    assert said[0].endswith("nobody listens there")
    assert "after 3 tries" in said[1]
    assert len(said) == 2


def test_what_somebody_has_to_mend_is_not_waited_for() -> None:
    """It is raised at the first try."""

    async def step() -> None:
        raise StoreUnavailable("the password is wrong")

    async def main() -> None:
        await Arrival(Health(), asyncio.Event(), patient=True).until_done(step)

    with pytest.raises(StoreUnavailable, match="the password is wrong"):
        asyncio.run(main())
