"""What `treadle move` takes along of what people have set: weights, pauses of gates, numbers."""

import asyncio
import signal
from itertools import product
from typing import Final

import pytest

from tests.transit.houses import KINDS, RUNNABLE, House, Make, move, new_job
from treadle.core.durations import SECOND
from treadle.core.gates.gate import FOREVER, PLACES, WINDOW, GateUse, write_gates
from treadle.core.ids import new_id
from treadle.core.outcome import Succeeded
from treadle.store.contract import Store
from treadle.testing.conformance.kit import Hand, settlement, worker_info
from treadle.transit.moving import Move

QUOTA: Final = 7
OTHER: Final = 3
WAYS: Final = [("sqlite", "redis"), ("redis", "postgresql"), ("postgresql", "sqlite")]
EVERY_WAY: Final = list(product(KINDS, KINDS))
SLIDING: Final = GateUse("api", WINDOW, 1, 4, 3_600 * SECOND, 4)


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


async def _start(store: Store, at_most: int) -> int:
    """Start jobs of the window `api` and end them well; tell how many could start."""
    hand = Hand(store, worker_info(new_id().hex()))
    await hand.register()
    claims = await hand.claim(at_most)
    for claim in claims:
        await hand.settle(settlement(claim, Succeeded(None)))
    return len(claims)


async def _fill(store: Store, count: int) -> None:
    raw = write_gates([SLIDING])
    await store.enqueue(new_id(), [new_job(gates=raw) for _ in range(count)])


async def _moved(here: House, there: House) -> tuple[int, int]:
    """Start three of four, move, start what may, and move again; tell what has started there."""
    async with here.opened() as source, there.opened() as target:
        await _fill(source, 9)
        assert await _start(source, 3) == 3
        await Move(source, target, "m1", int).run()
        first = await _start(target, 9)
        await Move(source, target, "m1", int).run()
        return first, await _start(target, 9)


@pytest.mark.parametrize(("source", "target"), EVERY_WAY)
def test_a_sliding_window_is_not_exceeded_by_a_move(house: Make, source: str, target: str) -> None:
    """What has started in the hour before counts in the new store, once, however often it moves."""
    assert asyncio.run(_moved(house(source), house(target))) == (1, 0)


@pytest.mark.parametrize(("source", "target"), WAYS)
def test_starts_come_along_once_when_a_move_is_killed(
    house: Make, source: str, target: str
) -> None:
    """No job is there before they are; what starts here meanwhile is added by the next move."""
    here, there = house(source), house(target)

    async def begin(store: Store) -> None:
        await _fill(store, 9)
        assert await _start(store, 1) == 1

    async def go_on(store: Store) -> None:
        assert await _start(store, 1) == 1

    async def end(store: Store) -> None:
        assert await _start(store, 9) == 2

    here.run(begin)
    assert move(here, there, fault="move.after_starts:kill@1").returncode == -signal.SIGKILL
    assert there.ids(*RUNNABLE) == set()
    here.run(go_on)
    assert move(here, there, fault="move.after_seal:kill@1").returncode == -signal.SIGKILL
    assert move(here, there).returncode == 0
    there.run(end)
