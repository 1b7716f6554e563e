"""Turns of tenants near the end of their range, where a score of Redis holds all its 53 bits."""

import secrets

import pytest

from treadle.core.clock import MovedClock
from treadle.core.gates.gate import write_gates
from treadle.core.outcome import Failed, Released
from treadle.core.settings import Settings
from treadle.core.tenants.tenant import TAG_MAX
from treadle.store.contract import Store
from treadle.store.open import open_store
from treadle.testing.conformance.gates.kit import claim as claim_all
from treadle.testing.conformance.gates.kit import finish, places
from treadle.testing.conformance.kit import ERROR, Case, MakeStore, case, ids_of, scenario
from treadle.testing.conformance.tenants.kit import add, turns

__all__ = ["case"]


@pytest.fixture
def make_store(redis_url: str, clock: MovedClock) -> MakeStore:
    """Make stores in namespaces of the test's own."""
    own = secrets.token_hex(6)

    def make(namespace: str = "default") -> Store:
        return open_store(redis_url, f"{namespace}_{own}", Settings(), clock)

    return make


@scenario
async def test_at_the_end_of_the_range_it_is_first_come_first_served(case: Case) -> None:
    """By priority, then by turns while there are some, then by age, over two queues."""
    for name in "ab":
        await case.store.set_tenant(name, TAG_MAX // 2)
    ids: dict[int, list[bytes]] = {}
    for priority in (-100, 100, 0):
        ids[priority] = [
            *await add(case, "a", 6, priority=priority, queue="q1"),
            *await add(case, "b", 6, priority=priority, queue="q2"),
            *await add(case, "c", 2, priority=priority, queue="q1"),
        ]
    worker = await case.worker()
    claims = [claim for _ in range(14) for claim in await worker.claim(4)]
    assert [claim.priority for claim in claims] == [100] * 14 + [0] * 14 + [-100] * 14
    for at, priority in enumerate((100, 0, -100)):
        own = claims[14 * at : 14 * at + 14]
        assert sorted(ids_of(own)) == sorted(ids[priority])
        assert sorted(turns(own)[:6]) == sorted("aabbcc")
        assert ids_of(own)[6:] == [*ids[priority][2:6], *ids[priority][8:12]]


@scenario
async def test_at_the_end_of_the_range_jobs_go_back_park_and_come_again(case: Case) -> None:
    """Handed back, tried again or parked at a gate, each is run; an empty queue begins anew."""
    await case.store.set_tenant("a", TAG_MAX)
    use = places(quota=2)
    ids = await add(case, "a", 8, gates=write_gates([use]))
    worker = await case.worker()
    first = await claim_all(worker)
    assert len(first) == 2
    await worker.finish(first[0], Released())
    await worker.finish(first[1], Failed(ERROR, delay=0))
    ran: list[bytes] = []
    for _ in range(8):
        claims = await claim_all(worker)
        ran += ids_of(claims)
        await finish(worker, *claims)
    assert sorted(ran) == sorted(ids)
    await case.store.set_tenant("a", None)
    await add(case, "a", 3)
    await add(case, "b", 3)
    assert turns(await worker.claim(6)) == "ababab"
