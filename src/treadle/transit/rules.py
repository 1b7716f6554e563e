"""What is known of jobs goes before them: weights of tenants, what holds gates shut, starts.

All is there before the first job that it is about. What people have set in the other store
stands: somebody did there, or the same move before. What has started in sliding windows is added
to what has started there, each start once.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from treadle.core import fault
from treadle.core.gates.gate import FOREVER, WINDOW, GateUse
from treadle.store.paging import by_name
from treadle.transit.patience import patiently

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateRecord
    from treadle.store.contract import Store


async def take_along(source: Store, target: Store, move: str) -> None:
    """Set there what was set here, and let count there what has started here, a page at a time.

    Raises:
        StoreUnavailable: a store was away for too long.
    """
    await _weights(source, target)
    async for gate in _gates(source):
        if gate.is_set or gate.shut_until is not None:
            await _gate(gate, target)
        await _starts(gate, source, target, move)


async def follow(source: Store, target: Store, move: str) -> None:
    """Let count there what has started here since, while jobs were moved.

    Raises:
        StoreUnavailable: a store was away for too long.
    """
    async for gate in _gates(source):
        await _starts(gate, source, target, move)


async def _weights(source: Store, target: Store) -> None:
    every = by_name(lambda after, limit: patiently(source.tenants, after=after, limit=limit))
    async for tenant in every:
        if not await patiently(target.tenants, only=tenant.name, limit=1):
            await patiently(target.set_tenant, tenant.name, tenant.stride)


def _gates(source: Store) -> AsyncIterator[GateRecord]:
    return by_name(lambda after, limit: patiently(source.gates, after=after, limit=limit))


async def _starts(gate: GateRecord, source: Store, target: Store, move: str) -> None:
    """Take along what has started in a window; one that is open and has all its room has none."""
    if gate.kind != WINDOW or gate.room >= gate.quota:
        return
    starts = await patiently(source.moving.starts, gate.name)
    if starts is not None:
        await patiently(target.moving.receive, starts, move)
        fault.point("move.after_starts")


async def _gate(gate: GateRecord, target: Store) -> None:
    there = await patiently(target.gates, only=gate.name, limit=1)
    if gate.is_set and not (there and there[0].is_set):
        use = GateUse(gate.name, gate.kind, 1, gate.quota, gate.period, gate.burst)
        # A gate that bounds something else there stays as it is.
        await patiently(target.set_gate, use)
    if gate.shut_until is None:
        return
    # The stores' clocks may differ: it is shut for as long as it would be by this machine's.
    left = gate.shut_until - time.time_ns() // 1_000
    if gate.shut_until == FOREVER or left > 0:
        delay = None if gate.shut_until == FOREVER else left
        await patiently(target.shut_gate, gate.name, delay=delay, note=gate.note)
