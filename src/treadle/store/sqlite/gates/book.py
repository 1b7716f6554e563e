"""The gates that one transaction touches: each is read once and written once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from treadle.core.durations import HOUR
from treadle.core.gates.gate import (
    BREAKER,
    FULL,
    LOOKS_MAX,
    PLACES,
    REPLACE,
    REPLACED,
    SKIP,
    STARTS,
    TASK,
    Gate,
    GateUse,
    read_gates,
)
from treadle.core.gates.tells import ORDER, Tell, told
from treadle.core.ids import id_text
from treadle.store.sqlite.keys.freeing import ENDED, free
from treadle.store.sqlite.rows import Row

Statements = dict[str, str]


class Book:
    """The gates of one transaction; `write` must be the last thing that is done with it."""

    def __init__(self, db: sqlite3.Connection, sql: Statements, now: int) -> None:
        self.db = db
        self.sql = sql
        self.now = now
        self._gates: dict[str, Gate] = {}
        self._was: dict[str, Row] = {}
        self._first: dict[str, Row | None] = {}
        self.ended: set[bytes] = set()
        """Jobs that have ended because they found no place."""

    def find(self, name: str) -> Gate | None:
        """Read a gate by its name."""
        gate = self._gates.get(name)
        if gate is None:
            row = self.db.execute(self.sql["gate"], (name,)).fetchone()
            if row is None:
                return None
            gate = self._gates[name] = gate_of(row)
            self._was[name] = gate_row(gate)
        return gate

    def of(self, use: GateUse, defined_at: int | None = None) -> Gate:
        """Read the gate that a job carries, or make it as the job says.

        A job enqueued at `defined_at` brings a definition: the newest one counts, unless
        somebody has set the numbers at run time.
        """
        gate = self.find(use.name)
        if gate is None:
            gate = Gate(use.name, use.kind, use.quota, use.period, use.burst)
            gate.defined_at = defined_at or 0
            self._gates[use.name] = gate
        elif defined_at is not None and defined_at > gate.defined_at and not gate.is_set:
            gate.defined_at = defined_at
            said = (use.kind, use.quota, use.period, use.burst)
            if said != (gate.kind, gate.quota, gate.period, gate.burst):
                self.define(gate, use)
                gate.wake_at = self.now
        return gate

    def define(self, gate: Gate, use: GateUse) -> None:
        """Take a definition; what becomes a bound on places counts what runs already."""
        if use.kind != gate.kind:
            [(running,)] = self.db.execute(self.sql["running_at"], {"name": gate.name})
            gate.used, gate.woken = running if use.kind == PLACES else 0, 0
        gate.define(use, self.now)

    def first_shut(self, uses: Sequence[GateUse], defined_at: int | None = None) -> str | None:
        """Name the first gate that lets no such job pass now; None when all of them do."""
        for use in uses:
            gate = self.of(use, defined_at)
            if gate.room(self.now) < gate.takes(use.cost):
                return use.name
        return None

    def known_shut(self, uses: Sequence[GateUse]) -> str | None:
        """Do the same for a job that becomes ready: it does not overtake those that wait."""
        for use in uses:
            gate = self.of(use)
            waiting = self.db.execute(self.sql["best_waiting"], (use.name,)).fetchone()
            if waiting is not None or gate.room(self.now) < gate.takes(use.cost):
                return use.name
            if self.first_asking(use.name) is not None:
                return use.name
        return None

    def first_asking(self, name: str) -> Row | None:
        """Read who waits longest outside jobs: token, cost, whether the next room is its."""
        if name not in self._first:
            row = self.db.execute(self.sql["first_asking"], (name, self.now)).fetchone()
            self._first[name] = row
        return self._first[name]

    def line_changed(self, name: str) -> None:
        """Read anew who waits outside jobs."""
        self._first.pop(name, None)

    def reserved(self, gate: Gate) -> int:
        """Tell how much of the room is for who asks outside jobs, because it is his turn."""
        first = self.first_asking(gate.name)
        return gate.takes(first[1]) if first is not None and first[2] else 0

    def _turn(self, gate: Gate) -> None:
        """Give the next turn to who waits longest outside jobs: jobs have had theirs."""
        first = self.first_asking(gate.name)
        if first is not None and not first[2]:
            self.db.execute(self.sql["asks_next"], (gate.name, first[0]))
            self.line_changed(gate.name)

    def take(self, id_: bytes, uses: Sequence[GateUse]) -> None:
        """Let a job pass all of its gates."""
        for use in uses:
            gate = self.of(use)
            gate.take(use.cost, self.now)
            if gate.kind == BREAKER and gate.tripped:
                gate.probe = id_
            opens = gate.opens_at(1, self.now)
            # Who waits is looked at when there is room again, which may be sooner than was said:
            # at once where some is left, for he may cost more and wait for a start that leaves.
            if opens is None or (
                gate.wake_at is not None and (opens > self.now or gate.kind in STARTS)
            ):
                gate.wake_at = opens

    def free(self, id_: bytes, uses: Sequence[GateUse]) -> set[str]:
        """Take back what a job holds that runs no more; `wake` or `stage` passes it on.

        Names the gates that have room for it.
        """
        freed = set()
        for use in uses:
            # What the gate bounds now counts, and not what it bounded when the job was enqueued.
            gate = self.find(use.name)
            if gate is None or not (gate.kind == PLACES or gate.probe == id_):
                continue
            if gate.kind == PLACES:
                gate.used = max(0, gate.used - 1)
            gate.probe, gate.wake_at = None, self.now
            freed.add(use.name)
        return freed

    def tell(self, said: Sequence[tuple[bytes, Tell]]) -> set[str]:
        """Let gates know what attempts of jobs say of them; name those that it changed.

        Failures come first and what shuts last, so that the order of those that ended together does
        not count.
        """
        changed = set()
        for id_, tell in sorted(said, key=_order):
            # What shuts may name a gate that nobody has named yet.
            gate = self.of(GateUse(tell.name)) if tell.says == "shut" else self.find(tell.name)
            if gate is not None and told(gate, tell, id_, self.now):
                changed.add(tell.name)
        return changed

    def park(
        self, id_: bytes, at: str, uses: Sequence[GateUse], *, met_by_claim: bool = False
    ) -> None:
        """Park a ready job at the gate that does not let it pass.

        One that is met by a claim may have been woken by its other gates: they pass its place on.
        """
        self.db.execute(self.sql["park"], {"at": at, "id": id_})
        for use in uses:
            gate = self.of(use)
            if met_by_claim:
                gate.woken = max(0, gate.woken - gate.takes(use.cost))
            if use.name == at:
                self.look(gate, use.cost)
                self._is_full(id_, use)
            elif met_by_claim and gate.wake_at is not None:
                gate.wake_at = min(gate.wake_at, self.now)

    def look(self, gate: Gate, cost: int) -> None:
        """Note when `stage` must look at a gate at which a job of this cost waits."""
        again = gate.look_again(cost, self.now)
        if again is not None:
            gate.wake_at = again if gate.wake_at is None else min(gate.wake_at, again)

    def held_tasks(self) -> set[str]:
        """Name the tasks that are paused in this transaction, which are not written yet."""
        held = [g.name for g in self._gates.values() if g.is_shut(self.now)]
        return {name.removeprefix(TASK) for name in held if name.startswith(TASK)}

    def wake(self, gate: Gate) -> int:
        """Wake the best jobs that may pass; return how many became ready.

        A job that another gate would not let pass waits there from now on.
        """
        left, woken, looks = gate.to_wake(self.now) - self.reserved(gate), 0, 0
        while left > 0 and looks < LOOKS_MAX:
            page = min(left, LOOKS_MAX - looks)
            rows = self.db.execute(self.sql["waiting"], (gate.name, page)).fetchall()
            looks += len(rows)
            for id_, raw in rows:
                uses = uses_of(raw)
                takes = gate.takes(cost_at(gate.name, uses))
                if takes > left:
                    # Those behind it wait for it, however little they would take.
                    looks = LOOKS_MAX
                    break
                if self._wake_one(id_, gate, uses):
                    woken, left = woken + 1, left - takes
                    gate.woken, gate.woken_at = gate.pending(self.now) + takes, self.now
            if len(rows) < page:
                break
        if woken:
            self._turn(gate)
        best = self.db.execute(self.sql["best_waiting"], (gate.name,)).fetchone()
        gate.wake_at = None
        if best is not None:
            self.look(gate, cost_at(gate.name, uses_of(best[0])))
        return woken

    def _wake_one(self, id_: bytes, gate: Gate, uses: Sequence[GateUse]) -> bool:
        others = [use for use in uses if use.name != gate.name]
        at = self.first_shut(others)
        if at is None:
            self.db.execute(self.sql["wake_parked"], (id_,))
            return True
        self.db.execute(self.sql["move"], {"at": at, "id": id_})
        use = next(u for u in others if u.name == at)
        self.look(self.of(use), use.cost)
        self._is_full(id_, use)
        return False

    def _is_full(self, id_: bytes, use: GateUse) -> None:
        """Do what a job that was parked just now says of a gate without a free place."""
        if not use.on_full or not self.db.execute(self.sql["waits_first"], (id_,)).fetchone():
            return
        if use.on_full == SKIP:
            if not self.of(use).is_shut(self.now):
                self._end(id_, FULL)
            return
        rows = self.db.execute(self.sql["replaceable"], (use.name, LOOKS_MAX)).fetchall()
        ids = [one for one, raw in rows if says_at(use.name, uses_of(raw)) == REPLACE]
        for older in ids[1:]:
            self._end(older, REPLACED + id_text(ids[0]))

    def _end(self, id_: bytes, reason: str) -> None:
        self.db.execute(self.sql["end_full"], {"id": id_, "reason": reason, "now": self.now})
        free(self.db, self.sql, [id_], ENDED, self.now)
        self.ended.add(id_)

    def write(self) -> None:
        """Write every gate that has changed."""
        rows = {name: gate_row(gate) for name, gate in self._gates.items()}
        hour = self.now - self.now % HOUR
        changed = [(*row, hour) for name, row in rows.items() if row != self._was.get(name)]
        if changed:
            self.db.executemany(self.sql["write_gate"], changed)


def gate_of(row: Row) -> Gate:
    """Read a gate from its row."""
    *values, is_set, tripped, probe, failed = row
    gate = Gate(*values)
    gate.is_set, gate.tripped, gate.probe = bool(is_set), tripped, probe
    gate.lately = [int(at) for at in failed.split() if at.isdecimal()]
    return gate


def gate_row(gate: Gate) -> Row:
    """Write a gate as the values of `write_gate`, without the hour."""
    return (
        gate.name, gate.kind, gate.quota, gate.period, gate.burst, gate.used, gate.full_at,
        gate.part, gate.shut_until, gate.note, gate.woken, gate.woken_at, gate.wake_at,
        gate.defined_at, int(gate.is_set), gate.tripped, gate.probe,
        " ".join(map(str, gate.lately)),
    )  # fmt: skip


@lru_cache(maxsize=1_024)
def uses_of(raw: bytes | None) -> Sequence[GateUse]:
    """Read the gates of a stored job; what a hand has damaged is none, and then nothing waits.

    Most jobs of a batch carry the same ones.
    """
    try:
        return tuple(read_gates(raw))
    except ValueError:
        return ()


def says_at(name: str, uses: Sequence[GateUse]) -> str:
    """Give what a job says of a gate by its name that has no place for it."""
    return next((use.on_full for use in uses if use.name == name), "")


def _order(said: tuple[bytes, Tell]) -> int:
    return ORDER.index(said[1].says)


def cost_at(name: str, uses: Sequence[GateUse]) -> int:
    """Give what a job takes of a gate by its name."""
    return next((use.cost for use in uses if use.name == name), 1)
