"""Jobs behind gates, to order."""
# ruff: noqa: ANN401 -- the keywords are those of NewJob, which checks them.

from __future__ import annotations

from typing import Any

from treadle.core.durations import SECOND
from treadle.core.gates.gate import (
    BREAKER,
    PLACES,
    RATE,
    WINDOW,
    GateRecord,
    GateUse,
    write_gates,
)
from treadle.core.job import Claim
from treadle.core.outcome import Succeeded
from treadle.testing.conformance.kit import Case, Hand, new_job, take


def places(name: str = "g", quota: int = 1) -> GateUse:
    """Describe a gate that lets so many jobs run at once."""
    return GateUse(name, PLACES, quota=quota)


def rate(
    name: str = "r", quota: int = 1, period: int = SECOND, burst: int = 1, cost: int = 1
) -> GateUse:
    """Describe a gate that lets so many jobs start in a time."""
    return GateUse(name, RATE, cost, quota, period, burst)


def window(name: str = "w", quota: int = 2, period: int = 10 * SECOND, cost: int = 1) -> GateUse:
    """Describe a gate that lets so many jobs start in any such time."""
    return GateUse(name, WINDOW, cost, quota, period, quota)


def breaker(
    name: str = "b", failures: int = 2, window: int = 60 * SECOND, cool_down: int = 10 * SECOND
) -> GateUse:
    """Describe a gate that so many failures in a time shut, for its cool-down."""
    return GateUse(name, BREAKER, 1, failures, window, cool_down)


async def add(case: Case, count: int, *gates: GateUse, **fields: Any) -> list[bytes]:
    """Enqueue jobs behind these gates and return their ids."""
    raw = write_gates(gates)
    return await case.enqueue(*(new_job(gates=raw, **fields) for _ in range(count)))


async def claim(worker: Hand, limit: int = 100) -> list[Claim]:
    """Stage and claim until nothing more comes, as a worker's loop does."""
    found: list[Claim] = []
    for _ in range(1_000):
        await worker.store.stage((), limit)
        answer = await worker.exchange(demand=take(limit))
        found += answer.claims
        if not answer.more and answer.next_due != 0:
            return found
    raise AssertionError("the store says that there is more, for ever")


async def check_due(worker: Hand, above: float, most: float) -> None:
    """Look whether an idle worker is told to come back after a time between these (seconds)."""
    answer = await worker.exchange(demand=take(5))
    assert answer.next_due is not None
    assert above * SECOND < answer.next_due <= most * SECOND


async def finish(worker: Hand, *claims: Claim) -> None:
    """End these claims well."""
    for one in claims:
        await worker.finish(one, Succeeded(None))


async def gate(case: Case, name: str) -> GateRecord:
    """Read a gate that must be there."""
    [found] = await case.store.gates(only=name)
    return found
