"""What users put into `limits=`: a bound on how many jobs run, or start, at a time.

A limit is named, and holds for the whole store: for every worker, and for every task that names
it. With `key=` there is one gate for each value of a template over the task's arguments. What is
wrong with a limit is said where it is written, not when a job meets it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from treadle.core.durations import DAY, HOUR, MINUTE, SECOND
from treadle.core.errors import BadArguments
from treadle.core.gates.gate import (
    ALL,
    PLACES,
    RATE,
    REPLACE,
    SKIP,
    SWITCH,
    TASK,
    WINDOW,
    GateUse,
)
from treadle.core.gates.window import QUOTA_MAX
from treadle.core.keys.names import check_printable
from treadle.core.payload.template import check_fields, fields_of

if TYPE_CHECKING:
    from treadle.core.payload.signature import CallerSignature

LIMITS_MAX: Final = 8
"""Limits of one task."""
NAME_MAX: Final = 200
"""Characters of a gate's name; the key of a longer or unprintable one is told by its digest."""
PERIOD_MAX: Final = 31 * DAY

_RATE: Final = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]{0,7})\s*([a-z]+)\s*")
_UNITS: Final = {
    "s": SECOND, "sec": SECOND, "second": SECOND, "m": MINUTE, "min": MINUTE, "minute": MINUTE,
    "h": HOUR, "hour": HOUR, "d": DAY, "day": DAY,
}  # fmt: skip
_PLAIN: Final = (str, int, float, bool, type(None), Enum, UUID, date, time, timedelta, Decimal)


class Limit:
    """A bound of `limits=`; the base of `Concurrency`, `RateLimit`, `Breaker` and `Switch`."""

    kind: str
    quota: int = 0
    period: int = 0
    burst: int = 0

    def __init__(self, name: str | None, key: str | None) -> None:
        if name is not None:
            check_gate(name)
        if key is not None and not isinstance(key, str):
            raise TypeError(
                f"key is a template over the arguments, such as '{{account_id}}', not "
                f"{type(key).__name__}"
            )
        self.name = name
        self.key = key
        self.fields = () if key is None else _fields_of(key)

    def own_name(self, task: str) -> str:
        """Give the limit's name: the one it was given, or one made of its task's."""
        return self.name or f"{task}/{self.default_name()}"

    def default_name(self) -> str:
        """Name the limit among those of its task."""
        raise NotImplementedError

    def use(self, task: str, arguments: Mapping[str, Any], cost: int) -> GateUse:
        """Give the gate of a call.

        Raises:
            BadArguments: an argument that the key names has no plain text.
        """
        key = None if self.key is None else self._key(task, arguments)
        return self.use_named(self.own_name(task), key, cost)

    def use_named(self, own: str, key: str | None, cost: int) -> GateUse:
        """Give the gate of this limit under a name; `key` is the text that its key gives.

        Raises:
            ValueError: the limit has a key and none is given, or the other way round.
        """
        if (key is None) != (self.key is None):
            raise ValueError(
                f"the limit {own!r} has no key; leave key= out"
                if self.key is None
                else f"the limit {own!r} is one for each {self.key!r}; say which with key="
            )
        name = own if key is None else f"{own}:{key}"
        if len(name) > NAME_MAX or not name.isprintable():
            digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
            name = f"{own[: NAME_MAX - 65]}:{digest}"
        return self.gate(name, cost)

    def owns(self, task: str, gate: str) -> bool:
        """Tell whether a gate of this name is one that the limit gives to jobs of the task."""
        own = self.own_name(task)
        if self.key is None:
            return gate == own
        return gate.startswith((f"{own}:", f"{own[: NAME_MAX - 65]}:"))

    def gate(self, name: str, cost: int) -> GateUse:
        """Give what a job of this cost carries of a gate of this name."""
        return GateUse(name, self.kind, cost, self.quota, self.period, self.burst)

    def _key(self, task: str, arguments: Mapping[str, Any]) -> str:
        values = {}
        for field in self.fields:
            value = arguments[field]
            if not isinstance(value, _PLAIN):
                kind = type(value).__name__
                raise BadArguments(
                    task,
                    f"argument {field!r} is a {kind}, which has no plain text for the key "
                    f"{self.key!r}; name an argument that is a str or a number",
                )
            values[field] = value.value if isinstance(value, Enum) else value
        assert self.key is not None
        return self.key.format(**values)

    def __repr__(self) -> str:
        said = [self._first()]
        said += [f"{k}={v!r}" for k in ("key", "name") if (v := getattr(self, k)) is not None]
        return f"{type(self).__name__}({', '.join(said)})"

    def _first(self) -> str:
        return ""


