"""All stores side by side: one walk of random verbs over all features, and the same answers.

Where the other models ask each store whether it keeps the rules of one feature, this one has no
rules: SQLite, PostgreSQL and Redis are given the same verbs by the same clock, and whatever one of
them says, the others say, too. Keys, gates, tenants, schedules, locks, holds, moves, rescue and
control meet each other. What is a store's own is told in `store.contract`: there the walk looks
away, or does not go.
"""

import asyncio
import secrets
from pathlib import Path
from typing import Final

import pytest

from tests.model.side_control import Control, Moves, Outside, Reads
from tests.model.side_steps import Line, Workers
from tests.model.sides import START, WORKERS, Sides
from treadle.core.clock import MovedClock
from treadle.core.settings import Settings
from treadle.store.contract import Store
from treadle.store.open import open_store

STEPS: Final = 120
QUICK: Final = 3
"""The walks of the default suite, one of each kind; they are a third shorter."""
SLOW: Final = pytest.mark.slow


class Walk:
    """The stores, and one random walk over all of them."""

    def __init__(self, stores: list[Store], clock: MovedClock, seed: int) -> None:
        self.sides = Sides(stores, clock, seed)
        self.line, self.workers = Line(self.sides), Workers(self.sides)
        self.control, self.outside = Control(self.sides), Outside(self.sides)
        self.moves, self.reads = Moves(self.sides), Reads(self.sides)
        self.steps = {
            self.line.add: 28, self.line.claim: 28, self.line.settle: 40, self.line.again: 3,
            self.line.exchange_again: 4, self.line.note: 6, self.line.mark: 4,
            self.workers.leave: 2, self.workers.beat: 3, self.workers.die: 2,
            self.workers.time: 16, self.workers.ready: 3, self.control.control: 16,
            self.control.tenant: 3, self.control.gate: 6, self.control.numbers: 4,
            self.outside.lock: 5, self.outside.hold: 10, self.outside.start: 3,
            self.outside.fire: 9, self.moves.move: 4, self.reads.read: 8,
        }  # fmt: skip

    async def go(self) -> None:
        """Take all steps."""
        walked: list[str] = []
        try:
            for side in self.sides.sides:
                await side.store.open()
            for name in WORKERS:
                await self.workers.come(name)
            for _ in range(STEPS if self.sides.seed >= QUICK else 2 * STEPS // 3):
                await self.sides.pass_time(0.001)
                [step] = self.sides.draw.choices(list(self.steps), list(self.steps.values()))
                walked.append(step.__name__)
                await step()
                await self.reads.compare()
        except AssertionError as error:
            error.add_note(f"at step {len(walked)}, {walked[-1:]}")
            raise
        finally:
            for side in self.sides.sides:
                await side.store.close()


@pytest.mark.parametrize(
    "seed", [*range(QUICK), *(pytest.param(n, marks=SLOW) for n in range(QUICK, 60))]
)
def test_every_store_says_the_same(
    seed: int, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Whatever is done in whatever order, the three stores answer alike after each step."""
    clock, own = MovedClock(START + seed * 1_000), f"model_{secrets.token_hex(6)}"
    urls = (f"sqlite:///{tmp_path / 'jobs.db'}", postgres_url, redis_url)
    stores = [open_store(url, own, Settings(), clock) for url in urls]
    asyncio.run(stores[1].migrate())
    asyncio.run(Walk(stores, clock, seed).go())
