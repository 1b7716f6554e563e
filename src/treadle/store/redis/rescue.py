"""Rescue: who of the other workers is dead, by one rescuer's own observation.

A worker is dead when its lease has ended by the server's clock and a second look,
`suspect_after` later by the rescuer's own monotonic clock, finds no new beat. The server's clock
may step; the rescuer sees that in its distance to his own, and then trusts only what he has
watched himself, for a whole lease.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, json

from treadle.core.durations import SECOND
from treadle.core.ids import new_id
from treadle.core.job import Orphan
from treadle.store.contract import WorkerInfo
from treadle.store.suspecting import Suspects

_STEP = SECOND
"""How far the two clocks may drift apart between two looks before it is a step."""
_LEASE_UNKNOWN = 15 * SECOND

_decode_info = json.Decoder(WorkerInfo).decode
_encode_info = json.Encoder().encode


def write_info(info: WorkerInfo) -> bytes:
    """Write a worker's record."""
    return _encode_info(info)


def read_info(id_: str, raw: bytes | None) -> WorkerInfo:
    """Read a worker's record; a damaged one stands for a worker of the usual lease."""
    try:
        return _decode_info(raw or b"")
    except ValueError:
        return WorkerInfo(id_, "unknown", 0, None, 0, _LEASE_UNKNOWN)


class Seen(Struct, frozen=True):
    """Another worker as the server shows it now."""

    id: str
    beat: bytes
    """Its last beat as the server wrote it; empty when it never beat."""
    age: int
    """Microseconds since that beat, by the server's clock."""
    lease: int


class Rescue(Struct, frozen=True):
    """A request to take over from a dead worker; sent again until it is answered."""

    request: bytes
    dead: str
    beat: bytes


class Watch:
    """What one worker of this process has seen of the others."""

    def __init__(self, lease: int, suspect_after: int) -> None:
        """Take the worker's own lease and the time between the two looks (microseconds)."""
        self._lease = lease
        self._suspect_after = suspect_after
        self._beaten_at: int | None = None
        self._distance: int | None = None
        self._stepped_at: int | None = None
        self._suspects = Suspects()
        self.pending: Rescue | None = None
        """A take-over whose answer has not come."""
        self.taken: list[Orphan] = []
        """Taken over and not yet handed to the worker."""

    def beaten(self, server: int, monotonic: int) -> None:
        """Note that the worker's own beat was answered."""
        self._beaten_at = monotonic
        self._compare(server, monotonic)

    def may_rescue(self, monotonic: int) -> bool:
        """Tell whether the worker has a lease itself: only who lives judges others."""
        return self._beaten_at is not None and monotonic - self._beaten_at <= self._lease

    def dead(self, others: Sequence[Seen], server: int, monotonic: int) -> list[Seen]:
        """Look at the others once and tell which of them are dead."""
        self._compare(server, monotonic)
        self._suspects.keep({other.id for other in others})
        return [other for other in others if self._is_dead(other, monotonic)]

    def begin(self, dead: Seen) -> Rescue:
        """Begin to take over from a dead worker."""
        self.pending = Rescue(new_id(), dead.id, dead.beat)
        return self.pending

    def _compare(self, server: int, monotonic: int) -> None:
        """Notice a step of the server's clock, or of this machine's time asleep."""
        distance = server - monotonic
        if self._distance is not None and abs(distance - self._distance) > _STEP:
            self._stepped_at = monotonic
        self._distance = distance

    def _is_dead(self, other: Seen, monotonic: int) -> bool:
        if 0 <= other.age <= other.lease:
            self._suspects.clear(other.id)
            return False
        suspect_for = self._suspects.look(other.id, other.beat, monotonic)
        # A beat from the future tells nothing of its age, and after a step of the clock none does.
        needed = self._suspect_after + (other.lease if other.age < 0 else 0)
        if self._stepped_at is not None and monotonic - self._stepped_at <= other.lease:
            return False
        return suspect_for is not None and suspect_for >= needed
