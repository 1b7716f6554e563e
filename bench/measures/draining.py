"""Waiting for a backlog to be run, and what can be told when it is not.

A drain that does not end in time either stands still or is slow, and the worker, the server or
the store may be why: all of them are asked before they are ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.harness.marks import count_marks
from bench.harness.processes import Running, TimedOutError, wait_until
from bench.harness.systems import Site
from bench.ours.watch import looked_at

_MOMENT_S = 1.0


def wait_for_jobs(
    place: Site, count: int, *, limit_s: float, what: str, workers: Sequence[Running]
) -> None:
    """Wait until `count` jobs have left their marks, while all `workers` live.

    Raises:
        TimedOutError: they have not within `limit_s`; the text tells how many have, how many
            more did in the next second, what the server's sessions did and where our workers
            stood.
        BenchError: a worker ended.
    """
    try:
        wait_until(
            lambda: count_marks(place.marks) >= count,
            timeout_s=limit_s,
            what=f"{place.system.name}: {what}",
            workers=workers,
        )
    except TimedOutError as error:
        raise TimedOutError(f"{error}\n{_account(place, count, workers)}") from error


def _account(place: Site, count: int, workers: Sequence[Running]) -> str:
    """Tell how far a drain is, whether it goes on, and what everybody does."""
    before = count_marks(place.marks)
    seen = looked_at(place.store)
    time.sleep(_MOMENT_S)
    more = count_marks(place.marks) - before
    lines = [f"{before:,} of {count:,} jobs had run, and {more:,} more in the next second", seen]
    if place.system.ours:
        lines += [one.stacks() for one in workers]
    return "\n".join(filter(None, lines))