class Concurrency(Limit):
    """At most `limit` jobs run at once.

    Args:
        limit: from 1 to 1,000,000.
        key: a template over the task's arguments, `"{account_id}"`; one such bound for each
            value. None: one for all.
        name: by which other tasks share it; default: made of the task's name.
        on_full: what becomes of a job that finds no place before it is first started. `wait`: it
            waits for one. `skip`: it ends as `cancelled`, unless the limit is paused. `replace`:
            it waits, and those of its kind that waited before it end as `cancelled`, so that one
            waits at most, the newest; what runs is never touched.

    Raises:
        TypeError, ValueError: a value is of another type or out of its range.
    """

    kind = PLACES

    def __init__(
        self,
        limit: int,
        *,
        key: str | None = None,
        name: str | None = None,
        on_full: str = "wait",
    ) -> None:
        self.quota = check_count(limit, "the limit of Concurrency")
        if on_full not in ("wait", SKIP, REPLACE):
            raise ValueError(f"on_full must be 'wait', 'skip' or 'replace', not {on_full!r}")
        self.on_full = on_full
        super().__init__(name, key)

    def gate(self, name: str, cost: int) -> GateUse:
        """Give what a job of this cost carries of a gate of this name."""
        says = "" if self.on_full == "wait" else self.on_full
        return GateUse(name, self.kind, cost, self.quota, on_full=says)

    def default_name(self) -> str:
        """Name the limit among those of its task."""
        return "concurrency"

    def _first(self) -> str:
        return str(self.quota)


class RateLimit(Limit):
    """At most so many jobs start in a time, by a token bucket or in a sliding window.

    Args:
        rate: a number and a period, `"10/m"`, `"500/h"`, `"3/10s"`; the units are s, m, h and d.
        key: a template over the task's arguments; one such bound for each value.
        burst: how many may start together after a rest, from 1 to 1,000,000; default: as many
            as start in a period. With 1 the starts are spread evenly.
        name: by which other tasks share it; default: made of the task's name and the rate.
        window: `"sliding"`: never more than the number start in any period, wherever it begins.
            The starts of the last period are kept, so the number is at most 10,000. None: a
            token bucket.

    The bucket holds `burst` starts and gains its rate evenly, so a period that begins with a full
    bucket sees at most `burst` starts more than the rate. A job takes as much as its `cost`, and
    one that costs more than the bucket holds takes all of it. Of a sliding window a job takes its
    cost for one period from its start on, and one that costs more than the number takes all of it.

    Raises:
        TypeError, ValueError: a value is of another type or out of its range, or a sliding window
            has a `burst`.
    """

    def __init__(
        self,
        rate: str,
        *,
        key: str | None = None,
        burst: int | None = None,
        name: str | None = None,
        window: Literal["sliding"] | None = None,
    ) -> None:
        self.rate = rate
        self.quota, self.period = parse_rate(rate)
        self.kind = RATE if window is None else WINDOW
        if window is not None:
            _check_window(rate, self.quota, burst, window)
        self.burst = self.quota if burst is None else check_count(burst, "burst")
        super().__init__(name, key)

    def default_name(self) -> str:
        """Name the limit among those of its task."""
        return self.rate.replace(" ", "")

    def _first(self) -> str:
        return repr(self.rate) + (", window='sliding'" if self.kind == WINDOW else "")


def _check_window(rate: str, quota: int, burst: int | None, window: str) -> None:
    if window != "sliding":
        raise ValueError(
            f"window must be 'sliding', or be left out for a token bucket, not {window!r:.80}"
        )
    if burst is not None:
        raise ValueError(
            f"a sliding window has no burst: all of its {quota:,} may start together; leave out "
            f"burst={burst!r:.80} or window='sliding'"
        )
    if quota > QUOTA_MAX:
        raise ValueError(
            f"a sliding window keeps the instant of each start, at most {QUOTA_MAX:,} of them, not "
            f"the {quota:,} of {rate!r}; give a smaller number in a shorter period, or leave out "
            "window='sliding' for a token bucket"
        )


class Switch(Limit):
    """A limit that bounds nothing by itself: jobs pass until it is paused, for all or for a key.

    Args:
        key: a template over the task's arguments, `"{account_id}"`; one switch for each value.
            None: one for all.
        name: by which other tasks share it; default: made of the task's name.

    Raises:
        TypeError, ValueError: a value is of another type or out of its range.
    """

    kind = SWITCH

    def __init__(self, *, key: str | None = None, name: str | None = None) -> None:
        super().__init__(name, key)

    def default_name(self) -> str:
        """Name the limit among those of its task."""
        return "switch"


