"""A limit that is held outside jobs: prolonged while it lasts, given up once.

A place is prolonged from this process's background loop; of a rate nothing is held.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

from treadle.client.keys.lease import Lease, Leased, Questions
from treadle.core.errors import LimitLost
from treadle.core.gates.gate import PLACES, GateUse

if TYPE_CHECKING:
    from treadle.client.link import Link

_log = logging.getLogger(__name__)

LEFT: Final = "the place was not given up, and is free when its lease ends"
_ENDED: Final = (
    "its lease has ended, so more may have run beside it than the limit allows; a longer lease= "
    "outlasts longer stops of this process"
)


class Hold(Leased):
    """A limit that is held: give it up with `release`, or use it as a `with` block."""

    LEFT = LEFT
    LOST = LimitLost

    def __init__(self, link: Link, use: GateUse, token: bytes, lease: int, asked: float) -> None:
        self.gate: Final = use.name
        """The gate's name, as `app.gates` and `treadle gates` show it."""
        self._link = link
        self._token = token
        self._over = False
        self._lease: Lease | None = None
        if use.kind == PLACES:
            store, gate = link.store, use.name
            # What renews it knows nothing of this object, which may be forgotten.
            self._lease = Lease(
                lambda: store.hold_renew(gate, token, lease),
                f"the place at {self.gate!r}",
                lease,
                asked,
            )

    @property
    def is_held(self) -> bool:
        """Whether a place is still held, as far as this process knows; a rate holds none."""
        return self._lease is not None and not self._over and self._lease.is_good

    def check(self) -> None:
        """Make sure that the place is still held.

        Raises:
            LimitLost: it was given up, or its lease has ended as when this process was stopped.
        """
        if self._lease is not None and not self.is_held:
            raise LimitLost(self.gate, "it was given up" if self._over else _ENDED)

    def release(self) -> None:
        """Give the place up, and wake who waits for it; what was taken of a rate is spent.

        Raises:
            LimitLost: it was given up already, or its lease has ended.
            StoreUnavailable: it is not known; the place is free when its lease ends.
        """
        if (lease := self._end()) is not None:
            self._gave_up(lease, done=self._link.run(self._free()))

    async def arelease(self) -> None:
        """Do the same as `release` without blocking the event loop."""
        if (lease := self._end()) is not None:
            self._gave_up(lease, done=await Questions().ask(self._free))

    def __enter__(self) -> Self:
        """Begin a block at whose end the place is given up."""
        return self

    async def __aenter__(self) -> Self:
        """Begin a block at whose end the place is given up."""
        return self

    def _end(self) -> Lease | None:
        if self._over:
            raise LimitLost(self.gate, "it was given up already")
        self._over = True
        if self._lease is not None:
            self._lease.end()
        return self._lease

    async def _free(self) -> bool:
        return await self._link.store.hold_free(self.gate, self._token)

    def _gave_up(self, lease: Lease, *, done: bool) -> None:
        # A release that was sent again finds nothing to end; only a lease that is over was lost.
        if not done and not lease.is_good:
            raise LimitLost(self.gate, _ENDED)

    def __del__(self) -> None:
        """Prolong a place no more that nobody can give up."""
        lease: Lease | None = getattr(self, "_lease", None)
        if lease is not None and not self._over:
            lease.end()
            _log.warning(
                "the place at %r was never given up; it is free when its lease ends: write "
                "`with limit.acquire():`, or keep the hold and release it",
                self.gate,
            )

    def __repr__(self) -> str:
        state = "spent" if self._lease is None else "held" if self.is_held else "not held"
        return f"<hold of {self.gate!r}, {state}>"
