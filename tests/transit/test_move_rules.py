"""What `treadle move` takes along of what people have set: weights, pauses of gates, numbers."""

import signal
from typing import Final

import pytest

from tests.transit.houses import Make, move
from treadle.core.durations import SECOND
from treadle.core.gates.gate import FOREVER, PLACES, GateUse
from treadle.store.contract import Store

QUOTA: Final = 7
OTHER: Final = 3
WAYS: Final = [("sqlite", "redis"), ("redis", "postgresql"), ("postgresql", "sqlite")]


async def _set(store: Store) -> None:
    """Set a weight, bound a gate, and shut two of them: for a minute and for good."""
    await store.set_tenant("acme", 500)
    await store.set_gate(GateUse("set", PLACES, quota=QUOTA))
    await store.shut_gate("minute", delay=60 * SECOND, note="they asked for it")
    await store.shut_gate("good")


@pytest.mark.parametrize(("source", "target"), WAYS)
def test_what_was_set_is_there_before_the_first_job(house: Make, source: str, target: str) -> None:
    """A move that is killed with its first page under way has taken it along already."""
    here, there = house(source), house(target)
    here.run(_set)
    here.fill(1, others=0)
    assert move(here, there, fault="move.after_seal:kill@1").returncode == -signal.SIGKILL

    async def look(store: Store) -> None:
        assert [(t.name, t.stride) for t in await store.tenants()] == [("acme", 500)]
        good, minute, numbers = await store.gates()
        assert (good.name, good.shut_until) == ("good", FOREVER)
        assert (numbers.name, numbers.kind, numbers.quota) == ("set", PLACES, QUOTA)
        assert numbers.is_set
        assert (minute.name, minute.note) == ("minute", "they asked for it")
        assert minute.shut_until is not None
        assert minute.opens_at == minute.shut_until

    there.run(look)


def test_what_the_new_store_says_stands(house: Make) -> None:
    """A weight and a number that were set there since are not set back by a second move."""
    here, there = house("sqlite"), house("redis")
    here.run(_set)
    assert move(here, there).returncode == 0

    async def change(store: Store) -> None:
        await store.set_tenant("acme", 100)
        await store.set_gate(GateUse("set", PLACES, quota=OTHER))

    there.run(change)
    assert move(here, there).returncode == 0

    async def look(store: Store) -> None:
        assert [(t.name, t.stride) for t in await store.tenants()] == [("acme", 100)]
        [found] = await store.gates(only="set")
        assert found.quota == OTHER

    there.run(look)
