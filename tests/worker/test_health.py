"""A worker's health: it says that its store is away, and why, and is well again by itself."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.conformance.own_redis import needs_program
from treadle import Treadle, Worker
from treadle.core.settings import Settings
from treadle.events import Event
from treadle.store.postgres.store import PostgresStore
from treadle.testing.servers import Postgres, Redis

WAIT_S = 25.0
QUICK = Settings(beat=0.1, store_timeout=4.0, poll=0.2, lease=5.0)

Server = Postgres | Redis


@pytest.fixture(params=[pytest.param("redis", marks=needs_program), "postgres"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a server of the test's own, ready for jobs."""
    made: Server = Postgres() if request.param == "postgres" else Redis()
    with made:
        if isinstance(made, Postgres):
            store = PostgresStore(made.url, "default", QUICK)
            store.migrate_now()
            store.close_now()
        yield made


class Told:
    """What the worker's events have told of its health."""

    def __init__(self, app: Treadle) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()
        app.on_event(self._take)

    def _take(self, event: Event) -> None:
        if event.name in ("worker.well", "worker.unwell"):
            self.events.append(event)
            self._more.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait for events until this is true."""
        async with asyncio.timeout(WAIT_S):
            while not happened():
                await self._more.wait()
                self._more.clear()


def test_a_store_that_goes_and_comes_back_is_seen_in_the_health(server: Server) -> None:
    """Unwell with the store's own words and an instant; well again when jobs run again."""
    app = Treadle(server.url, settings=QUICK)

    @app.task(name="add")
    async def add(left: int, right: int) -> int:
        return left + right

    async def scene() -> None:
        told, worker = Told(app), Worker(app)
        assert (worker.health.ok, worker.health.problem) == (False, "it has not been started")
        async with worker:
            assert (worker.health.ok, worker.health.problem, worker.health.since) == (
                True,
                "",
                None,
            )
            began = datetime.now(UTC)
            await asyncio.to_thread(server.kill)
            await told.until(lambda: not worker.health.ok)
            assert "127.0.0.1" in worker.health.problem
            assert worker.health.since is not None
            assert began <= worker.health.since <= datetime.now(UTC)
            assert told.events[0].name == "worker.unwell"
            extra = told.events[0].extra
            assert extra is not None
            assert "127.0.0.1" in extra["problem"]
            assert extra["since"] == worker.health.since
            await asyncio.to_thread(server.start)
            await told.until(lambda: worker.health.ok)
            assert (worker.health.problem, told.events[-1].name) == ("", "worker.well")
            job = await add.aenqueue(1, 2)
            assert await job.aresult(timeout=WAIT_S) == 3
        assert (worker.health.ok, worker.health.problem) == (False, "it has stopped")

    asyncio.run(scene())
    app.close()
