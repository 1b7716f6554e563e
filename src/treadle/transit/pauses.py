"""Pauses of queues and tasks: they go before the jobs, so that none starts over there meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from treadle.core.gates.gate import FOREVER, TASK
from treadle.store.contract import BATCH_MAX
from treadle.transit.patience import patiently

if TYPE_CHECKING:
    from treadle.store.contract import Store


async def carry_pauses(source: Store, target: Store) -> None:
    """Pause in one store what is paused in another, before there is anything to run.

    Raises:
        StoreUnavailable: a store was away for too long.
    """
    for queue in await patiently(source.queues):
        if queue.paused:
            await patiently(target.pause, queue.name)
    after = TASK
    while gates := await patiently(source.gates, after=after, limit=BATCH_MAX):
        for gate in gates:
            if gate.name.startswith(TASK) and gate.shut_until is not None:
                await _pause_task(target, gate.name, gate.shut_until, gate.note)
        after = gates[-1].name
        if not after.startswith(TASK):
            break


async def _pause_task(target: Store, gate: str, until: int, note: str | None) -> None:
    """Pause a task for as long as it is in the other store, by this machine's clock."""
    now = time.time_ns() // 1_000
    delay = None if until == FOREVER else max(0, until - now)
    await patiently(target.shut_gate, gate, delay=delay, note=note)
