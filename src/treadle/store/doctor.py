"""The doctor: examines a store by its own verb, and by what any store can be asked.

It only looks, each question is bounded, and what cannot be looked at is said to be unseen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from treadle.core.clock import SystemClock
from treadle.core.job import WAITING, JobState
from treadle.store.contract import Filter, QueueRecord, WorkerRecord
from treadle.store.findings import Finding, Level, ok, unseen

if TYPE_CHECKING:
    from treadle.store.contract import Store

PARKED_MAX: Final = 200
_PARKED_S: Final = 5.0
_NAMES_MAX: Final = 10
_WAITS_NOTE_US: Final = 60_000_000
_WAITS_LONG_US: Final = 600_000_000
_WORST: Final = tuple(Level)


async def examine(store: Store) -> list[Finding]:
    """Give all findings about an open store, the worst first.

    Raises:
        StoreError: the store does not answer.
    """
    findings = list(await store.examine())
    queues, workers = await store.queues(), await store.workers()
    now = SystemClock().wall()
    findings += [judge_paused(queues), judge_workers(workers, queues), judge_oldest(queues, now)]
    findings += [await _parked(store), judge_dead(queues)]
    return sorted(findings, key=lambda finding: _WORST.index(finding.level))


async def _parked(store: Store) -> Finding:
    which = Filter(state=JobState.SCHEDULED, reason="unknown_task")
    try:
        async with asyncio.timeout(_PARKED_S):
            found = await store.find(which, limit=PARKED_MAX)
    except TimeoutError:
        why = f"no answer within {_PARKED_S:g} s"
        return unseen("unknown tasks", why, "Look with `treadle jobs ls --state scheduled`.")
    return judge_parked(Counter(record.task for record in found))


def judge_parked(tasks: Counter[str]) -> Finding:
    """Judge the jobs whose task no worker knew, counted by task."""
    if not tasks:
        return ok("unknown tasks", "none")
    count = tasks.total()
    many = f"{count} or more" if count >= PARKED_MAX else str(count)
    return Finding(
        Level.WARNING,
        "unknown tasks",
        f"{many} jobs of {_listed(sorted(tasks))}",
        "The workers that met these jobs do not know their tasks; after a day they are dead "
        "letters (unknown_task).",
        "Start a worker whose code has these tasks, or cancel the jobs.",
    )


def judge_paused(queues: Sequence[QueueRecord]) -> Finding:
    """Judge the queues that are paused."""
    paused = [queue for queue in queues if queue.paused]
    if not paused:
        return ok("paused queues", "none")
    waiting = sum(_waiting(queue) for queue in paused)
    return Finding(
        Level.WARNING if waiting else Level.NOTE,
        "paused queues",
        f"{_listed(queue.name for queue in paused)}; {waiting:,} jobs wait there",
        "No worker takes jobs from them.",
        "`treadle queues resume NAME` lets them go on.",
    )


def judge_workers(workers: Sequence[WorkerRecord], queues: Sequence[QueueRecord]) -> Finding:
    """Judge who beats, and whether anybody is there for what waits."""
    late = [w for w in workers if w.beat_age is not None and w.beat_age > w.info.lease]
    if late:
        oldest = max(w.beat_age or 0 for w in late) / 1e6
        return Finding(
            Level.WARNING,
            "workers",
            f"{len(late)} of {len(workers)} have not beaten for up to {oldest:,.0f} s: "
            f"{_listed(w.info.id for w in late)}",
            "Their leases have ended: they were killed, are cut off, or hang.",
            "Another worker takes over their jobs; look at the logs of these.",
        )
    waiting = sum(_waiting(queue) for queue in queues if not queue.paused)
    if not workers and waiting:
        return Finding(
            Level.WARNING,
            "workers",
            f"none; {waiting:,} jobs wait",
            "Nobody runs what waits.",
            "Start one: `treadle worker`.",
        )
    return ok("workers", f"{len(workers)}, all with a fresh beat" if workers else "none")


def judge_oldest(queues: Sequence[QueueRecord], now: int) -> Finding:
    """Judge how long the oldest ready job of the queues that are not paused has waited."""
    oldest = min(
        ((q.oldest_ready, q.name) for q in queues if q.oldest_ready is not None and not q.paused),
        default=None,
    )
    if oldest is None or now - oldest[0] < _WAITS_NOTE_US:
        return ok("oldest ready job", "none" if oldest is None else "has waited for seconds")
    waited = now - oldest[0]
    return Finding(
        Level.WARNING if waited >= _WAITS_LONG_US else Level.NOTE,
        "oldest ready job",
        f"has waited for {waited / 1e6:,.0f} s in queue {oldest[1]}",
        "Jobs come faster than they are run, or no worker takes from that queue.",
        "Start more workers, or let one take from it (`--queues`).",
    )


def judge_dead(queues: Sequence[QueueRecord]) -> Finding:
    """Count the dead letters."""
    count = sum(queue.counts.get(JobState.FAILED, 0) for queue in queues)
    if not count:
        return ok("dead letters", "none")
    return Finding(
        Level.NOTE,
        "dead letters",
        f"{count:,}",
        "Jobs that do not run again by themselves.",
        "`treadle dead groups` says what they died of.",
    )


def _waiting(queue: QueueRecord) -> int:
    return sum(queue.counts.get(state, 0) for state in WAITING)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMES_MAX} more" if len(every) > _NAMES_MAX else ""
    return ", ".join(every[:_NAMES_MAX]) + more
