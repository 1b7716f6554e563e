"""A limit that is held outside jobs: prolonged while it lasts, given up once.

A place is prolonged from this process's background loop; of a rate nothing is held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from treadle.client.background import BACKGROUND
from treadle.core.durations import SECOND
from treadle.core.errors import LimitLost, StoreError
from treadle.core.gates.gate import PLACES, GateUse

if TYPE_CHECKING:
    from treadle.client.link import Link

_log = logging.getLogger(__name__)

LEFT: Final = "the place was not given up, and is free when its lease ends"
_ENDED: Final = (
    "its lease has ended, so more may have run beside it than the limit allows; a longer lease= "
    "outlasts longer stops of this process"
)


class Hold:
    """A limit that is held: give it up with `release`, or use it as a `with` block."""

    def __init__(self, link: Link, use: GateUse, token: bytes, lease: int, asked: float) -> None:
        self.gate: Final = use.name
        """The gate's name, as `app.gates` and `treadle gates` show it."""
        self._link = link
        self._token = token
        self._lease = lease
        self._ends_at = asked + lease / SECOND
        self._lost = self._over = False
        self._renewing: Future[None] | None = None
        self._is_place = use.kind == PLACES
        if self._is_place:
            self._renewing = BACKGROUND.start(self._renew())

    @property
    def is_held(self) -> bool:
        """Whether a place is still held, as far as this process knows; a rate holds none."""
        good = not self._lost and time.monotonic() < self._ends_at
        return self._is_place and not self._over and good

    def check(self) -> None:
        """Make sure that the place is still held.

        Raises:
            LimitLost: it was given up, or its lease has ended as when this process was stopped.
        """
        if self._is_place and not self.is_held:
            raise LimitLost(self.gate, "it was given up" if self._over else _ENDED)

    def release(self) -> None:
        """Give the place up, and wake who waits for it; what was taken of a rate is spent.

        Raises:
            LimitLost: it was given up already, or its lease has ended.
            StoreUnavailable: it is not known; the place is free when its lease ends.
        """
        if self._end():
            self._gave_up(done=self._link.run(self._free()))

    async def arelease(self) -> None:
        """Do the same as `release` without blocking the event loop."""
        if self._end():
            self._gave_up(done=await BACKGROUND.arun(self._free()))

    def __enter__(self) -> Self:
        """Begin a block at whose end the place is given up."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the place up; an error of the block is worth more than one of the release."""
        try:
            self.release()
        except (LimitLost, StoreError) as late:
            if error is None:
                raise
            error.add_note(f"{LEFT}: {late}")

    async def __aenter__(self) -> Self:
        """Begin a block at whose end the place is given up."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the place up without blocking the event loop."""
        try:
            await self.arelease()
        except (LimitLost, StoreError) as late:
            if error is None:
                raise
            error.add_note(f"{LEFT}: {late}")

    def _end(self) -> bool:
        if self._over:
            raise LimitLost(self.gate, "it was given up already")
        self._over = True
        if self._renewing is not None:
            self._renewing.cancel()
        return self._is_place

    async def _free(self) -> bool:
        return await self._link.store.hold_free(self.gate, self._token)

    def _gave_up(self, *, done: bool) -> None:
        # A release that was sent again finds nothing to end; only a lease that is over was lost.
        if not done and (self._lost or time.monotonic() >= self._ends_at):
            raise LimitLost(self.gate, _ENDED)

    async def _renew(self) -> None:
        """Prolong the lease three times in its length, until the hold ends or is lost."""
        while not self._over:
            await asyncio.sleep(self._lease / SECOND / 3)
            asked = time.monotonic()
            try:
                renewed = await self._link.store.hold_renew(self.gate, self._token, self._lease)
            except StoreError as error:
                # The lease may outlast the trouble; the next turn tries again.
                _log.warning("the place at %r could not be prolonged: %s", self.gate, error)
                continue
            if not renewed:
                self._lost = True
                if not self._over:
                    _log.error("the place at %r is lost", self.gate)
                return
            self._ends_at = asked + self._lease / SECOND

    def __repr__(self) -> str:
        state = "spent" if not self._is_place else "held" if self.is_held else "not held"
        return f"<hold of {self.gate!r}, {state}>"
