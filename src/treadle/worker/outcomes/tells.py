"""What does an attempt say of gates? Worked out here, where the task's code and errors are known.

Only failures are: that an attempt ended well is seen from its outcome, in `core.decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.core.gates.breaker import Breaker
from treadle.core.gates.gate import read_gates
from treadle.core.gates.tells import TELLS_MAX, WHY_MAX, Tell, breakers
from treadle.worker.outcomes.describe import bounded

if TYPE_CHECKING:
    from treadle.core.job import ErrorInfo
    from treadle.core.signals import RetryLater, Snooze
    from treadle.worker.attempt import Attempt


def failed(attempt: Attempt, errors: Sequence[BaseException], shown: ErrorInfo) -> tuple[Tell, ...]:
    """Say for which breakers of a job these errors count as a failure of what they guard.

    A breaker that the task's code does not have any more counts every `Exception`.
    """
    found = breakers(attempt.claim.gates)
    if not found:
        return ()
    why = " ".join(f"{shown.type}: {shown.message}".split())[:WHY_MAX]
    names = [use.name for use in found if _counts(attempt, use.name, errors)]
    return tuple(Tell(name, "failed", why=why) for name in names)


def _counts(attempt: Attempt, gate: str, errors: Sequence[BaseException]) -> bool:
    for limit in attempt.definition.limits:
        if isinstance(limit, Breaker) and limit.owns(attempt.definition.name, gate):
            return limit.counts(errors)
    return any(isinstance(error, Exception) for error in errors)


def held(attempt: Attempt, signal: RetryLater | Snooze) -> tuple[Tell, ...]:
    """Say which gates a signal holds: those of the limit it names, else the one of that name.

    Of a limit with a key it is the gate of the job's own value.
    """
    if signal.hold is None or not signal.delay_us:
        return ()
    try:
        own = [use.name for use in read_gates(attempt.claim.gates)]
    except ValueError:
        own = []
    task, limits = attempt.definition.name, attempt.definition.limits
    named = [limit for limit in limits if limit.own_name(task) == signal.hold]
    names = [name for name in own if any(limit.owns(task, name) for limit in named)]
    why = " ".join(bounded(f"{task}: {signal}").split())[:WHY_MAX]
    found = names[:TELLS_MAX] or [signal.hold]
    return tuple(Tell(name, "shut", signal.delay_us, why) for name in found)
