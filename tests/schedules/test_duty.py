"""Who looks at the schedules when: a fleet of any size asks the store about twice a second."""

import heapq
from dataclasses import dataclass, field

import pytest

from treadle.worker.firing.duty import OVERDUE, Duty
from treadle.worker.firing.firing import Look

US = 1_000_000


@dataclass
class Fleet:
    """Workers that look at one schedule with a tick each so many seconds, by a clock of its own."""

    size: int
    period: float
    looks: int = 0
    lateness: list[float] = field(default_factory=list)

    def go(self, seconds: float, *, dies_at: float | None = None) -> None:
        """Let time pass; the worker on duty may die, and is off the list 20 s later."""
        duties = {f"w{n:04}": Duty() for n in range(self.size)}
        heap = [(n * 0.01, name) for n, name in enumerate(duties)]
        due, dead, first = self.period, "", min(duties)
        while heap:
            now, name = heapq.heappop(heap)
            if now > seconds:
                break
            if dies_at is not None and now > dies_at and not dead:
                dead = first
            if name == dead:
                continue
            if dead and first == dead and now > (dies_at or 0) + 20:
                first = min(other for other in duties if other != dead)
            self.looks += 1
            late = now - due
            won = late >= 0 and late * US >= duties[name].patience
            if won:
                self.lateness.append(late)
                due += self.period * (late // self.period + 1)
            look = Look(
                due=int(late >= 0),
                won=int(won),
                next_in=max(0, round((due - now) * US)),
                late=max(0, round(late * US)),
                workers=self.size,
                first=first,
            )
            heapq.heappush(heap, (now + duties[name].rest(name, look, now), name))


@pytest.mark.parametrize("size", [1, 2, 20, 100])
def test_an_idle_fleet_asks_twice_a_second(size: int) -> None:
    """However many workers there are, with nothing due for hours."""
    fleet = Fleet(size, 100_000)
    fleet.go(600)
    assert fleet.looks / 600 < 2


@pytest.mark.parametrize("size", [1, 20])
def test_ticks_are_not_late(size: int) -> None:
    """The worker on duty looks at the very instant."""
    fleet = Fleet(size, 0.5)
    fleet.go(300)
    late = sorted(fleet.lateness)
    assert len(late) > 590
    assert late[int(len(late) * 0.99)] < 0.02


def test_a_dead_worker_is_stood_in_for() -> None:
    """Ticks go on within a second or two, whichever worker has died."""
    fleet = Fleet(20, 0.5)
    fleet.go(120, dies_at=30)
    assert max(fleet.lateness) < 6
    assert sum(late > OVERDUE / US for late in fleet.lateness) < 10


def test_one_who_stands_in_stops_when_it_is_over() -> None:
    """Only who fired something overdue stands in, and only for a while."""
    duty = Duty()
    idle = Look(next_in=US, workers=3, first="other")
    duty.rest("me", idle, 0.0)
    assert (duty.on, duty.patience) == (False, OVERDUE)
    duty.rest("me", Look(due=1, won=1, late=OVERDUE, workers=3, first="other"), 1.0)
    assert (duty.on, duty.patience) == (True, 0)
    duty.rest("me", idle, 22.0)
    assert not duty.on
