"""rescue: taking over the jobs of workers that are gone.

A worker is gone when its live file proves it, or when its lease has ended and a second look,
`suspect_after` later by the rescuer's own monotonic clock, finds no new beat. A rescuer whose
own beat has not succeeded rescues nobody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from treadle.core import fault
from treadle.core.job import Orphan
from treadle.store.sqlite.engine.live import Lives
from treadle.store.sqlite.rows import attempt_row, read_claim
from treadle.store.sqlite.workers import read_info, unknown_worker
from treadle.store.suspecting import Suspects

Statements = dict[str, str]


class Watch:
    """One rescuer's memory of whom it suspects, by its own monotonic clock."""

    def __init__(self, lives: Lives, suspect_after: int) -> None:
        """Take the live files and the time between the two looks (microseconds)."""
        self._lives = lives
        self._suspect_after = suspect_after
        self._suspects = Suspects()
        self.taken: list[Orphan] = []
        """Taken over and not yet handed to the rescuer."""

    def dead(self, others: dict[str, int], monotonic: int) -> list[str]:
        """Tell which workers are dead; `others` maps each to its lease (microseconds)."""
        self._suspects.keep(others)
        return [w for w, lease in others.items() if self._is_dead(w, lease, monotonic)]

    def _is_dead(self, worker: str, lease: int, monotonic: int) -> bool:
        sign = self._lives.sign(worker)
        if sign.dead:
            return True
        if sign.beat is not None and monotonic - sign.beat <= lease:
            self._suspects.clear(worker)
            return False
        suspect_for = self._suspects.look(worker, sign.beat, monotonic)
        return suspect_for is not None and suspect_for >= self._suspect_after


def others(db: sqlite3.Connection, sql: Statements, worker: str) -> dict[str, int]:
    """Read every other worker that is registered or holds jobs, with its lease."""
    rows = db.execute(sql["worker_ids"], (worker,))
    found = {id_: read_info(id_, info).lease for id_, info in rows}
    for (holder,) in db.execute(sql["holders"], (worker,)):
        found.setdefault(holder, unknown_worker(holder).lease)
    return found


def take_over(
    db: sqlite3.Connection,
    sql: Statements,
    rescuer: str,
    dead: str,
    marked: set[tuple[bytes, int]],
    *,
    limit: int,
    now: int,
) -> tuple[Sequence[Orphan], bool]:
    """Claim the jobs of one dead worker, at most `limit`; also tell whether that was all.

    The dead worker's row goes with its last job, so that a rescuer that dies here leaves the
    rest to the next one.
    """
    rows = db.execute(sql["orphans"], (dead, limit + 1)).fetchall()
    orphans = []
    for id_, number, was_lost in rows[:limit]:
        started = bool(was_lost) or (id_, number) in marked
        values = {"rescuer": rescuer, "started": started, "id": id_, "number": number}
        taken = attempt_row(db, sql, id_, partial(db.execute, sql["take_over"], values), now)
        orphans += [Orphan(read_claim(row[:-1], row[-1] or 0), started, dead) for row in taken]
        fault.point("rescue.taking_over")
    complete = len(rows) <= limit
    if complete:
        db.execute(sql["forget"], (dead,))
    return orphans, complete
