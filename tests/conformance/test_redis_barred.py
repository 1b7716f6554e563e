"""A password or a right that is changed on Redis while a worker runs: its jobs wait for the mend.

Real users on a server of the test's own; what an administrator does is done by a second client.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import redis

from tests.conformance.own_redis import needs_program
from treadle import JobState, Treadle, Worker
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.ids import new_id
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.testing.conformance.kit import new_job
from treadle.testing.servers import Redis

pytestmark = needs_program

SECRET: Final = "s3cr3t-w0rd"  # noqa: S105 -- what no message may show
RIGHTS: Final = ("resetchannels", "~{treadle:*", "&{treadle:*", "+@all", "-@dangerous")
WAIT_S: Final = 20.0


@pytest.fixture
def admin() -> Iterator[Any]:
    """Give a client that may do all, and a user `shop` with the rights of the guide."""
    with Redis() as server, redis.Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", f">{SECRET}", *RIGHTS)
        yield client


def url_of(admin: Any) -> str:  # noqa: ANN401 -- the client's own
    """Give the URL of the user `shop`."""
    port = admin.connection_pool.connection_kwargs["port"]
    return f"redis://shop:{SECRET}@127.0.0.1:{port}/0"


def change(admin: Any, *rules: str) -> None:  # noqa: ANN401 -- the client's own
    """Change the user and end its connections, so that the next call greets anew."""
    admin.execute_command("ACL", "SETUSER", "shop", *rules)
    admin.execute_command("CLIENT", "KILL", "USER", "shop")


CHANGES: Final = {
    "password": (("resetpass", ">another"), ("resetpass", f">{SECRET}"), "user and password"),
    "user": (("off",), ("on",), "user and password"),
    "scripts": (("-@scripting",), ("+@scripting", "-@dangerous"), "ACL SETUSER"),
    "keys": (("-zadd", "-hset", "-set", "-del"), ("+@all", "-@dangerous"), "ACL SETUSER"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_job_that_ends_meanwhile_is_settled_after_the_mend(
    admin: Any,  # noqa: ANN401 -- the client's own
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its worker says what to mend and keeps the success; it is written once, as a success."""
    bar, mend, advice = CHANGES[kind]
    app = Treadle(url_of(admin))
    goes_on = asyncio.Event()

    @app.task(name="work")
    async def work() -> int:
        await goes_on.wait()
        return 7

    async def until(happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not happened():  # noqa: ASYNC110 -- health has no event to wait for
                await asyncio.sleep(0.01)

    async def scenario() -> None:
        job = await work.aenqueue()
        async with Worker(app) as worker:
            await until(lambda: worker.starts == 1)
            change(admin, *bar)
            goes_on.set()
            await until(lambda: advice in worker.health.problem)
            change(admin, *mend)
            assert await job.aresult(WAIT_S) == 7
            await until(lambda: worker.health.ok)
        ended = await job.arefresh()
        assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 1)
        await app.aclose()

    asyncio.run(scenario())
    assert "is sent apart" not in caplog.text
    assert SECRET not in caplog.text


def test_a_worker_does_not_wait_for_a_password_at_its_start(
    admin: Any,  # noqa: ANN401 -- the client's own
) -> None:
    """What somebody has to mend ends a start at once."""
    app = Treadle(url_of(admin))
    change(admin, "resetpass", ">another")

    async def scenario() -> None:
        async with Worker(app):
            pytest.fail("it has started")

    with pytest.raises(StoreError, match="user and password") as caught:
        asyncio.run(scenario())
    assert isinstance(caught.value, StoreUnavailable)
    assert not caught.value.passing


def test_an_enqueue_refused_half_way_is_not_told_as_stored(admin: Any) -> None:  # noqa: ANN401 -- the client's own
    """A right that a later write of its script lacks: the caller is told, not that it is ready."""
    store = open_store(url_of(admin), "default", Settings())
    store.open_now()
    # A server that does not know the script yet is asked in another way.
    store.enqueue_now(new_id(), [new_job(tenant="a")])
    change(admin, "-zadd")
    with pytest.raises(StoreUnavailable, match="ACL SETUSER"):
        store.enqueue_now(new_id(), [new_job(tenant="a")])
