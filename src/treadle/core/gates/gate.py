"""A gate: one named record that lets so many jobs run at once, or start in a time.

There are five kinds. *places* bounds how many jobs run at once, *rate* and *window* how many start
in a period, a *switch* bounds nothing by itself, and a *breaker* is a switch that shuts when jobs
fail and then lets one through at a time (`tells`). Each of them can be shut, until an instant or
until somebody opens it. What a job carries of a gate is a `GateUse`: its definition travels with
it, so that a worker or rescuer that has never seen the task can act.

A rate is a bucket of `burst` starts that fills at `quota` a `period`, kept as one number: the
instant at which the bucket will be full (the generic cell rate algorithm of ITU-T I.371, annex A).
A window keeps the starts of the last `period` themselves (`window`); its `burst` is its quota.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, json

from treadle.core.durations import HOUR
from treadle.core.gates.window import add, leaves_at, taken

PLACES: Final = "places"
RATE: Final = "rate"
WINDOW: Final = "window"
SWITCH: Final = "switch"
BREAKER: Final = "breaker"
KINDS: Final = (PLACES, RATE, SWITCH, BREAKER, WINDOW)
STARTS: Final = (RATE, WINDOW)
"""The kinds that bound how many jobs start in a time."""

SKIP: Final = "skip"
"""A job that finds no place ends at once."""
REPLACE: Final = "replace"
"""Of the jobs that wait for a place the newest stays, and those before it end."""
FULL: Final = "no free place"
"""The reason of a job that ended because of `SKIP`."""
REPLACED: Final = "replaced by "
"""What stands before the id of the newer job in the reason of one that ended because of it."""

ALL: Final = 1_000_000
"""The room of a gate that bounds nothing, and the largest quota and burst there are."""
FOREVER: Final = 9_007_199_254_740_991
"""Shut until somebody opens it: the last instant that every store keeps exactly, in 2255."""
TASK: Final = "task:"
"""What the name of a gate begins with that a whole task is paused by; its jobs do not carry it."""
WOKEN_FOR: Final = 1_000_000
"""Microseconds that a woken job has to be claimed before its place is passed on."""
LOOKS_MAX: Final = 500
"""Waiting jobs that one wake looks at."""
PARKED_MAX: Final = 500
"""Jobs that one claim parks."""
UNTOUCHED: Final = 2 * HOUR
"""How long (µs) a gate is kept that nobody touches."""


class GateUse(Struct, frozen=True, gc=False):
    """What one job carries of one gate."""

    name: str
    kind: str = SWITCH
    cost: int = 1
    """What the job takes of a rate or window; of places each job takes one."""
    quota: int = 0
    """Of a breaker: how many failures open it."""
    period: int = 0
    """Of a rate or window, in microseconds; of a breaker, the time in which so many have to
    fail."""
    burst: int = 0
    """Of a rate or window: how many may start together; of a breaker, its cool-down in
    microseconds."""
    on_full: str = ""
    """Of places: what becomes of the job when it finds none, before it is first claimed: `SKIP`,
    `REPLACE`, or nothing, and then it waits."""

    @property
    def takes(self) -> int:
        """What this job takes of the gate; never more than a full bucket, or it would never run."""
        return min(self.cost, self.burst) if self.kind in STARTS else 1


class Gate(Struct, gc=False):
    """A gate as a store keeps it; instants and durations in microseconds."""

    name: str
    kind: str
    quota: int = 0
    period: int = 0
    burst: int = 0
    used: int = 0
    """Places that are taken."""
    full_at: int = 0
    """When the bucket of a rate will be full, to the microsecond below, or a window be empty."""
    part: int = 0
    """What is missing to that instant, in parts of a microsecond: `quota` of them make one."""
    shut_until: int | None = None
    note: str | None = None
    """Why it is shut, as whoever shut it said it."""
    woken: int = 0
    """What jobs will take that were woken at `woken_at` and are not claimed yet; it counts for
    `WOKEN_FOR`."""
    woken_at: int = 0
    wake_at: int | None = None
    """When `stage` must look for jobs to wake; None when only another write can change that."""
    defined_at: int = 0
    """When the job was enqueued whose definition this is: a newer one replaces it."""
    is_set: bool = False
    """Somebody set the numbers at run time: definitions of jobs do not count any more."""
    tripped: int = 0
    """How often a breaker has opened in a row; 0 is closed."""
    probe: bytes | None = None
    """The job that a half-open breaker let through."""
    lately: list[int] = []
    """Of a breaker, while it is closed: when jobs have failed; of a window: its starts."""

    def define(self, use: GateUse, now: int) -> None:
        """Take the kind and numbers of a definition; no bucket is emptier than empty.

        What has started in a window counts on, and is forgotten where the kind is another.
        """
        if self.kind != use.kind:
            self.lately = []
        self.kind, self.quota, self.period, self.burst = use.kind, use.quota, use.period, use.burst
        self.full_at = min(self.full_at, now + use.burst * use.period // max(1, use.quota))
        self.part = 0
        if self.kind == WINDOW and self.lately:
            self.full_at = self.lately[-2] + self.period

    def is_shut(self, now: int) -> bool:
        """Tell whether the gate is held shut, whatever room it has."""
        return self.shut_until is not None and self.shut_until > now

    def room(self, now: int) -> int:
        """Tell how much may be taken now."""
        if self.is_shut(now):
            return 0
        if self.kind == PLACES:
            return max(0, self.quota - self.used)
        if self.kind == RATE:
            return max(0, (self.burst * self.period - self._missing(now)) // self.period)
        if self.kind == WINDOW:
            return max(0, self.quota - taken(self.lately, now - self.period))
        if self.kind == BREAKER and self.tripped:
            return int(self.probe is None)
        return ALL

    @property
    def is_boundless(self) -> bool:
        """Tell whether all may pass while it is not shut."""
        return self.kind == SWITCH or (self.kind == BREAKER and not self.tripped)

    def _missing(self, now: int) -> int:
        """Tell what the bucket lacks: microseconds times `quota`, so that nothing is rounded."""
        ahead = self.full_at - now
        return ahead * self.quota + self.part if ahead >= 0 else 0

    def takes(self, cost: int) -> int:
        """Tell what a job of this cost takes."""
        return min(cost, self.burst) if self.kind in STARTS else 1

    def take(self, cost: int, now: int) -> None:
        """Let a job through."""
        takes = self.takes(cost)
        self.woken = max(0, self.woken - takes)
        self.spend(takes, now)

    def spend(self, takes: int, now: int) -> None:
        """Count what passes, a job or a hold."""
        if self.kind == PLACES:
            self.used += 1
        elif self.kind == RATE:
            if self.full_at < now:
                self.full_at, self.part = now, 0
            whole, self.part = divmod(self.part + takes * self.period, self.quota)
            self.full_at += whole
        elif self.kind == WINDOW:
            self.lately = add(self.lately, takes, now, self.period)
            self.full_at = self.lately[-2] + self.period

    def opens_at(self, cost: int, now: int) -> int | None:
        """Tell when a job of this cost may pass; None when only another write can tell."""
        at = now
        if self.is_shut(now):
            if self.shut_until == FOREVER:
                return None
            at = self.shut_until or now
        if self.kind == PLACES and self.used >= self.quota:
            return None
        if self.kind == BREAKER and self.probe is not None:
            return None
        if self.kind == RATE:
            spare = (self.burst - self.takes(cost)) * self.period - self.part
            at = max(at, self.full_at - spare // self.quota)
        if self.kind == WINDOW:
            at = max(at, leaves_at(self.lately, self.quota, self.takes(cost), now, self.period))
        return at

    def look_again(self, cost: int, now: int) -> int | None:
        """Tell when to look for jobs to wake while one of this cost waits; None as above."""
        opens = self.opens_at(cost, now)
        if opens is None or opens > now:
            return opens
        return now if self.is_boundless else now + WOKEN_FOR

    def pending(self, now: int) -> int:
        """Count the jobs that were woken of late and are still to be claimed."""
        return self.woken if now - self.woken_at < WOKEN_FOR else 0

    def to_wake(self, now: int) -> int:
        """Tell how many waiting jobs may be woken now, those already woken counted."""
        room = self.room(now)
        return room if self.is_boundless else max(0, room - self.pending(now))

    def record(
        self, waiting: int, cost: int, now: int, holds: int = 0, asking: int = 0
    ) -> GateRecord:
        """Show the gate; `cost` is that of its best waiting job."""
        return GateRecord(
            self.name,
            self.kind,
            self.quota,
            self.period,
            self.burst,
            self.used,
            self.room(now),
            waiting,
            self.shut_until if self.is_shut(now) else None,
            self.note if self.is_shut(now) else None,
            self.is_set,
            self.opens_at(cost, now),
            self.tripped,
            holds,
            asking,
        )


class GateRecord(Struct, frozen=True):
    """A gate as people see it; instants and durations in microseconds."""

    name: str
    kind: str
    quota: int
    period: int
    burst: int
    used: int
    room: int
    """What may be taken now."""
    waiting: int
    """Jobs parked at it."""
    shut_until: int | None
    """None: not shut; `FOREVER`: until somebody opens it."""
    note: str | None
    is_set: bool
    opens_at: int | None = None
    """When its next job may pass, if a clock can tell."""
    tripped: int = 0
    """How often a breaker has opened in a row; 0 is closed."""
    holds: int = 0
    """Of the places in use: those that are held outside jobs."""
    asking: int = 0
    """Who waits outside jobs."""


_decoder = json.Decoder(list[GateUse])
_encoder = json.Encoder()


def write_gates(gates: Sequence[GateUse]) -> bytes | None:
    """Encode the gates of a job, in the order of their names; None for none."""
    return _encoder.encode(sorted(gates, key=_name)) if gates else None


def read_gates(raw: bytes | str | None) -> list[GateUse]:
    """Decode the gates of a job.

    Raises:
        ValueError: a hand has made something else of them.
    """
    return _decoder.decode(raw) if raw else []


def _name(gate: GateUse) -> str:
    return gate.name
