"""Lanes: which queues a worker takes from, and in what measure.

`Lanes` reads `critical=6,default=3,bulk=1` (weighted), `critical,default` (strict, in
that order) or nothing (every queue, best job first), and turns a number of free slots
into shares that a store carries out one after the other inside one claim.
Weighted lanes follow largest-remainder sharing with the remainders carried over, so the
shares are exact over time; an empty queue's share goes to the others, by their weights.
Slots that are reserved for a queue are asked for by demands of their own, so that whatever an
empty one leaves is never given to another queue.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

QUEUE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,99}")
_WEIGHT_MAX = 1_000_000
QUEUES_MAX = 1_000
_SLOTS_MAX = 2_000


class Share(Struct, frozen=True):
    """One part of a demand: at most `limit` jobs from `queue`; None is every queue, merged."""

    queue: str | None
    limit: int


class Demand(Struct, frozen=True):
    """What a worker can take now: at most `total`, by these shares in order."""

    total: int
    shares: tuple[Share, ...]


class Lanes:
    """The queues of one worker."""

    def __init__(
        self,
        weights: dict[str, int] | None = None,
        *,
        strict: bool = True,
        reserve: Mapping[str, int] | None = None,
    ) -> None:
        """Take queue names with their weights, None for every queue, and slots that are reserved.

        Raises:
            ValueError: a name, weight or number is out of range, or there are too many.
        """
        if weights is not None:
            _check(weights)
        self.weights = weights
        self.strict = strict
        self.reserve = dict(reserve or {})
        for name, count in self.reserve.items():
            _check_reserved(check_queue(name), count)
        self.half_asked = False
        """The last demand was for reserved slots alone, and there are others."""
        self._credit = dict.fromkeys(weights or (), 0.0)
        self._random = random.Random(0)  # noqa: S311 -- spreads claims, guards nothing

    @classmethod
    def parse(cls, text: str | None, reserve: Mapping[str, int] | None = None) -> Lanes:
        """Read the `--queues` form: `a,b` is strict, `a=3,b=1` is weighted.

        Raises:
            ValueError: the text is not of that form, or mixes the two; or as for the constructor.
        """
        if text is None:
            return cls(reserve=reserve)
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
        return cls(weights, strict=not any(weighted), reserve=reserve)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The queues' names, None when every queue is taken."""
        return None if self.weights is None else tuple(self.weights | self.reserve)

    def check_slots(self, slots: int) -> None:
        """Make sure that what is reserved fits into so many slots, and leaves some where it must.

        Raises:
            ValueError: it does not.
        """
        wanted = sum(self.reserve.values())
        said = ", ".join(f"{name}={count}" for name, count in self.reserve.items())
        if wanted > slots:
            raise ValueError(
                f"{said} reserves {wanted} slots, and there are {slots}; reserve fewer or raise "
                "the concurrency"
            )
        others = self.weights is None or not self.weights.keys() <= self.reserve.keys()
        if self.reserve and wanted == slots and others:
            raise ValueError(
                f"{said} reserves every one of {slots} slots, so no other queue would ever be "
                "served; reserve fewer, raise the concurrency or name only those queues"
            )

    def demand(self, total: int, held: Iterable[str] = (), *, most: int | None = None) -> Demand:
        """Share `total` free slots among the queues; `held` are those of the jobs in the others.

        Where slots are reserved, a demand is for them or for the others, in turn. One demand takes
        at most so many; which of them are free is told by all that there are.
        """
        most = total if most is None else most
        if self.reserve:
            counts = Counter(held)
            own = {name: n - counts[name] for name, n in self.reserve.items() if n > counts[name]}
            shared = total - sum(own.values())
            if own and not self.half_asked:
                self.half_asked = shared > 0
                shares = tuple(Share(name, count) for name, count in own.items())
                return Demand(min(sum(own.values()), most), shares)
            self.half_asked = False
            total = max(shared, 0)
        return self._shared(min(total, most))

    def _shared(self, total: int) -> Demand:
        if self.weights is None:
            return Demand(total, (Share(None, total),))
        everything = tuple(Share(name, total) for name in self.weights)
        if self.strict or len(self.weights) == 1:
            return Demand(total, everything)
        shares = tuple(Share(name, n) for name, n in self._shares(total).items() if n)
        return Demand(total, shares + tuple(sorted(everything, key=self._drawn)))

    def _drawn(self, share: Share) -> float:
        """Draw a place in the order for what empty queues leave, so that it follows the weights.

        The least of exponential draws is a queue's as often as its weight says (P. Efraimidis
        and P. Spirakis, "Weighted random sampling with a reservoir", 2006).
        """
        assert self.weights is not None
        assert share.queue is not None
        return self._random.expovariate(self.weights[share.queue])

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


def read_reserve(text: str | None) -> dict[str, int]:
    """Read the `--reserve` form: `mail=2,sms=1`.

    Raises:
        ValueError: the text is not of that form, or names a queue twice.
    """
    found: dict[str, int] = {}
    for part in [part.strip() for part in (text or "").split(",") if part.strip()]:
        name, sign, count = part.partition("=")
        if not sign or not count.isascii() or not count.isdigit():
            raise ValueError(f"{part!r} reserves nothing; write for example mail=2")
        if name in found:
            raise ValueError(f"the queue {name!r} is named twice in {text!r}")
        found[name] = int(count)
        _check_reserved(check_queue(name), found[name])
    return found


def _check_reserved(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _SLOTS_MAX:
        raise ValueError(
            f"slots reserved for queue {name!r} must be a number from 1 to {_SLOTS_MAX:,}, not "
            f"{count!r}"
        )


def _weight(text: str, part: str) -> int:
    if not text.isascii() or not text.isdigit():
        msg = f"{part!r} has no whole weight; write for example default=3"
        raise ValueError(msg)
    return int(text)
