"""Held: what a worker holds, and how much more it may take.

Every claim that starts has a place until the store has answered for its settlement. Claims
beyond free slots (the buffer) are allowed only while measured job time keeps them under about
20 ms of work: tiny jobs stream, long ones are never hoarded. Where the store works beside the
loop, the next exchange sets out when half of them have started (docs/adr/0014).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from treadle.store.contract import BATCH_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.core.job import Claim
    from treadle.worker.attempt import Attempt

BUFFER_MAX = 500
"""Claims beyond free slots, at the most; twice that where half of them are asked for early."""
PLACES = BATCH_MAX * 4
_BUFFER_US = 20_000
_NEWS_WEIGHT = 0.3
_HALF_MIN = 32
"""Half a buffer that is worth an exchange; a smaller one is used up first."""


class Held:
    """The claims of one worker."""

    def __init__(self, slots: int, *, ahead: bool = False, streams: bool = True) -> None:
        """Take how many jobs run at once, and whether to ask for more before none is left.

        Without `streams` nothing is held beyond the slots: each claim is for a slot of its own.
        """
        self.slots = slots
        self._ahead = ahead
        self._streams = streams
        self._buffer_max = 2 * BUFFER_MAX if ahead else BUFFER_MAX
        self.claims: dict[tuple[bytes, int], int | None] = {}
        """What a beat tells the store: job id and claim number, with the place if it started.

        Read by the lease's thread."""
        self.buffer: deque[Claim] = deque()
        """Claimed, not started."""
        self._free = list(range(PLACES - 1, -1, -1))
        self._ran_us: float | None = None
        self._low = 0

    def take(self, claims: Sequence[Claim]) -> None:
        """Take new claims into the buffer."""
        for claim in claims:
            self.claims[claim.id, claim.number] = None
        self.buffer.extend(claims)

    def adopt(self, claim: Claim) -> None:
        """Hold a claim that will not run here, only be settled."""
        self.claims[claim.id, claim.number] = None

    def place(self, claim: Claim) -> int:
        """Give a place to a claim that starts."""
        place = self.claims[claim.id, claim.number] = self._free.pop()
        return place

    def let_go(self, id_: bytes, number: int) -> None:
        """Forget a claim that the store has answered for, or has given to another."""
        place = self.claims.pop((id_, number), None)
        if place is not None:
            self._free.append(place)

    def drop_buffered(self, revoked: set[tuple[bytes, int]]) -> None:
        """Forget claims that have not started and are no longer this worker's."""
        for _ in range(len(self.buffer)):
            claim = self.buffer.popleft()
            if (claim.id, claim.number) in revoked:
                self.let_go(claim.id, claim.number)
            else:
                self.buffer.append(claim)

    def queues(self, running: Iterable[Attempt]) -> list[str]:
        """Name the queue of each job that has a slot, or is about to."""
        return [a.claim.queue for a in running] + [claim.queue for claim in self.buffer]

    def learn(self, ran_us: int) -> None:
        """Learn from the mean time that the last jobs ran (microseconds)."""
        if self._ran_us is None:
            self._ran_us = float(ran_us)
        else:
            self._ran_us += _NEWS_WEIGHT * (ran_us - self._ran_us)
        half = self._buffer_size() // 2
        self._low = half if self._ahead and half >= _HALF_MIN else 0

    def forget_pace(self) -> None:
        """Stop buffering until short jobs are seen again."""
        self._ran_us = None
        self._low = 0

    @property
    def is_low(self) -> bool:
        """Whether so little is left in the buffer that it is time to ask for more."""
        return len(self.buffer) <= self._low

    def room(self, running: int) -> int:
        """Tell how many more claims may be held, with `running` attempts under way."""
        allowed = self.slots + self._buffer_size() - running - len(self.buffer)
        return max(0, min(allowed, len(self._free) - len(self.buffer)))

    def _buffer_size(self) -> int:
        if self._ran_us is None or not self._streams:
            return 0
        return min(self._buffer_max, int(_BUFFER_US * self.slots / max(self._ran_us, 1.0)))
