"""What users write to keep jobs from being doubled: values of `unique=`.

Each turns a call into the `Key` that its job wants; the store knows nothing else of them. A key
is a task's own: two tasks never share one. An idempotency key belongs to the whole namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from treadle.core.durations import Duration, to_us
from treadle.core.keys.key import KEY_MAX, Conflict, Key, Until
from treadle.core.keys.naming import KeyOf, check_key_of

OnConflict = Literal["existing", "skip", "replace", "raise"]

_CONFLICTS: Final = {
    "existing": Conflict.KEEP,
    "skip": Conflict.SKIP,
    "replace": Conflict.REPLACE,
    "raise": Conflict.REFUSE,
}
_UNTIL: Final = {"started": Until.CLAIM, "finished": Until.END}


@dataclass(frozen=True, slots=True)
class Unique:
    """At most one job of a task for each key.

    Args:
        key: a template over the arguments (`"{account_id}"`), names of arguments, or a function
            that is called with the arguments and gives a str; default: all arguments.
        until: how long the job holds its key, to its first start or to its end.
        window: hold it for so long instead (seconds or a timedelta), also when the job has ended.
        on_conflict: what an enqueue does whose key is held. `existing` gives the job that holds
            it; `skip` gives a job that is not stored and counts as cancelled; `replace` puts the
            new arguments into the job that waits, or waits behind the one that runs; `raise`
            raises `DuplicateJob`.

    Raises:
        TypeError, ValueError: a value is of another type or out of its range.
    """

    key: KeyOf = None
    until: Literal["started", "finished"] = "finished"
    window: Duration | None = None
    on_conflict: OnConflict = "existing"

    def __post_init__(self) -> None:
        check_key_of(self.key)
        if self.until not in _UNTIL:
            raise ValueError(f"until must be 'started' or 'finished', not {self.until!r}")
        if self.on_conflict not in _CONFLICTS:
            known = ", ".join(map(repr, get_args(OnConflict)))
            raise ValueError(f"on_conflict must be one of {known}, not {self.on_conflict!r}")
        if self.window is None:
            return
        above_zero(self.window, "window")
        if self.until == "started":
            raise ValueError("window and until='started' say two things; give one of them")
        if self.on_conflict == "replace":
            raise ValueError(
                "window and on_conflict='replace' do not go together: the job of a window may "
                "have ended; for the last of many calls use Debounce"
            )

    def named(self, name: str) -> Key:
        """Give what a job with this key wants of the store."""
        conflict = _CONFLICTS[self.on_conflict]
        if self.window is None:
            return Key(name, _UNTIL[self.until], conflict)
        return Key(name, Until.TIME, conflict, hold=to_us(self.window, "window"))


@dataclass(frozen=True, slots=True)
class Debounce:
    """Run once when the calls have stopped: each call puts the waiting job off by `wait`.

    The job runs with the newest arguments, at the latest `max_wait` after the first of the calls
    (both seconds or a timedelta). Calls that come while it runs make one more job behind it.

    Raises:
        TypeError, ValueError: a value is of another type or out of its range.
    """

    wait: Duration
    max_wait: Duration | None = None
    key: KeyOf = None

    def __post_init__(self) -> None:
        check_key_of(self.key)
        wait = above_zero(self.wait, "wait")
        if self.max_wait is not None and above_zero(self.max_wait, "max_wait") < wait:
            raise ValueError(
                f"max_wait ({self.max_wait}) is below wait ({self.wait}), and no call waits less"
            )

    def named(self, name: str) -> Key:
        """Give what a job with this key wants of the store."""
        most = None if self.max_wait is None else to_us(self.max_wait, "max_wait")
        return Key(name, Until.END, Conflict.REPLACE, max_wait=most)


@dataclass(frozen=True, slots=True)
class Throttle:
    """Run at most once a `period` (seconds or a timedelta): the first call counts.

    The calls that follow within it give the first one's job, whether or not that has ended.

    Raises:
        TypeError, ValueError: a value is of another type or out of its range.
    """

    period: Duration
    key: KeyOf = None

    def __post_init__(self) -> None:
        check_key_of(self.key)
        above_zero(self.period, "period")

    def named(self, name: str) -> Key:
        """Give what a job with this key wants of the store."""
        return Key(name, Until.TIME, Conflict.KEEP, hold=to_us(self.period, "period"))


Rule = Unique | Debounce | Throttle


def check_rule(value: object) -> Rule | None:
    """Return what `unique=` was given when it is a rule.

    Raises:
        TypeError: it is something else.
    """
    if value is None or isinstance(value, Rule):
        return value
    raise TypeError(
        f"unique takes a Unique, Debounce or Throttle, not {value!r:.60}; "
        "write unique=Unique() for all arguments"
    )


def check_idempotency_key(value: object) -> str | None:
    """Return what `idempotency_key=` was given when it can be one.

    Raises:
        TypeError, ValueError: it is no str, is empty, or has over KEY_MAX characters.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"idempotency_key is a str, not {type(value).__name__}")
    if not 0 < len(value) <= KEY_MAX:
        raise ValueError(
            f"idempotency_key has 1 to {KEY_MAX} characters, not {len(value):,}: {value[:60]!r}"
        )
    return value


def unique_name(task: str, key: str) -> str:
    """Give the name under which a store knows a key of a task's."""
    return f"unique:{task}:{key}"


def idempotency_key(key: str, hash_: bytes) -> Key:
    """Give what a job with this idempotency key wants of the store."""
    return Key(f"idempotency:{key}", Until.RECORD, Conflict.KEEP, hash=hash_)


def above_zero(value: Duration, name: str) -> int:
    """Turn a duration into microseconds, at least one.

    Raises:
        TypeError, ValueError: it is no duration, or not above zero.
    """
    micros = to_us(value, name)
    if micros == 0:
        raise ValueError(f"{name} must be above zero, not {value}")
    return micros
