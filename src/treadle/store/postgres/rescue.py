"""rescue: taking over the jobs of workers that are gone.

A worker is suspect when its lease has ended by the server's clock, and dead when a second look,
`suspect_after` later by the rescuer's own monotonic clock, finds no new beat. A rescuer whose
own beat has not succeeded rescues nobody. When the server's clock was set, no lease is judged
by it for as long as that lease, in which every living worker beats anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from treadle.core.durations import SECOND
from treadle.core.job import Orphan
from treadle.store.postgres.engine.pack import int8, int8s, text, uuids
from treadle.store.postgres.engine.rows import read_claim
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Rows
from treadle.store.postgres.workers import Held, read_info
from treadle.store.suspecting import Suspects

_STEP_MIN: Final = 2 * SECOND
"""How far the server's clock and ours may drift apart between two beats without a step."""


class Sign(Struct, frozen=True):
    """What the store knows of a worker: its lease and its last beat."""

    lease: int
    beat: int | None


class Watch:
    """One worker's memory: whom it suspects, and what the store counts as its own."""

    def __init__(self, suspect_after: int) -> None:
        """Take the time between the two looks (microseconds)."""
        self._suspect_after = suspect_after
        self._suspects = Suspects()
        self._offset: int | None = None
        self._stepped_at: int | None = None
        self.beaten_at: int | None = None
        """When its own last beat succeeded, by the monotonic clock."""
        self._unheld: Held = set()
        self.unseen: Held = set()
        """What it took over in a call whose answer was lost."""
        self.taken: list[Orphan] = []
        """Taken over and not yet handed to the rescuer."""
        self._handed: Held = set()

    def compare(self, held: Held, own: Held, taken_over: Held) -> Held:
        """Compare hands with the store; give the claims that were not in hand twice running.

        A claim whose answer is just being read looks unheld once; twice means it was lost.
        """
        unheld = (own | taken_over) - held
        lost = unheld & self._unheld
        self._unheld = unheld
        self._handed &= taken_over
        self.unseen = (lost & taken_over) - self._handed
        return lost & own

    def hand_over(self, limit: int) -> Sequence[Orphan]:
        """Hand what was taken over to the rescuer."""
        orphans, self.taken = self.taken[:limit], self.taken[limit:]
        self._handed |= {(orphan.claim.id, orphan.claim.number) for orphan in orphans}
        return orphans

    def beaten(self, now: int, monotonic: int) -> None:
        """Note a beat: by the server's clock, and when it was sent by the monotonic one."""
        offset = now - monotonic
        if self._offset is not None and abs(offset - self._offset) > _STEP_MIN:
            self._stepped_at = monotonic
        self._offset = offset
        self.beaten_at = monotonic

    def dead(self, others: dict[str, Sign], now: int, monotonic: int) -> list[str]:
        """Tell which workers are dead; `now` is the store's."""
        self._suspects.keep(others)
        return [w for w, sign in others.items() if self._is_dead(w, sign, now, monotonic)]

    def _is_dead(self, worker: str, sign: Sign, now: int, monotonic: int) -> bool:
        stepped = self._stepped_at is not None and monotonic - self._stepped_at <= sign.lease
        age = None if sign.beat is None else now - sign.beat
        if age is not None and (stepped or 0 <= age <= sign.lease):
            self._suspects.clear(worker)
            return False
        suspect_for = self._suspects.look(worker, sign.beat, monotonic)
        # A beat from the future, before the clock went back, tells nothing of its age: a whole
        # lease is waited for beside the second look, by the rescuer's own clock.
        needed = self._suspect_after + (sign.lease if age is not None and age < 0 else 0)
        return suspect_for is not None and suspect_for >= needed


def crew(sql: Statements, worker: str) -> Talk[tuple[int, dict[str, Sign]]]:
    """Read every worker that is registered or holds jobs; also give the store's now."""
    now, [rows] = yield Ask([(sql["crew"], ())])
    signs = {id_: Sign(read_info(id_, info).lease, beat) for id_, info, beat in rows}
    return now, signs if worker in signs else {}


def take_over(
    sql: Statements, rescuer: str, dead: str, beat: int | None, limit: int
) -> Talk[Sequence[Orphan]]:
    """Claim the jobs of one dead worker, at most `limit`, if it has not beaten since.

    The dead worker's row goes with its last job, so that a rescuer that dies here leaves the
    rest to the next one.
    """
    them, seen = text(dead), int8(beat)
    calls = [
        (sql["lock_row"], (them,)),
        (sql["lock_beat"], (them,)),
        (sql["take_over"], (them, text(rescuer), seen, int8(limit))),
        (sql["forget_dead"], (them, seen)),
    ]
    _, (_, _, rows, _) = yield Ask(calls)
    return _orphans(rows)


def take_again(sql: Statements, rescuer: str, unseen: Held) -> Talk[Sequence[Orphan]]:
    """Claim anew what this rescuer took over in a call whose answer it never saw."""
    pairs = sorted(unseen)
    values = (uuids([id_ for id_, _ in pairs]), int8s([number for _, number in pairs]))
    _, [rows] = yield Ask([(sql["take_again"], (text(rescuer), *values))])
    return _orphans(rows)


def _orphans(rows: Rows) -> Sequence[Orphan]:
    return [
        Orphan(read_claim(row[:-2]), started=True if row[-1] else None, lost_by=row[-2])
        for row in sorted(rows, key=_id)
    ]


def _id(row: tuple[bytes, ...]) -> bytes:
    return row[2]
