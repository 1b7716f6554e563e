"""A move between stores that are both alive: producers write here, workers take on both sides."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.transit.houses import RUNNABLE, House, new_job
from treadle.core.ids import new_id
from treadle.core.job import JobState
from treadle.core.outcome import Succeeded
from treadle.store.contract import Store
from treadle.testing.conformance.kit import Hand, settlement, worker_info
from treadle.transit.moving import Move

JOBS: Final = 1_500
BATCH: Final = 25


async def produce(store: Store, ids: list[bytes]) -> None:
    """Enqueue in small batches, while the move is at work."""
    while len(ids) < JOBS:
        jobs = [new_job() for _ in range(BATCH)]
        await store.enqueue(new_id(), jobs)
        ids += [job.id for job in jobs]
        await asyncio.sleep(0)


async def work(store: Store, name: str, starts: Counter[bytes], over: asyncio.Event) -> None:
    """Claim and settle until nothing is left and nothing more will come."""
    hand = Hand(store, worker_info(name))
    await hand.register()
    while True:
        ended = over.is_set()
        claims = await hand.claim(7)
        starts.update(claim.id for claim in claims)
        await hand.settle(*(settlement(claim, Succeeded(b"1", 1)) for claim in claims))
        if ended and not claims:
            break
        await asyncio.sleep(0)
    await store.leave(name)


@pytest.mark.parametrize(("here", "there"), [("sqlite", "redis"), ("redis", "sqlite")])
def test_each_job_runs_once_while_both_sides_live(
    redis_url: str, tmp_path: Path, here: str, there: str
) -> None:
    """Whichever side takes a job, the other never does; none is left, none is lost."""
    homes = {
        "sqlite": House(f"sqlite:///{tmp_path}/jobs.db"),
        "redis": House(redis_url, f"alive_{new_id().hex()}"),
    }
    ids: list[bytes] = []
    starts: Counter[bytes] = Counter()

    async def main() -> None:
        over = asyncio.Event()
        async with (
            asyncio.timeout(25),
            homes[here].opened() as source,
            homes[there].opened() as target,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(work(source, "w1", starts, over))
            group.create_task(work(target, "w2", starts, over))
            produced = group.create_task(produce(source, ids))
            moved = 0
            while not produced.done() or not moved:
                report = await Move(source, target, "m", lambda _: None).run()
                moved += sum(report.moved.values())
            await Move(source, target, "m", lambda _: None).run()
            over.set()

    asyncio.run(main())
    assert starts == Counter(ids)
    for home in homes.values():
        assert home.ids(*RUNNABLE, JobState.BLOCKED, JobState.RUNNING) == set()
