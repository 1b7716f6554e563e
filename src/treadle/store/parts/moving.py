"""Moving: how whole jobs leave one store and come into another, each step safe to repeat.

No write spans two stores, so a job on its way is *sealed*: `blocked`, with a seal in the place of
its reason, so that nothing claims, stages or retries it. It is sealed in the store that it leaves
(`out`) before it is written to the other one, there sealed as well (`in`); then it is deleted
here, and only then opened there. So it is runnable in one store at most, and stored in one at
least, whatever dies when. `transit.moving` takes these steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from treadle.core.errors import StoreError
from treadle.core.ids import id_text
from treadle.core.job import AttemptRecord, JobRecord, JobState

if TYPE_CHECKING:
    from treadle.core.gates.arriving import Starts

PARCELS_MAX: Final = 200
"""The most jobs that one call takes or gives: each may carry much."""

_WORD: Final = "moving"


class Seal(Struct, frozen=True):
    """Whose move a job is on, and on which side of it."""

    side: str
    """`out` in the store that the job leaves, `in` in the other one."""
    move: str
    """Names the move: the same for each repeat of it, another one for any other."""

    def __str__(self) -> str:
        return f"{_WORD}:{self.side}:{self.move}|"

    @property
    def other(self) -> Seal:
        """The same move's seal in the other store."""
        return Seal("in" if self.side == "out" else "out", self.move)

    def holds(self, record: JobRecord) -> bool:
        """Tell whether a job is sealed by this very seal."""
        return record.state is JobState.BLOCKED and (record.reason or "").startswith(str(self))


def is_sealed(record: JobRecord) -> bool:
    """Tell whether a job is on a move, whosever it is."""
    return record.state is JobState.BLOCKED and (record.reason or "").startswith(f"{_WORD}:")


class Parcel(Struct, frozen=True):
    """A whole job, with what it was before it was sealed."""

    record: JobRecord
    """As it is stored; a sealed one is `blocked`, with the seal as its reason."""
    cost: int
    parked_at: int | None
    ran: int | None
    """How long the last attempt of a dead letter took."""
    attempts: tuple[AttemptRecord, ...] = ()
    """Those before the last one of a dead letter, which its record tells."""
    logs: tuple[tuple[int, int, str, str], ...] = ()
    """(attempt, instant, level, text)."""

    @property
    def is_dead(self) -> bool:
        """Whether it is a dead letter; any other is a job that waits."""
        return self.record.state is JobState.FAILED

    def reason(self, seal: Seal) -> str | None:
        """Give the reason under which it is stored: a dead letter's own, or the seal."""
        if self.is_dead:
            return self.record.reason
        return str(seal) + (self.record.reason or "").partition("|")[2]


class Moving(Protocol):
    """The verbs by which jobs leave and come; each is atomic, bounded and safe to repeat."""

    def refuses(self, record: JobRecord) -> str | None:
        """Say why this store could not take a job, as far as that can be known; None if it can."""
        ...

    async def seal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[Parcel | None]:
        """Seal scheduled, ready and retrying jobs; give them whole.

        Also given are those under this seal already, and dead letters, which are left as they
        are. None for every other: running, ended, blocked or not there.
        """
        ...

    async def adopt(self, parcels: Sequence[Parcel], seal: Seal) -> Sequence[bool]:
        """Write jobs as they were given, sealed, and dead letters as such.

        False where a job of this id is there already, which is left as it is.

        Raises:
            SameStore: nothing was written: a job is here, sealed by the other side of this move.
            StoreError: nothing was written: a job cannot be stored here.
        """
        ...

    async def unseal(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Give sealed jobs their state and reason back; True where this call did it."""
        ...

    async def drop(self, ids: Sequence[bytes], seal: Seal) -> Sequence[bool]:
        """Delete sealed jobs with their attempts and logs; True where this call did it.

        Their keys are freed in the same write, each to the job that waits behind.
        """
        ...

    async def starts(self, name: str) -> Starts | None:
        """Give what has started in a sliding window and counts still.

        None where nothing does, and for a gate that is none.
        """
        ...

    async def receive(self, starts: Starts, move: str) -> bool:
        """Let starts of another store count here, each once in a move, however often it is sent.

        The gate is made where there is none, and a switch becomes what they are starts of. False,
        and nothing has changed, where it is of another kind.
        """
        ...


class SameStore(StoreError):  # noqa: N818 -- reads as the fact it reports
    """A move's two stores are one: it would delete what it has just written."""

    def __init__(self, id_: bytes | None = None) -> None:
        """Take the job that told it, if it was a job."""
        told = (
            "what is held through one of them is held for the other"
            if id_ is None
            else f"job {id_text(id_)}, which was to be written, lies here, sealed by this very move"
        )
        super().__init__(f"both names lead to the same store: {told}; nothing was moved")


def check_parcels(things: Sequence[object]) -> None:
    """Refuse a batch that is over the bound.

    Raises:
        ValueError: it holds more than PARCELS_MAX.
    """
    if len(things) > PARCELS_MAX:
        msg = f"a move takes at most {PARCELS_MAX} jobs at a time, not {len(things)}"
        raise ValueError(msg)
