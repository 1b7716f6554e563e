"""A server that loses all that it had not written down: what a worker was told stays true."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Final

import pytest

from treadle.core.ids import new_id
from treadle.core.outcome import Succeeded, Verdict
from treadle.core.settings import Settings
from treadle.store.postgres.store import PostgresStore
from treadle.testing.conformance.kit import Hand, new_job, worker_info
from treadle.testing.servers import NoServerError, Postgres

TIMEOUT_S: Final = 10.0
TURNS: Final = 3


@pytest.fixture
def server() -> Iterator[Postgres]:
    """Give a server of this test's own."""
    try:
        made = Postgres()
    except NoServerError as error:
        pytest.skip(str(error))
    with made:
        yield made


def hand(server: Postgres, name: str) -> Hand:
    """Give a worker with a store of its own."""
    store = PostgresStore(server.url, "default", Settings(store_timeout=TIMEOUT_S))
    return Hand(store, worker_info(name))


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
def test_a_claim_outlives_the_server(server: Postgres, how: signal.Signals) -> None:
    """A claim that was answered is its worker's after a crash: no other gets it, and it settles."""
    asyncio.run(survive(server, how))


async def survive(server: Postgres, how: signal.Signals) -> None:
    """Claim, end the server at once, and look whose the job is; again and again."""
    ours, other = hand(server, "ours"), hand(server, "other")
    await ours.store.migrate()
    try:
        for _ in range(TURNS):
            await ours.register()
            await other.register()
            await ours.store.enqueue(new_id(), [job := new_job()])
            [claim] = await ours.claim()
            assert claim.id == job.id
            server.end(how)
            server.start()
            assert not await other.claim()
            assert await ours.finish(claim, Succeeded(b"1")) is Verdict.APPLIED
    finally:
        await ours.store.close()
        await other.store.close()
