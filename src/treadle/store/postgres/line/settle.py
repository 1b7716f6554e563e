"""settle: the settlements of one exchange as a few statements, and their verdicts.

A batch is parted by what becomes of the jobs: those that succeeded (nearly all, with the fewest
columns), other ends, and those that go on; what ends is parted by the table that it goes to. Each
part is one statement that answers with the places of the settlements that applied. Rows are named
in the order of their ids, so that two transactions never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle.core.job import JobState, read_error
from treadle.core.outcome import Settlement, Verdict
from treadle.store.contract import ATTEMPTS_KEPT
from treadle.store.postgres.engine.pack import Value, blobs, int8, int8s, lenient, texts, uuids
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Call, Rows
from treadle.store.postgres.history import DEAD, History
from treadle.store.postgres.keys.freeing import freeing
from treadle.store.postgres.tenants.turns import turns

Placed = Sequence[tuple[int, Settlement]]
Succeeded = tuple[str, Sequence[Value]]


class Batch:
    """The settlements of one exchange."""

    def __init__(
        self,
        sql: Statements,
        me: tuple[Value, Value],
        settlements: Sequence[Settlement],
        history: History,
        now: int | None = None,
        succeeded: Succeeded = ("settle_succeeded", ()),
    ) -> None:
        """Take them with who settles, under which request, and where to; `now` as in exchange.

        `succeeded` is the statement for those that did, with what it is told besides.
        """
        self._settlements = settlements
        self.calls: list[Call] = []
        self._parts = 0
        self._history = history
        self._now = now
        self._succeeded = succeeded
        if settlements:
            self._part(sql, me)

    def _part(self, sql: Statements, me: tuple[Value, Value]) -> None:
        # The first of two settlements for one claim is the one that counts.
        first: dict[tuple[bytes, int], tuple[int, Settlement]] = {}
        for place, settlement in enumerate(self._settlements):
            first.setdefault((settlement.id, settlement.number), (place, settlement))
        placed = [one for _, one in sorted(first.items())]
        succeeded = [one for one in placed if one[1].state is JobState.SUCCEEDED]
        name, besides = self._succeeded
        for table, part in self._by_table(succeeded):
            said = self._history.variant(name, table)
            self.calls.append((said, (*me, *_ends(part), *besides)))
        if len(succeeded) < len(placed):
            rest = [one for one in placed if one[1].state is not JobState.SUCCEEDED]
            ended = [one for one in rest if one[1].state.is_terminal]
            waiting = [one for one in rest if not one[1].state.is_terminal]
            for table, part in self._by_table(ended):
                values = (*me, *_ends(part), *_whys(part, typed=True))
                self.calls.append((self._history.variant("settle_ended", table), values))
            if waiting:
                values = (*me, *_rests(waiting), *_whys(waiting, typed=False))
                self.calls.append((sql["settle_waiting"], values))
        self._parts = len(self.calls)
        often = [s.id for _, s in placed if s.number > ATTEMPTS_KEPT and not s.state.is_terminal]
        if often:
            self.calls.append((sql["trim_attempts"], (uuids(often), int8(ATTEMPTS_KEPT))))
        keyed = [s.id for _, s in placed if s.keyed and s.state.is_terminal]
        if keyed:
            self.calls += freeing(sql, uuids(keyed))
        elif len(succeeded) < len(placed):
            self.calls += turns(sql)

    def _by_table(self, placed: Placed) -> Iterable[tuple[str, Placed]]:
        """Part what ends by the table of history that it goes to: nearly always one."""
        tables: dict[tuple[bool, int], str] = {}
        parts: dict[str, list[tuple[int, Settlement]]] = {}
        for one in placed:
            is_dead, keep = kind = (one[1].state is JobState.FAILED, one[1].keep)
            table = tables.get(kind)
            if table is None:
                table = DEAD if is_dead else self._history.table(keep, self._now)
                tables[kind] = table
            parts.setdefault(table, []).append(one)
        return parts.items()

    def verdicts(self, answers: Sequence[Rows]) -> list[Verdict]:
        """Read the answers to `calls`: one verdict a settlement, in order."""
        found = [Verdict.LOST] * len(self._settlements)
        for rows in answers[: self._parts]:
            for (place,) in rows:
                found[place] = Verdict.APPLIED
        return found

    def verdicts_again(self, lost: Sequence[int]) -> list[Verdict]:
        """Give the verdicts of a request that was carried out before."""
        places = set(lost)
        seen: set[tuple[bytes, int]] = set()
        found = []
        for place, one in enumerate(self._settlements):
            twice = (one.id, one.number) in seen
            seen.add((one.id, one.number))
            found.append(Verdict.LOST if twice or place in places else Verdict.APPLIED)
        return found


def none_succeeded(history: History, me: tuple[Value, Value], keep: int, now: int | None) -> Call:
    """Give the settlement of no job at all, into the table of those kept for so long."""
    table = history.table_of(keep, now)
    return history.variant("settle_succeeded", table), (*me, *_ends(()))


def _heads(placed: Placed) -> list[Value]:
    return [
        uuids([s.id for _, s in placed]),
        int8s([s.number for _, s in placed]),
        int8s([place for place, _ in placed]),
    ]


def _ends(placed: Placed) -> list[Value]:
    return [
        *_heads(placed),
        int8s([s.keep for _, s in placed]),
        int8s([s.ran for _, s in placed]),
        blobs([s.result if s.state is JobState.SUCCEEDED else None for _, s in placed]),
    ]


def _rests(placed: Placed) -> list[Value]:
    delays = int8s([s.delay for _, s in placed])
    return [*_heads(placed), delays, int8s([s.ran for _, s in placed])]


def _whys(placed: Placed, *, typed: bool) -> list[Value]:
    """Give the columns that tell of anything but a success."""
    kinds = [texts([_error_type(s) for _, s in placed])] if typed else []
    return [
        texts([s.state.value for _, s in placed]),
        texts([s.outcome for _, s in placed]),
        int8s([s.attempt for _, s in placed]),
        blobs([s.error for _, s in placed]),
        *kinds,
        texts([lenient(s.reason) for _, s in placed]),
        int8s([s.forgiven for _, s in placed]),
        int8s([s.crashes for _, s in placed]),
        texts([s.lost_by for _, s in placed]),
    ]


def _error_type(settlement: Settlement) -> str | None:
    """Give what dead letters are grouped by."""
    error = read_error(settlement.error)
    return None if error is None else lenient(error.type)
