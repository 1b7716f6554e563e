"""Keys and holds on Redis that the server itself deletes when their time is over, not before."""

import secrets
from typing import Any

import pytest
import redis

from treadle.core.clock import MovedClock
from treadle.core.durations import HOUR, SECOND
from treadle.core.gates.gate import GateUse
from treadle.core.ids import new_id
from treadle.core.keys.key import Conflict, Key, Until
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.store.redis.keys import key
from treadle.testing.conformance.gates.kit import places, rate
from treadle.testing.conformance.kit import Case, MakeStore, case, new_job, scenario

__all__ = ["case"]

OWN = secrets.token_hex(6)


@pytest.fixture
def make_store(redis_url: str, clock: MovedClock) -> MakeStore:
    """Make stores in the test's namespace."""

    def make(namespace: str = "default") -> Store:
        return open_store(redis_url, f"{namespace}_{OWN}", Settings(), clock)

    return make


@scenario
async def test_a_key_of_a_time_does_not_expire_with_who_waits_behind(
    case: Case, redis_url: str
) -> None:
    """Its hash has an expiry only while nobody waits: else the server would forget him with it."""
    client: Any = redis.Redis.from_url(redis_url)
    name = key(f"default_{OWN}", "key", "k")
    # By the server's clock, as in production: by another one nothing expires.
    by_server = open_store(redis_url, f"default_{OWN}", Settings())
    with client:
        await by_server.open()
        await by_server.enqueue(new_id(), [new_job(key=Key("k", Until.TIME, hold=HOUR))])
        assert client.pttl(name) > 0
        await (await case.worker()).claim()
        behind = new_job(key=Key("k", conflict=Conflict.REPLACE))
        await by_server.enqueue(new_id(), [behind])
        await by_server.close()
        assert await case.states([behind.id]) == ["blocked"]
        assert client.pttl(name) == -1
        case.clock.move(2 * HOUR / SECOND)
        await case.store.prune(100)
        await case.store.stage([], 10)
        assert await case.states([behind.id]) == ["ready"]


@pytest.mark.parametrize(("use", "line"), [(places(quota=2), "holds"), (rate(burst=2), "passed")])
@scenario
async def test_a_short_lease_does_not_take_a_long_one_along(
    case: Case, redis_url: str, use: GateUse, line: str
) -> None:
    """Holds of one gate are one key, which stays for as long as the longest of them."""
    client: Any = redis.Redis.from_url(redis_url)
    name = key(f"default_{OWN}", line, use.name)
    with client:
        assert (await case.store.hold_take(use, b"a" * 16, 10 * HOUR)).is_held
        assert (await case.store.hold_take(use, b"b" * 16, 10 * SECOND)).is_held
        assert await case.store.hold_renew(use.name, b"b" * 16, 10 * SECOND)
        assert client.pttl(name) > 10 * HOUR / 1_000
