"""What the conformance tests stand on: a case, workers played by hand, and jobs to order.

A `Case` opens the stores that a test needs and closes them all; `scenario` runs a test
written as a coroutine, so that no plugin for asyncio is needed; a `Hand` is a worker
without a loop or threads, which does one verb at a time. Time stands still until a test
moves `case.clock`. Nothing here asserts: what a verb promises is said in the tests.
"""
# ruff: noqa: ANN401 -- the keywords are those of NewJob and WorkerInfo, which check them.

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, Self

import pytest

from treadle.core.clock import MovedClock
from treadle.core.decide import Rules, decide
from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import Claim, ErrorInfo, JobRecord, NewJob, Orphan
from treadle.core.lanes import Demand, Step
from treadle.core.outcome import Outcome, Settlement, Verdict
from treadle.core.retry import JobPolicy
from treadle.store.contract import BATCH_MAX, Beaten, Exchanged, Store, WorkerInfo

SCENARIO_MAX_S: Final = 100.0
"""How long a scenario may take before it fails rather than hangs."""
LEASE_S: Final = 15
"""The lease of a worker played by hand, in seconds."""
SUSPECT_S: Final = 5
"""How long a worker whose lease ended is watched before it is rescued (the default)."""
ANY_LIMIT: Final = BATCH_MAX
ERROR: Final = ErrorInfo("ValueError", "no such order", "Traceback ...")

P = ParamSpec("P")


class MakeStore(Protocol):
    """The fixture that a store's maker provides."""

    def __call__(self, namespace: str = "default") -> Store:
        """Make a store, not yet opened; each call reaches the same jobs where it can."""
        ...


class Case:
    """One test's stores and clock."""

    store: Store

    def __init__(self, make_store: MakeStore, clock: MovedClock) -> None:
        self.clock = clock
        self.make = make_store
        self._opened: list[Store] = []

    async def __aenter__(self) -> Self:
        """Open the store under test."""
        self.store = await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every store that the test opened, the last one first."""
        while self._opened:
            await self._opened.pop().close()

    async def open(self, namespace: str = "default") -> Store:
        """Open a store of its own connections, as another process would."""
        store = self.make(namespace)
        self._opened.append(store)
        await store.open()
        return store

    async def other(self) -> Store:
        """Open a second store on the same jobs; the same one where nothing can be shared."""
        return await self.open() if self.store.features.shared else self.store

    @property
    def now(self) -> int:
        """The case's wall clock, in microseconds."""
        return self.clock.wall()

    async def enqueue(self, *jobs: NewJob) -> list[bytes]:
        """Enqueue these jobs in batches and return their ids."""
        for start in range(0, len(jobs), BATCH_MAX):
            await self.store.enqueue(new_id(), jobs[start : start + BATCH_MAX])
        return [job.id for job in jobs]

    async def add(self, count: int = 1, **fields: Any) -> list[bytes]:
        """Enqueue `count` jobs that are alike and return their ids."""
        return await self.enqueue(*(new_job(**fields) for _ in range(count)))

    async def job(self, job_id: bytes) -> JobRecord:
        """Read a job that must be there."""
        [record] = await self.store.get([job_id])
        assert record is not None, f"the store has no job {job_id.hex()}"
        return record

    async def states(self, ids: Sequence[bytes]) -> list[str]:
        """Read the states of these jobs; `gone` for those the store does not have."""
        return [record.state if record else "gone" for record in await self.store.get(ids)]

    async def worker(self, name: str = "w1", *, store: Store | None = None, **info: Any) -> Hand:
        """Register a worker that lives in this process."""
        hand = Hand(store or self.store, worker_info(name, **info))
        await hand.register()
        return hand


class Hand:
    """A worker played by hand: it does one verb of the contract at a time."""

    def __init__(self, store: Store, info: WorkerInfo) -> None:
        self.store = store
        self.info = info
        self.name = info.id

    async def register(self) -> None:
        """Make the worker known and beat once, so that it may rescue."""
        await self.store.register(self.info)
        await self.beat()

    async def exchange(
        self,
        settlements: Sequence[Settlement] = (),
        demand: Demand | None = None,
        request: bytes | None = None,
    ) -> Exchanged:
        """Settle and claim under a new request id, or under the one given."""
        return await self.store.exchange(self.name, request or new_id(), settlements, demand)

    async def claim(self, limit: int = 1, *queues: str) -> list[Claim]:
        """Claim at most `limit` jobs, from every queue or from these in their order."""
        return list((await self.exchange(demand=take(limit, *queues))).claims)

    async def settle(self, *settlements: Settlement) -> list[Verdict]:
        """Settle and claim nothing."""
        return list((await self.exchange(settlements)).verdicts)

    async def finish(self, claim: Claim, outcome: Outcome) -> Verdict:
        """Settle one claim as this outcome decides."""
        [verdict] = await self.settle(settlement(claim, outcome))
        return verdict

    async def beat(self, *held: Claim) -> Beaten:
        """Beat, holding these claims."""
        return await self.store.beat(self.name, [(claim.id, claim.number) for claim in held])

    async def rescue(self, limit: int = ANY_LIMIT) -> list[Orphan]:
        """Look once for the jobs of dead workers."""
        return list(await self.store.rescue(self.name, limit))

    async def rescue_in_two_looks(self, clock: MovedClock) -> list[Orphan]:
        """Look, let the watching time go by with a beat of its own, and look again."""
        first = await self.rescue()
        clock.move(SUSPECT_S + 0.1)
        await self.beat()
        return first + await self.rescue()


@pytest.fixture
def case(make_store: MakeStore, clock: MovedClock) -> Case:
    """Give each test its own stores and clock."""
    return Case(make_store, clock)


def scenario(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test written as a coroutine, with its case open, within a bounded time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(play(*args, **kwargs))

    async def play(*args: P.args, **kwargs: P.kwargs) -> None:
        case = kwargs["case"]
        assert isinstance(case, Case), "a scenario takes the fixture `case`"
        async with asyncio.timeout(SCENARIO_MAX_S), case:
            await test(*args, **kwargs)

    return run


def new_job(**fields: Any) -> NewJob:
    """Make a job with a new id; only what a test is about has to be said."""
    return NewJob(new_id(), **({"task": "shop.mail", "args": b"[[],{}]"} | fields))


def worker_info(
    name: str,
    **fields: Any,
) -> WorkerInfo:
    """Describe a worker; as long as the tests run, its process does."""
    said: dict[str, Any] = {
        "host": platform.node(),
        "pid": os.getpid(),
        "queues": None,
        "slots": 16,
        "lease": LEASE_S * SECOND,
    }
    return WorkerInfo(id=name, **(said | fields))


def take(limit: int, *queues: str) -> Demand:
    """Ask for `limit` jobs: of every queue, merged, or of these queues in their order."""
    names: tuple[str | None, ...] = queues or (None,)
    return Demand(limit, tuple(Step(name, limit) for name in names))


def settlement(claim: Claim, outcome: Outcome, rules: Rules | None = None) -> Settlement:
    """Decide as a worker does, without jitter."""
    policy = JobPolicy(jitter=False)
    return decide(claim, outcome, policy, rules or Rules(), draw=lambda: 0.0)


def ids_of(claims: Sequence[Claim]) -> list[bytes]:
    """Give the ids of these claims, in order."""
    return [claim.id for claim in claims]
