"""The part of the store contract that is about holds: a gate that is passed outside jobs.

A hold has a token, which its holder made. Of a gate that bounds how many run, it takes a place
for as long as its lease; of a rate it takes what it costs, once, and the record of it is kept for
that lease so that the same take may be sent again. Who is not let through stays in the gate's
line for as long as it goes on asking: jobs and those who ask take turns, in the order in which
they came, so that neither keeps the other out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from treadle.core.durations import SECOND

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateUse

ASKS_FOR: Final = 5 * SECOND
"""How long who asks is counted as waiting, unless he asks again."""
ASKING_MAX: Final = 1_000
"""Who wait in the line of one gate; those beyond ask from outside it."""
LAPSES_MAX: Final = 500
"""Holds whose lease has ended that one call takes away."""


class HoldTaken(Struct, frozen=True):
    """The answer of `hold_take`."""

    is_held: bool
    wait: int | None = None
    """Where it is not: microseconds until a clock may let it through; None when none can tell."""
    ahead: int = 0
    """Where it is not: how many stand before it in the line."""


class HoldsPlaces(Protocol):
    """What every store can do for who passes a gate without a job."""

    async def hold_take(
        self, use: GateUse, token: bytes, lease: int, *, now: int | None = None
    ) -> HoldTaken:
        """Pass a gate if it has room and it is this token's turn; else wait in its line.

        The gate is made or defined as `use` says, as by a job that is enqueued now. The same
        token has what it holds again, prolonged by `lease` (microseconds).

        Raises:
            StoreUnavailable: it is not known whether it passes; the same take may be sent again,
                and a place that nobody prolongs is free when its lease ends.
        """
        ...

    async def hold_renew(
        self, name: str, token: bytes, lease: int, *, now: int | None = None
    ) -> bool:
        """Prolong a hold to `lease` (microseconds) from now; False when there is none any more.

        A lease that has ended may still be prolonged, as long as nobody has taken it away.

        Raises:
            StoreUnavailable: it is not known whether it was prolonged.
        """
        ...

    async def hold_free(self, name: str, token: bytes, *, now: int | None = None) -> bool:
        """End a hold and wake who waits for its place, or leave the line.

        False when there was nothing to end.

        Raises:
            StoreUnavailable: it is not known whether it was ended; the same may be sent again.
        """
        ...
