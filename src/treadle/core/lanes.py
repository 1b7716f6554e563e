"""Lanes: which queues a worker takes from, and in what measure.

`Lanes` reads `critical=6,default=3,bulk=1` (weighted), `critical,default` (strict, in
that order) or nothing (every queue, best job first), and turns a number of free slots
into steps that a store carries out one after the other inside one claim.
Weighted lanes follow largest-remainder sharing with the remainders carried over, so the
shares are exact over time; an empty queue's share goes to the others, by their weights.
"""

from __future__ import annotations

import random
import re

from msgspec import Struct

QUEUE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,99}")
_WEIGHT_MAX = 1_000_000
QUEUES_MAX = 1_000


class Step(Struct, frozen=True):
    """Take at most `limit` jobs from `queue`; None stands for every queue, merged."""

    queue: str | None
    limit: int


class Demand(Struct, frozen=True):
    """What a worker can take now: at most `total`, by these steps in order."""

    total: int
    steps: tuple[Step, ...]


class Lanes:
    """The queues of one worker."""

    def __init__(self, weights: dict[str, int] | None = None, *, strict: bool = True) -> None:
        """Take queue names with their weights; None for every queue.

        Raises:
            ValueError: a name or weight is out of range, or there are too many.
        """
        if weights is not None:
            _check(weights)
        self.weights = weights
        self.strict = strict
        self._credit = dict.fromkeys(weights or (), 0.0)
        self._random = random.Random(0)  # noqa: S311 -- spreads claims, guards nothing

    @classmethod
    def parse(cls, text: str | None) -> Lanes:
        """Read the `--queues` form: `a,b` is strict, `a=3,b=1` is weighted.

        Raises:
            ValueError: the text is not of that form, or mixes the two.
        """
        if text is None:
            return cls()
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            msg = f"no queue is named in {text!r}; write a,b or a=3,b=1"
            raise ValueError(msg)
        weighted = ["=" in part for part in parts]
        if any(weighted) and not all(weighted):
            msg = f"give every queue a weight or none, not {text!r}"
            raise ValueError(msg)
        weights: dict[str, int] = {}
        for part in parts:
            name, _, weight = part.partition("=")
            if name in weights:
                msg = f"the queue {name!r} is named twice in {text!r}"
                raise ValueError(msg)
            weights[name] = _weight(weight, part) if weight or "=" in part else 1
        return cls(weights, strict=not any(weighted))

    @property
    def names(self) -> tuple[str, ...] | None:
        """The queues' names, None when every queue is taken."""
        return None if self.weights is None else tuple(self.weights)

    def demand(self, total: int) -> Demand:
        """Share `total` free slots among the queues."""
        if self.weights is None:
            return Demand(total, (Step(None, total),))
        everything = tuple(Step(name, total) for name in self.weights)
        if self.strict or len(self.weights) == 1:
            return Demand(total, everything)
        shares = tuple(Step(name, n) for name, n in self._shares(total).items() if n)
        return Demand(total, shares + tuple(sorted(everything, key=self._drawn)))

    def _drawn(self, step: Step) -> float:
        """Draw a place in the order for what empty queues leave, so that it follows the weights.

        The least of exponential draws is a queue's as often as its weight says (P. Efraimidis
        and P. Spirakis, "Weighted random sampling with a reservoir", 2006).
        """
        assert self.weights is not None
        assert step.queue is not None
        return self._random.expovariate(self.weights[step.queue])

    def _shares(self, total: int) -> dict[str, int]:
        assert self.weights is not None
        whole = sum(self.weights.values())
        due = {
            name: self._credit[name] + total * weight / whole
            for name, weight in self.weights.items()
        }
        shares = {name: max(0, int(share)) for name, share in due.items()}
        left = total - sum(shares.values())
        for name in sorted(due, key=lambda n: shares[n] - due[n])[: max(left, 0)]:
            shares[name] += 1
        self._credit = {name: due[name] - shares[name] for name in due}
        return shares


def check_queue(name: object) -> str:
    """Return the queue name when it is a legal one.

    Raises:
        TypeError: it is not a str.
        ValueError: it is empty, over 100 characters, or has other characters than letters,
            digits and `_ . : -`.
    """
    if not isinstance(name, str):
        msg = f"a queue name is a str, not {type(name).__name__}"
        raise TypeError(msg)
    if not QUEUE_NAME.fullmatch(name):
        msg = (
            f"{name[:120]!r} is not a queue name; use 1 to 100 letters, digits, "
            "'_', '.', ':' or '-', not beginning with a sign"
        )
        raise ValueError(msg)
    return name


def _check(weights: dict[str, int]) -> None:
    if not 1 <= len(weights) <= QUEUES_MAX:
        msg = f"a worker takes 1 to {QUEUES_MAX:,} queues, not {len(weights)}"
        raise ValueError(msg)
    for name, weight in weights.items():
        check_queue(name)
        if not 1 <= weight <= _WEIGHT_MAX:
            msg = f"the weight of queue {name!r} must be 1 to {_WEIGHT_MAX:,}, not {weight}"
            raise ValueError(msg)


def _weight(text: str, part: str) -> int:
    if not text.isascii() or not text.isdigit():
        msg = f"{part!r} has no whole weight; write for example default=3"
        raise ValueError(msg)
    return int(text)
