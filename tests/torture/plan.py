"""What strikes when: a plan of faults that is drawn from a seed before anything has started.

Each tick is a quarter of a second. The chances are those of a rough machine room: of 1,000 ticks
80 end a worker by SIGKILL, 20 restart the store, and so on. The same seed, store and means give
the same plan; what it meets is another matter, since processes are not replayed.
"""

import random
from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

TICK_S: Final = 0.25

Kind = Literal[
    "kill worker",
    "kill producer",
    "worker dies at",
    "poison",
    "stop worker",
    "reset",
    "refuse",
    "delay",
    "lose answers",
    "cut requests",
    "swallow",
    "restart cleanly",
    "shut down at once",
    "kill store",
    "end sessions",
    "flush scripts",
    "lock",
    "step clock",
    "fill disk",
]


class Means(Struct, frozen=True):
    """What a run has to strike with."""

    store: str
    """`sqlite`, `postgres` or `redis`."""
    workers: int
    producers: int
    points: tuple[str, ...]
    """Fault points at which a worker may die."""
    clocks: bool
    """Whether a process can be given a clock of its own."""
    disk: bool
    """Whether the store lies on a small disk of its own."""


class Stroke(Struct, frozen=True):
    """One fault."""

    tick: int
    kind: Kind
    seat: int = 0
    """Whom it hits: a worker's number, or a producer's behind the workers'."""
    seconds: float = 0.0
    """How long it lasts."""
    amount: float = 0.0
    """Seconds of delay or of a clock's step, bytes until a cut, the place in a list."""


class Odds(Struct, frozen=True):
    """How likely a fault is at each tick, and how long it lasts."""

    kind: Kind
    chance: float
    whom: Literal["worker", "producer", "seat", "nobody"]
    seconds: tuple[float, float] = (0.0, 0.0)
    amount: tuple[float, float] = (0.0, 0.0)


_PROCESSES: Final = (
    Odds("kill worker", 0.05, "worker"),
    Odds("worker dies at", 0.03, "worker", amount=(0.0, 1.0)),
    Odds("kill producer", 0.02, "producer"),
    Odds("poison", 0.05, "nobody"),
    # One to three leases.
    Odds("stop worker", 0.05, "worker", (2.0, 6.0)),
)
_NETWORK: Final = (
    Odds("reset", 0.05, "seat"),
    Odds("swallow", 0.03, "seat", (5.0, 20.0)),
    Odds("lose answers", 0.02, "seat", (0.5, 4.0)),
    Odds("cut requests", 0.02, "seat", (1.0, 3.0), (1.0, 4_000.0)),
    Odds("delay", 0.02, "seat", (1.0, 3.0), (0.02, 0.5)),
    Odds("refuse", 0.01, "seat", (0.5, 4.0)),
)
_OF_A_STORE: Final = {
    "sqlite": (Odds("lock", 0.02, "nobody", (0.5, 4.0)),),
    "postgres": (
        Odds("restart cleanly", 0.005, "nobody", (0.0, 2.0)),
        Odds("shut down at once", 0.005, "nobody", (0.0, 2.0)),
        Odds("kill store", 0.01, "nobody", (0.0, 2.0)),
        Odds("end sessions", 0.01, "nobody", (0.5, 2.0)),
    ),
    "redis": (
        Odds("restart cleanly", 0.01, "nobody", (0.0, 2.0)),
        Odds("kill store", 0.01, "nobody", (0.0, 2.0)),
        Odds("flush scripts", 0.01, "nobody"),
    ),
}
# A file's machine has one clock, and times that it has seen do not come again: hours would last.
_NEAR_CLOCK: Final = Odds("step clock", 0.02, "nobody", amount=(-3.0, 3.0))
_FAR_CLOCK: Final = Odds("step clock", 0.02, "nobody", amount=(-3_600.0, 3_600.0))
_DISK: Final = Odds("fill disk", 0.005, "nobody", (1.0, 4.0))


def odds_of(means: Means) -> tuple[Odds, ...]:
    """Choose the faults that can be drawn with these means."""
    near = means.store == "sqlite"
    faults = _PROCESSES + _OF_A_STORE[means.store]
    if not near:
        faults += _NETWORK
    if means.clocks:
        faults += (_NEAR_CLOCK if near else _FAR_CLOCK,)
    return (*faults, _DISK) if means.disk else faults


def plan(seed: int, seconds: float, means: Means) -> list[Stroke]:
    """Draw every fault of a run, in order."""
    draw = random.Random(seed)  # noqa: S311 -- the seed is what replays the run
    ticks = int(seconds / TICK_S)
    return [stroke for tick in range(ticks) for stroke in _strokes(draw, tick, means)]


def _strokes(draw: random.Random, tick: int, means: Means) -> Iterator[Stroke]:
    for odds in odds_of(means):
        if draw.random() < odds.chance:
            yield Stroke(
                tick,
                odds.kind,
                _seat(draw, odds, means),
                round(draw.uniform(*odds.seconds), 3),
                round(draw.uniform(*odds.amount), 3),
            )


def _seat(draw: random.Random, odds: Odds, means: Means) -> int:
    match odds.whom:
        case "worker":
            return draw.randrange(means.workers)
        case "producer":
            return means.workers + draw.randrange(means.producers)
        case "seat":
            return draw.randrange(means.workers + means.producers)
        case "nobody":
            return 0
