"""Handing over: what a process remembers of claims that an enqueue made for its workers.

An enqueue that meets an idle worker may claim its job for it (docs/adr/0026, 0027). Such a claim
can reach the worker's process by more than one way, and a beat may find that it has reached it by
none. Here each is given once, or given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Final

from treadle.core.durations import SECOND

if TYPE_CHECKING:
    from treadle.core.job import NewJob
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement

_LATEST: Final = 64
"""How many claims back one is still known; what is late is so by one or two at the most."""
NO_EXCHANGE: Final = b""
_UNKNOWN: Final = "unknown_task"
_REST: Final = 60 * SECOND
"""How long a worker makes no offer that has given back a job whose task it does not know."""

Name = tuple[bytes, int]
"""A claim's job, by its id as stored, and its number."""


def is_plain(job: NewJob) -> bool:
    """Tell whether a job is ready at once, and has neither a key, gates nor a tenant."""
    return not (
        job.delay or job.at is not None or job.expires_at is not None or job.expires_in is not None
        or job.key is not None or job.gates is not None or job.tenant is not None
    )  # fmt: skip


def takes_any(demand: Demand | None) -> bool:
    """Tell whether a worker would take a job of any queue."""
    return demand is not None and demand.total > 0 and [s.queue for s in demand.shares] == [None]


class Handing:
    """The claims that were handed to the workers of one store in this process.

    The worker's loop and its lease's thread both come here, each step as a whole: what a beat
    gives up is refused when it comes after all, and what was given is not given up.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self._latest: dict[str, dict[Name, bytes]] = {}
        """Those known of late, each with the exchange whose answer gave it, or nothing."""
        self._rests: dict[str, int] = {}
        """Until when a worker makes no offer (microseconds of the monotonic clock)."""
        self._unheld: dict[str, set[tuple[Name, bool]]] = {}
        """What a worker's last beat did not hold, and whether it was known."""

    def knows(self, worker: str, name: Name) -> bool:
        """Tell whether a claim was given or given up; called with the lock."""
        return name in self._latest.get(worker, ())

    def is_first(self, worker: str, name: Name, request: bytes) -> bool:
        """Tell whether this exchange may give a claim: no other did, and it is not given up.

        An exchange that is asked again gives again what it gave. Called with the lock.
        """
        if self._latest.get(worker, {}).get(name, request) != request:
            return False
        self.note(worker, name, request)
        return True

    def may_offer(self, worker: str, settlements: Sequence[Settlement], monotonic: int) -> bool:
        """Tell whether a worker that has settled these may be handed a job; for its loop.

        While code is deployed the one that waited last would be handed each job that it does not
        know, and give it back for half a minute, though others know it.
        """
        if any(one.reason == _UNKNOWN for one in settlements):
            self._rests[worker] = monotonic + _REST
        return self._rests.get(worker, monotonic) <= monotonic

    def give_up(self, worker: str, unheld: Iterable[Name]) -> list[Name]:
        """Name those of a worker's claims that are lost; nothing gives them any more.

        `unheld` is what the worker does not hold though the store says so. A claim whose answer or
        news is just being read looks unheld once; twice means it was lost.
        """
        with self.lock:
            missing = set(unheld) - self.on_its_way(worker)
            now = {(name, self.knows(worker, name)) for name in missing}
            lost = sorted(name for name, _ in now & self._unheld.get(worker, set()))
            self._unheld[worker] = now
            for name in lost:
                self.note(worker, name, NO_EXCHANGE)
        return lost

    def on_its_way(self, worker: str) -> set[Name]:  # noqa: ARG002 -- of those that keep some
        """Name what has come for a worker that has not fetched it yet; called with the lock."""
        return set()

    def forget(self, worker: str) -> None:
        """Let go of a worker that has left; its claims went back."""
        with self.lock:
            for memory in (self._latest, self._unheld, self._rests):
                memory.pop(worker, None)

    def clear(self) -> None:
        """Let go of every worker, in a child that has none; a thread may have held the lock."""
        self.lock = Lock()
        for memory in (self._latest, self._unheld, self._rests):
            memory.clear()

    def note(self, worker: str, name: Name, request: bytes) -> None:
        """Remember a claim as the latest; called with the lock."""
        latest = self._latest.setdefault(worker, {})
        latest.pop(name, None)
        latest[name] = request
        if len(latest) > _LATEST:
            del latest[next(iter(latest))]
