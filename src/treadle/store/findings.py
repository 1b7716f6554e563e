"""Findings: what an examination of a store comes to, as values, and the rules all stores share.

A store gives findings by its verb `examine`; `store.doctor` adds what any store can be asked, the
command `treadle doctor` shows them, and a worker warns of those that would lose jobs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

SKEW_MAX_US: Final = 1_000_000
"""How far the clocks of this machine and of a store may be apart."""


class Level(StrEnum):
    """How bad a finding is, the worst first."""

    LOSES = "loses"
    """Jobs can be lost, or cannot be stored at all."""
    WARNING = "warning"
    """It costs speed, or will be trouble."""
    UNSEEN = "unseen"
    """It could not be looked at, so nothing is said of it."""
    NOTE = "note"
    """Worth knowing; nothing need be done."""
    OK = "ok"


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    level: Level
    name: str
    """What was looked at: a setting's own name where it is one."""
    found: str
    """Its value."""
    means: str
    advice: str = ""
    """What to do; empty where nothing need be done."""


def ok(name: str, found: object, means: str = "") -> Finding:
    """Make the finding of something that is as it should be."""
    return Finding(Level.OK, name, str(found), means)


def unseen(name: str, why: str, advice: str) -> Finding:
    """Make the finding of something that could not be looked at."""
    return Finding(Level.UNSEEN, name, why, "It could not be looked at.", advice)


def judge_clock(begun: int, store: int, ended: int) -> Finding:
    """Compare the store's clock with this machine's before and after the question (µs).

    What the question took is no skew: only what lies outside of it counts.
    """
    skew = min(0, store - begun) + max(0, store - ended)
    found = f"{abs(skew) / 1e6:.1f} s {'ahead of' if skew > 0 else 'behind'} this machine"
    if abs(skew) <= SKEW_MAX_US:
        return ok("clock", f"within {SKEW_MAX_US / 1e6:g} s of this machine")
    return Finding(
        Level.WARNING,
        "clock",
        found,
        "Jobs are due by the store's clock; instants that this machine computes are off by that.",
        "Let NTP set the clocks of the store's machine and of this one.",
    )
