"""Exchanges that set out early: what may happen while one is on its way to a server.

Whole workers on real servers, behind a proxy that holds answers up. Half of the buffer is still
to be run when the next exchange sets out, so jobs start and end beside it.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.worker.floor import until
from treadle import JobState, Treadle
from treadle.core.lanes import Demand
from treadle.core.outcome import Settlement
from treadle.core.settings import load_settings
from treadle.store.contract import Exchanged, Filter, Store
from treadle.store.open import open_store
from treadle.testing.proxy import Proxy
from treadle.worker.worker import Worker

STORES: Final = ("redis", "postgres")
SLOTS: Final = 8
JOBS: Final = 3_000
PAGE: Final = 1_000


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest) -> str:
    """Give the URL of each server store in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


class Far:
    """An application whose worker reaches the server through a proxy, and what it did."""

    def __init__(self, app: Treadle, beside: Store, proxy: Proxy) -> None:
        self.app = app
        self.beside = beside
        self.proxy = proxy
        self.worker = Worker(app, concurrency=SLOTS, burst=True)
        self.ran: Counter[int] = Counter()
        """How often the code of each job has run."""
        self.asking = False
        """Whether an exchange that brings claims is on its way."""
        self.beside_it = 0
        """How many jobs have started while one was."""
        self.then: Callable[[], None] = lambda: None
        """Called by each job that starts while an exchange is on its way."""

    def run(self, number: int) -> None:
        """Do what a job does here."""
        self.ran[number] += 1
        if self.asking:
            self.beside_it += 1
            self.then()

    def watch(self) -> None:
        """Note from now on whether an exchange that wants many jobs is on its way."""
        really = self.app.store.exchange

        async def exchange(
            worker: str,
            request: bytes,
            settlements: Sequence[Settlement],
            demand: Demand | None,
            *,
            now: int | None = None,
        ) -> Exchanged:
            self.asking = demand is not None and demand.total > 2 * SLOTS
            try:
                return await really(worker, request, settlements, demand, now=now)
            finally:
                self.asking = False

        self.app.store.exchange = exchange  # type: ignore[method-assign]

    async def states(self) -> Counter[tuple[JobState, int]]:
        """Count the jobs by state and attempt, as the server has them."""
        found: Counter[tuple[JobState, int]] = Counter()
        before = None
        while page := await self.beside.find(Filter(), limit=PAGE, before=before):
            found.update((record.state, record.attempt) for record in page)
            before = page[-1].id
        return found


@asynccontextmanager
async def far(url: str) -> AsyncIterator[Far]:
    """Store a backlog of tiny jobs and put a worker behind a proxy."""
    parts = urlsplit(url)
    assert parts.port is not None, "the test servers' URLs name their port"
    namespace = f"ahead_{secrets.token_hex(4)}"
    beside = open_store(url, namespace, load_settings({}, {}))
    await beside.migrate()
    await beside.open()
    with Proxy(parts.port) as proxy:
        through = url.replace(f":{parts.port}", f":{proxy.port}")
        app = Treadle(through, namespace=namespace, settings={"store_timeout": 3.0})
        one = Far(app, beside, proxy)

        @app.task(name="tiny")
        async def tiny(number: int) -> None:
            one.run(number)

        await tiny.aenqueue_many((number,) for number in range(JOBS))
        one.watch()
        try:
            yield one
        finally:
            await app.aclose()
            await beside.close()


def scene(test: Callable[[Far], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    """Run a test on each server."""

    @wraps(test)
    def run(server: str) -> None:
        async def main() -> None:
            async with far(server) as one:
                await test(one)

        asyncio.run(main())

    del run.__wrapped__  # pytest would look for its arguments
    return run


@scene
async def test_jobs_run_while_the_next_ones_are_asked_for(one: Far) -> None:
    """A worker does not stand still for the server: many jobs start beside an exchange."""
    one.proxy.delay(0.02)
    async with one.worker as worker:
        await worker.wait()
    assert one.beside_it > JOBS // 8
    assert set(one.ran.values()) == {1}
    assert await one.states() == {(JobState.SUCCEEDED, 1): JOBS}


@scene
async def test_a_stop_while_an_exchange_is_on_its_way_starts_nothing_more(one: Far) -> None:
    """What it brings goes back unspent; what ran is settled, once."""
    ran_at_stop = 0

    def stop() -> None:
        nonlocal ran_at_stop
        if not ran_at_stop:
            one.worker.stop()
            ran_at_stop = sum(one.ran.values())

    one.then = stop
    one.proxy.delay(0.02)
    async with one.worker as worker:
        await worker.wait()
    ran = len(one.ran)
    assert 0 < ran_at_stop <= ran <= ran_at_stop + SLOTS
    assert set(one.ran.values()) == {1}
    assert await one.states() == {(JobState.SUCCEEDED, 1): ran, (JobState.READY, 0): JOBS - ran}


@scene
async def test_a_store_that_goes_away_during_an_exchange_is_asked_the_same_again(one: Far) -> None:
    """Its buffer runs on meanwhile; no job runs twice and every end is written."""
    away = asyncio.Event()

    def lose() -> None:
        if not away.is_set():
            one.proxy.lose_answers()
            away.set()

    async def come_back() -> None:
        await away.wait()
        await until(lambda: not one.asking)
        one.proxy.heal()

    one.then = lose
    healer = asyncio.create_task(come_back())
    async with one.worker as worker:
        await worker.wait()
    await healer
    assert set(one.ran.values()) == {1}
    assert await one.states() == {(JobState.SUCCEEDED, 1): JOBS}
