"""The values of a schedule: what was asked for, and how far it has come.

All instants and durations are microseconds. A store keeps the record as JSON; a field that is
left out has its default, so old and new code can read each other's records.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct, ValidationError, json

from treadle.core.errors import ScheduleError
from treadle.core.keys.key import Key
from treadle.core.keys.names import check_printable

Misfire = Literal["one", "all", "skip"]
Overlap = Literal["skip", "allow", "queue_one", "queue_all", "cancel_running"]

MISFIRES: Final = ("one", "all", "skip")
OVERLAPS: Final = ("skip", "allow", "queue_one", "queue_all", "cancel_running")
NAME_MAX: Final = 200


class Plan(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What was asked for: the part of a schedule that only a person or the code changes."""

    trigger: bytes
    """As `core.when.triggers.write_trigger` writes it."""
    task: str
    args: bytes
    queue: str = "default"
    priority: int = 0
    attempts_max: int | None = None
    policy: bytes | None = None
    tags: bytes | None = None
    meta: bytes | None = None
    gates: bytes | None = None
    """What its jobs have to pass; see `NewJob`."""
    key: Key | None = None
    """The name that its jobs want to hold alone."""
    tenant: str | None = None
    cost: int = 1
    misfire: Misfire = "one"
    overlap: Overlap = "skip"
    grace: int | None = None
    """A tick that is later than this is dropped; None: see `core.schedule.advance`."""
    jitter: int = 0
    starts: int | None = None
    ends: int | None = None
    limit: int | None = None
    """How many ticks become jobs, in all."""
    expires: int | Literal["next"] | None = None
    """After its tick, when a job that has not started expires; `next`: at the next tick."""


class Pause(Struct, frozen=True, omit_defaults=True):
    """Why a schedule stands still."""

    at: int
    note: str = ""
    by: str = ""


class Sealed(Struct, frozen=True, omit_defaults=True):
    """On its way between two stores: until it is opened it has no ticks, whatever changes."""

    side: Literal["out", "in"]
    """`out` in the store that it leaves, `in` in the other one."""
    move: str
    """Names the move: the same for each repeat of it, another one for any other."""
    copied: int = 0
    """On side `in`: the revision there that this is a copy of."""
    before: Schedule | None = None
    """On side `in`: the schedule that was here and has become one with the copy."""


class Schedule(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One schedule as it is stored."""

    name: str
    plan: Plan
    incarnation: str
    """Made anew each time a schedule of this name is made: jobs of an old one are not its own."""
    cursor: int
    """No tick at or before this instant is looked at again."""
    declared: bool = False
    """It was declared in code, so it goes when the code no longer declares it."""
    paused: Pause | None = None
    skip: int = 0
    """So many of the next ticks become no jobs."""
    waiting: tuple[int, ...] = ()
    """Ticks that wait until the job before them has ended; oldest first."""
    job: bytes | None = None
    """The last job."""
    tick: int | None = None
    """The tick of the last job."""
    fired: int = 0
    """How many ticks became jobs."""
    missed: int = 0
    """How many ticks became none: too late, overlapping or skipped."""
    over: bool = False
    """There is no tick any more."""
    sealed: Sealed | None = None

    @property
    def remaining(self) -> int | None:
        """How many ticks may still become jobs; None when there is no limit."""
        return None if self.plan.limit is None else max(0, self.plan.limit - self.fired)


_encoder: Final = json.Encoder()
_decoder: Final = json.Decoder(Schedule)


def write_schedule(schedule: Schedule) -> bytes:
    """Encode a schedule for the store."""
    return _encoder.encode(schedule)


def read_schedule(raw: bytes) -> Schedule:
    """Decode a stored schedule.

    Raises:
        ScheduleError: the bytes are none (a row changed by hand).
    """
    try:
        return _decoder.decode(raw)
    except (ValidationError, ValueError) as error:
        raise ScheduleError(f"{raw[:200]!r} is no stored schedule: {error}") from None


def check_name(name: object) -> str:
    """Return a schedule's name when it is a legal one.

    Raises:
        TypeError, ValueError: it is no str, is empty, has over 200 characters, characters that
            cannot be printed, or blanks at its ends.
    """
    return check_printable(name, "a schedule's name", NAME_MAX, strict=True)
