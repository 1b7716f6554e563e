"""Gates on the line: what enqueue, exchange and stage say for jobs that have some.

Jobs without gates never come here: their claim passes over those that have some, and the look at
an index that holds only ready jobs with gates tells an exchange whether there are any. Where
there are, their gates are read beforehand, so that the transaction can lock them all in the order
of their names: one that were met later could make two exchanges wait for each other in a circle.
What was not read beforehand is left for the next call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from treadle.core.gates.gate import KINDS, LOOKS_MAX, GateUse, read_gates
from treadle.store.postgres.engine.pack import int8, int8s, lenient, texts, uuids
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call, Rows
from treadle.store.postgres.tenants.turns import turns, turns_at_gates

if TYPE_CHECKING:
    from treadle.core.job import NewJob
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement
    from treadle.store.postgres.engine.pack import Value


Defined = tuple[GateUse, int]
"""A definition, and when the job was enqueued that says it."""


class Seen(Struct, frozen=True):
    """What an exchange has seen of gates before its transaction."""

    names: tuple[str, ...]
    """The gates to lock, in their order."""
    missing: Sequence[Defined]
    changed: Sequence[Defined]
    """Those of which a job says something else that is newer."""
    settled: Sequence[Settlement]
    """Those whose claims hold something."""
    queues: tuple[str, ...] | None
    lock: str = "lock_worker"
    claim: str = "claim_gated"
    """The statements that an exchange with gates chooses."""
    succeeded: tuple[str, Sequence[Value]] = ("settle_succeeded", ())

    def told(self) -> list[Value]:
        """Give what the claim is told besides."""
        return [texts(self.names)]

    def before(self, sql: Statements, me: tuple[Value, Value]) -> list[Call]:
        """Lock jobs, then gates, and let go of what settled claims hold."""
        ids = uuids([s.id for s in self.settled])
        names = texts(self.names)
        calls: list[Call] = [(sql["lock_jobs"], (ids,))] if self.settled else []
        if self.missing:
            calls.append((sql["ensure_gates"], _dated(self.missing)))
        calls.append((sql["lock_gates"], (names,)))
        if self.changed:
            calls.append((sql["redefine_gates"], _dated(self.changed)))
        if any(s.tells for s in self.settled):
            calls.append((sql["tell_gates"], (*me, *_told(self.settled))))
        if self.settled:
            numbers = int8s([s.number for s in self.settled])
            calls.append((sql["free_settled"], (*me, ids, numbers)))
        return calls

    def between(self, sql: Statements) -> list[Call]:
        """Park what became ready and wake who waits, once the settlements are written."""
        names = texts(self.names)
        waits = [s.id for s in self.settled if not s.state.is_terminal and not s.delay]
        calls: list[Call] = []
        if waits:
            calls = [(sql["park_ready"], (uuids(waits),)), *turns_at_gates(sql)]
        return [*calls, *waking(sql, names), *turns(sql)]

    def after(self, sql: Statements, worker: Value, wanted: int, *, many: bool) -> list[Call]:
        """Park more where the last claim parked some; ask for calm, and for jobs that are left."""
        names, queues = texts(self.names), names_of(self.queues)
        calls: list[Call] = []
        if many:
            calls = [(sql[name], (queues, names)) for name in ("park_paused", "park_more")]
        # Who waits for the key of one that ends is woken by the next stage.
        calls.append((sql["end_full"], (names, None)))
        calm = (sql["gates_calm"], (names, int8(wanted)))
        left = (sql["any_left"], (worker, int8(wanted), queues))
        return [*calls, *turns_at_gates(sql), calm, left]

    def is_calm(self, answers: Sequence[Rows], *, claimed: bool) -> bool:  # noqa: ARG002
        """Tell from the answers to `after`: nobody waits, and there is room for the next claim."""
        return bool(answers[-2][0][0])

    def to_wake(self, answers: Sequence[Rows]) -> list[str]:  # noqa: ARG002
        """Nowhere: `between` has woken them."""
        return []


def peek(
    sql: Statements,
    settlements: Sequence[Settlement],
    demand: Demand | None,
    known: tuple[str, ...] = (),
    *,
    wanted: int,
) -> Talk[Seen | None]:
    """Read which gates an exchange of so many jobs may touch; None where there are none.

    Where the gates of the last exchange are `known`, they are taken for these, too, unread.
    """
    settled = _first_of_each([s for s in settlements if touches(s)])
    held = {use.name for raw in {s.gates for s in settled} for use in _uses(raw)}
    queues = _queues_of(demand)
    # A gate that is to be shut need not be there yet.
    made = [(GateUse(t.name), 0) for s in settled for t in s.tells if t.says == "shut"]
    held |= {tell.name for s in settled for tell in s.tells}
    if known:
        return Seen(tuple(sorted(held.union(known))), made, (), settled, queues)
    values = (names_of(queues), int8(wanted), texts(sorted(held)))
    _, [rows] = yield Ask([(sql["peek"], values)])
    sound = [(GateUse(row[0], row[1], 1, *row[2:5]), *row[5:]) for row in rows if _is_sound(row)]
    names = tuple(sorted(held.union(use.name for use, *_ in sound)))
    if not names:
        return None
    missing = [(use, made_at) for use, made_at, is_missing, _ in sound if is_missing]
    changed = [(use, made_at) for use, made_at, _, is_changed in sound if is_changed]
    return Seen(names, [*missing, *made], changed, settled, queues)


def touches(settlement: Settlement) -> bool:
    """Tell whether a settlement has to do with gates."""
    return settlement.gates is not None or bool(settlement.tells)


def _told(settled: Sequence[Settlement]) -> tuple[Value, ...]:
    """Give the columns of what settlements say of gates."""
    said = [(one, tell) for one in settled for tell in one.tells]
    return (
        uuids([one.id for one, _ in said]),
        int8s([one.number for one, _ in said]),
        texts([tell.name for _, tell in said]),
        texts([tell.says for _, tell in said]),
        int8s([tell.span for _, tell in said]),
        texts([lenient(tell.why) for _, tell in said]),
    )


def _queues_of(demand: Demand | None) -> tuple[str, ...] | None:
    """Name the queues that are asked for; None is any."""
    names = set() if demand is None else {share.queue for share in demand.shares}
    return None if None in names else tuple(sorted(filter(None, names)))


def _is_sound(row: Sequence[object]) -> bool:
    """Tell whether the definition on a job is one; a hand may have made it something else."""
    _, kind, quota, period, burst, *_ = row
    numbers = [quota, period, burst]
    return kind in KINDS and all(isinstance(n, int) for n in numbers)


def _first_of_each(settlements: Sequence[Settlement]) -> Sequence[Settlement]:
    """Leave out what settles one claim again."""
    first: dict[tuple[bytes, int], Settlement] = {}
    for one in settlements:
        first.setdefault((one.id, one.number), one)
    return list(first.values())


def _uses(raw: bytes | None) -> Sequence[GateUse]:
    try:
        return read_gates(raw)
    except ValueError:
        return ()


def names_of(queues: Sequence[str] | None) -> Value:
    """Pack the queues that are asked for; null is any."""
    return None if queues is None else texts(queues)


def definitions(uses: Sequence[GateUse]) -> tuple[Value, ...]:
    """Give the columns of definitions."""
    return (
        texts([use.name for use in uses]),
        texts([use.kind for use in uses]),
        int8s([use.quota for use in uses]),
        int8s([use.period for use in uses]),
        int8s([use.burst for use in uses]),
    )


def _dated(news: Sequence[Defined]) -> tuple[Value, ...]:
    """Give the columns of definitions with their instants."""
    return (*definitions([use for use, _ in news]), int8s([made_at for _, made_at in news]))


def defined(sql: Statements, name: Value, jobs: Sequence[NewJob]) -> list[Call]:
    """Say what new jobs bring along of their gates; of one batch the first definition counts."""
    uses: dict[str, GateUse] = {}
    for raw in dict.fromkeys(job.gates for job in jobs):
        for use in read_gates(raw):
            uses.setdefault(use.name, use)
    given = (*definitions(list(uses.values())), name)
    return [(sql["define_made"], given), *_locked(sql, jobs)] if uses else []


def _locked(sql: Statements, jobs: Sequence[NewJob]) -> list[Call]:
    """Lock the gates at which some of these jobs do not simply wait."""
    names = list(_not_waiting(jobs))
    return [(sql["lock_gates"], (texts(names),))] if names else []


def ending(sql: Statements, jobs: Sequence[NewJob]) -> list[Call]:
    """End new jobs that found no place, or those that they replace; answers with their ids."""
    said = _not_waiting(jobs)
    given = (texts(list(said)), texts(list(said.values())))
    return [(sql["end_full"], given), (sql["hand_on"], ())] if said else []


def _not_waiting(jobs: Sequence[NewJob]) -> dict[str, str]:
    """Give what these jobs say of gates at which they do not simply wait; `` where they differ."""
    said: dict[str, str] = {}
    for raw in {job.gates for job in jobs if job.gates is not None}:
        for use in read_gates(raw):
            if use.on_full:
                differs = said.setdefault(use.name, use.on_full) != use.on_full
                said[use.name] = "" if differs else use.on_full
    return dict(sorted(said.items()))


def meet(sql: Statements, name: Value, jobs: Sequence[NewJob]) -> list[Call]:
    """Say, after a batch with keys, what its jobs bring along, and park those that are shut out.

    The last answer tells of those, as the ones of keys do.
    """
    gated = [job for job in jobs if job.gates is not None]
    if not gated:
        return []
    ids = uuids([job.id for job in gated])
    raw = texts([written(job.gates) for job in gated])
    said = [(use, job.id) for job in gated for use in read_gates(job.gates)]
    given = (*definitions([use for use, _ in said]), uuids([id_ for _, id_ in said]))
    calls = [(sql["define_stored"], given), *_locked(sql, gated)]
    calls += [(sql["give_gates"], (ids, raw)), (sql["park_made"], (ids,))]
    places = int8s([place for place, job in enumerate(jobs) if job.gates is not None])
    return [*calls, *ending(sql, gated), (sql["met_gates"], (name, ids, places))]


def written(raw: bytes | None) -> str | None:
    """Write the gates of a job as a text."""
    return None if raw is None else raw.decode()


def waking(sql: Statements, names: Value, looks: int = 1) -> list[Call]:
    """Say who is woken at these gates, which are locked; the first answer counts them.

    So many that wait are looked at where as many may not be woken, because they move to another
    gate.
    """
    return [(sql["wake_parked"], (names, int8(looks))), (sql["look_again"], (names,))]


def wake(sql: Statements, names: Sequence[str], ring: Sequence[Call] = ()) -> Talk[int]:
    """Wake who waits at these gates, or move him to another one; give how many became ready.

    Where some were moved there may be others behind them, which are looked at in a second go.
    """
    given = texts(names)
    ready, moved = 0, 1
    for looks in (1, LOOKS_MAX):
        calls = [(sql["lock_gates"], (given,)), *waking(sql, given, looks)]
        calls += [(sql["end_full"], (given, None)), (sql["hand_on"], ())]
        calls += [*turns(sql), *turns_at_gates(sql)]
        _, (_, [[woken, moved, *_]], *_) = yield Ask(calls, after=ring)
        ready += int(woken)
        if not moved:
            break
    return ready
