"""Services: the upkeep that every worker does beside its jobs: stage, rescue, prune, fire.

Each is a loop with a bounded step and a bounded rest; any number of workers may run them at
once. A store that is away costs one warning a service and longer rests, never the worker.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from treadle.core.errors import StoreError
from treadle.worker.firing.watch import Watch
from treadle.worker.life.rest import set_within

if TYPE_CHECKING:
    from treadle.core.job import Orphan
    from treadle.store.contract import StoreSession
    from treadle.worker.firing.firing import Firing

_log = logging.getLogger("treadle.worker")

STAGE_MAX = 500
RESCUE_MAX = 500
PRUNE_MAX = 500
STAGE_S = 1.0
RESCUE_S = 1.0
PRUNE_S = 10.0
_REST_MAX_S = 30.0
# A timer may fire up to its resolution early, and a wall clock that is being set right runs
# up to 0.05 % slower than the loop's clock.
_TIMER_S = 0.001
_SLEW = 1.001


class Services:
    """The upkeep loops of one worker."""

    def __init__(
        self,
        store: StoreSession,
        worker: Callable[[], str],
        tasks: Callable[[], Sequence[str]],
        adopt: Callable[[Sequence[Orphan]], None],
        firing: Firing,
    ) -> None:
        """Take the store, the worker's present id, its tasks, who gets orphans, and what fires."""
        self._store = store
        self._worker = worker
        self._tasks = tasks
        self._adopt = adopt
        self._watch = Watch(firing, worker)
        self._fire_now = asyncio.Event()
        self._turn = asyncio.Lock()
        """One loop steps at a time: what each of them asked beside the others, the store would
        have to carry on a connection of its own."""
        self._running: list[asyncio.Task[None]] = []
        self._due = asyncio.Event()
        self._due_timer: asyncio.Handle | None = None
        self._due_at = 0.0

    def start(self) -> None:
        """Start the loops on the running event loop."""
        steps: tuple[tuple[str, Callable[[], Awaitable[bool]], float | None], ...] = (
            ("stage", self.stage, STAGE_S),
            ("rescue", self.rescue, RESCUE_S),
            ("prune", self.prune, PRUNE_S),
            ("fire", self.fire, None),
        )
        self._running = [
            asyncio.create_task(self._loop(name, step, rest), name=f"treadle-{name}")
            for name, step, rest in steps
        ]

    async def stop(self) -> None:
        """End the loops; a step under way is ended between its store calls."""
        if self._due_timer is not None:
            self._due_timer.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running = []

    def due_in(self, delay_us: int) -> None:
        """Stage again in this many microseconds, unless an earlier time is set."""
        loop = asyncio.get_running_loop()
        # A stage that comes too early would find nothing, and then rest for a second.
        at = loop.time() + delay_us / 1e6 * _SLEW + _TIMER_S
        if self._due_timer is not None:
            if self._due_at <= at:
                return
            self._due_timer.cancel()
        self._due_at = at
        self._due_timer = loop.call_at(at, self._stage_now)

    def _stage_now(self) -> None:
        self._due_timer = None
        self._due.set()

    async def stage(self) -> bool:
        """Make due jobs ready; True when there may be more."""
        return await self._store.stage(self._tasks(), STAGE_MAX) >= STAGE_MAX

    async def rescue(self) -> bool:
        """Take over the jobs of dead workers; True when there may be more."""
        orphans = await self._store.rescue(self._worker(), RESCUE_MAX)
        if orphans:
            self._adopt(orphans)
            # Who died may have been on duty for the schedules.
            self._fire_now.set()
        return len(orphans) >= RESCUE_MAX

    async def prune(self) -> bool:
        """Delete what is over; True when there may be more."""
        return await self._store.prune(PRUNE_MAX) >= PRUNE_MAX

    async def fire(self) -> bool:
        """Look at the schedules; when to look again is this worker's duty."""
        await self._watch.step()
        return False

    async def _loop(
        self, name: str, step: Callable[[], Awaitable[bool]], rest_s: float | None
    ) -> None:
        """Step and rest in turn; a step without a rest of its own says how long it is."""
        failed = 0
        while True:
            try:
                async with self._turn:
                    more = await step()
                failed = 0
            except StoreError as error:
                failed += 1
                more = False
                if failed == 1:
                    _log.warning("%s failed and is tried again: %s", name, error)
            except Exception:  # noqa: BLE001 -- a worker without upkeep does harm
                failed += 1
                more = False
                _log.exception("%s met an error of ours and is tried again", name)
            if rest_s is None and not failed:
                left_s = self._watch.at_s - asyncio.get_running_loop().time()
                await _wait(self._fire_now, max(0.0, left_s))
                continue
            # Between two full steps the line gets the store, too.
            rest = 0.001 if more else min((rest_s or 1.0) * (1 << min(failed, 5)), _REST_MAX_S)
            await self._rest(name, rest * (0.5 + 0.5 * random.random()))  # noqa: S311 -- spreads

    async def _rest(self, name: str, seconds: float) -> None:
        if name != "stage":
            await asyncio.sleep(seconds)
            return
        await _wait(self._due, seconds)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Rest so long, or until somebody sets the event."""
    if await set_within(event, seconds):
        event.clear()