def parse_rate(rate: str) -> tuple[int, int]:
    """Read a rate such as `10/m`: how many, and in which period (microseconds).

    Raises:
        TypeError, ValueError: it is no rate, or out of range.
    """
    if not isinstance(rate, str):
        raise TypeError(f"a rate is a str such as '10/m', not {type(rate).__name__}")
    match = _RATE.fullmatch(rate.lower()) if rate.isascii() else None
    unit = None if match is None else _UNITS.get(match[3], _UNITS.get(match[3].removesuffix("s")))
    if match is None or unit is None:
        raise ValueError(
            f"{rate[:50]!r} is no rate; write a number, a slash and a period: '10/s', '10/m', "
            "'500/h', '5000/d' or '3/10s'"
        )
    quota, period = check_count(int(match[1]), f"the number of {rate!r}"), int(match[2] or 1) * unit
    if not 0 < period <= PERIOD_MAX:
        raise ValueError(f"the period of {rate!r} must be above zero and at most 31 days")
    if quota > period:
        raise ValueError(f"{rate!r} is more than one a microsecond; that is no limit")
    return quota, period


def check_limits(
    limits: Sequence[Limit] | Limit | None, task: str, signature: CallerSignature
) -> tuple[Limit, ...]:
    """Return the limits of a task when they fit it.

    Raises:
        TypeError, ValueError: one is no limit, two share a name or could, or a key names an
            argument that the task does not have.
    """
    if limits is None:
        return ()
    given: Any = limits
    several = isinstance(given, Iterable) and not isinstance(given, str)
    found: tuple[Any, ...] = tuple(given) if several else (given,)
    if len(found) > LIMITS_MAX:
        raise ValueError(f"a task has at most {LIMITS_MAX} limits, {task} has {len(found)}")
    names: set[str] = set()
    for limit in found:
        if not isinstance(limit, Limit):
            raise TypeError(
                "limits takes RateLimit(...), Concurrency(...), Breaker(...) and Switch(...), not "
                f"{limit!r:.80}"
            )
        name = limit.own_name(task)
        if name in names:
            raise ValueError(f"two limits of {task} are named {name!r}; give one of them a name=")
        if name.startswith(TASK):
            raise ValueError(
                f"the limit {name!r} of {task} begins with {TASK!r}, as what whole tasks are "
                "paused by; give it another name="
            )
        names.add(name)
        check_gate(name)
        check_fields(limit.fields, f"the key {limit.key!r}", task, signature)
    _check_apart(found, task)
    return found


def _check_apart(limits: Sequence[Limit], task: str) -> None:
    """Refuse a limit that a value of another one's key could name, too: one gate, taken twice."""
    for keyed, limit in permutations(limits, 2):
        name, prefix = limit.own_name(task), keyed.own_name(task)
        if keyed.key is not None and name.startswith(f"{prefix}:"):
            raise ValueError(
                f"the limit {prefix!r} of {task} has a key, {keyed.key!r}, of which a value could "
                f"name the limit {name!r}, too; give one of them another name="
            )


Shared = dict[tuple[str, bool], tuple[Limit, str]]
"""The limits of one program by their names and whether they have a key; each with its task."""


def share(limits: Sequence[Limit], task: str, shared: Shared) -> None:
    """Add the limits of a task to those of its program.

    Raises:
        ValueError: another task has one of this name with other numbers, so that each enqueue
            would change the gate for both.
    """
    for limit in limits:
        name = limit.own_name(task)
        other, owner = shared.setdefault((name, limit.key is None), (limit, task))
        if other.gate(name, 1) != limit.gate(name, 1):
            raise ValueError(
                f"the limit {name!r} is {limit!r} of {task} and {other!r} of {owner}; limits of "
                "one name are one, so write the same numbers, or give one of them another name="
            )


def check_count(value: int, what: str) -> int:
    """Return a number of a limit when it is a legal one.

    Raises:
        TypeError, ValueError: it is no int, or not from 1 to 1,000,000.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is an int, not {type(value).__name__}")
    if not 1 <= value <= ALL:
        raise ValueError(f"{what} must be from 1 to {ALL:,}, not {value}")
    return value


def check_gate(name: str) -> str:
    """Return the name of a limit or gate when it is a legal one.

    Raises:
        TypeError, ValueError: it is no str, is empty, too long or not printable.
    """
    return check_printable(name, "the name of a limit", NAME_MAX)


def _fields_of(key: str) -> tuple[str, ...]:
    fields = fields_of(key, f"the key {key!r}")
    if not fields:
        raise ValueError(f"the key {key!r} names no argument; leave it out for one limit for all")
    return fields
