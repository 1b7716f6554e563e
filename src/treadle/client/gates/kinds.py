"""What kinds of gates are called where a person is about to turn one into another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from treadle.core.gates.gate import BREAKER, PLACES, RATE, SWITCH, WINDOW

if TYPE_CHECKING:
    from treadle.core.gates.limits import Limit
    from treadle.definition import Definition

_CALLED: Final = {
    PLACES: "a bound on how many run at once",
    RATE: "a token bucket, which bounds how many start in a time",
    WINDOW: "a sliding window, which bounds how many start in any such time",
    BREAKER: "a circuit breaker",
    SWITCH: "a switch, which bounds nothing",
}
_WRITTEN: Final = {
    PLACES: "Concurrency(5), or `5` on the command line",
    RATE: "RateLimit('10/m'), or `10/m` on the command line",
    WINDOW: "RateLimit('10/m', window='sliding'), or `10/m --sliding` on the command line",
    BREAKER: "Breaker('stripe', failures=5) in Python",
}


def why_kept(name: str, kind: str, limit: Limit) -> str:
    """Say why a gate's numbers are not set: they are those of another kind."""
    return (
        f"the gate {name!r} is {_CALLED.get(kind, kind)} ({kind}), and {limit!r} is "
        f"{_CALLED[limit.kind]} ({limit.kind}); to change its numbers give "
        f"{_WRITTEN.get(kind, f'a limit of the kind {kind}')}; if it shall bound something else, "
        "whatever its jobs say, add change_kind=True, or --change-kind on the command line"
    )


def declared_kind(tasks: Mapping[str, Definition], name: str) -> str | None:
    """Give the kind of a gate as the tasks that are registered here declare it."""
    for task in tasks.values():
        for limit in task.limits:
            if limit.owns(task.name, name):
                return limit.kind
    return None
