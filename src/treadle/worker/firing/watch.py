"""Watch: one worker's looks at the schedules, one after the other, each when it is time.

Between two looks it decides about what is due next, and just before the instant of a crowd it
reads that crowd again, so that at the instant itself only the write is left.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from treadle.worker.firing.duty import Duty

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.worker.firing.firing import Firing

AHEAD_S: Final = 0.1
"""A rest in which what is due after it is worth deciding about."""
ARM_S: Final = 0.05
"""So long before its instant a crowd is read again: a thousand take ten milliseconds or so."""
_EARLY_S: Final = 0.001
"""A step that comes earlier than this was woken for something else."""


class Watch:
    """When this worker looks, and at what."""

    def __init__(self, firing: Firing, worker: Callable[[], str]) -> None:
        """Take what fires, and the worker's present id."""
        self._firing = firing
        self._worker = worker
        self._duty = Duty()
        self._look_at_s = 0.0
        self._arms = False
        self.at_s = 0.0
        """When the next step is due, by the loop's clock."""

    async def step(self) -> None:
        """Arm a crowd that is about to be due, or look; then find when the next step is due.

        Raises:
            StoreError: the store does not answer.
        """
        clock = asyncio.get_running_loop().time
        arms, self._arms = self._arms and clock() >= self.at_s - _EARLY_S, False
        if arms:
            self.at_s = self._look_at_s
            await self._firing.arm()
            return
        look = await self._firing.look(at_least_late=self._duty.patience)
        now_s = clock()
        rest_s = self._duty.rest(self._worker(), look, now_s)
        self.at_s = self._look_at_s = now_s + rest_s
        if not self._duty.on or rest_s < AHEAD_S:
            return
        await self._firing.prepare(look)
        if self._firing.is_crowd(look):
            self._arms, self.at_s = True, self._look_at_s - ARM_S
