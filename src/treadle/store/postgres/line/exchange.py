"""exchange: settle, then claim, in one transaction. The hot path of the PostgreSQL store.

All of it goes out at once and is one round trip. Where several named queues are claimed from,
what is ready in each is asked before, and shared out here. The worker's row is locked first; it
remembers the request and its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from treadle.core.job import Claim
from treadle.core.outcome import Settlement, Verdict
from treadle.store.contract import BATCH_MAX, Exchanged
from treadle.store.postgres.engine.pack import (
    Value,
    boolean,
    int8,
    int8s,
    text,
    texts,
    uuids,
)
from treadle.store.postgres.engine.rows import QUEUE, best_first, read_claim
from treadle.store.postgres.engine.runner import Talk
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call, Row, Rows
from treadle.store.postgres.gates.ample import Ample, ample
from treadle.store.postgres.gates.line import Seen, peek, touches, wake
from treadle.store.postgres.history import History
from treadle.store.postgres.line.enqueue import request_id
from treadle.store.postgres.line.handing import withdraw
from treadle.store.postgres.line.scan import Look, Mark, Scan, pieces
from treadle.store.postgres.line.settle import Batch
from treadle.store.postgres.news.own import read_handed

if TYPE_CHECKING:
    from treadle.core.lanes import Demand

Portion = tuple[str, int]
"""A queue, and how many of its jobs are claimed: what of a demand's share there is."""
Gates = Seen | Ample

_BATCH: Final = 32
"""With so many settlements a claim passes over what others have touched: see `picking`."""


class Memory(Struct, frozen=True):
    """What a store remembers for its exchanges."""

    scan: Scan
    history: History
    now: int | None = None
    """The time that the caller says it is."""
    offered: bool = False
    """The worker may have made an offer, by which it may have been handed a job."""


def exchange(
    sql: Statements,
    worker: str,
    request: bytes,
    settlements: Sequence[Settlement],
    demand: Demand | None,
    ring: Sequence[Call],
    memory: Memory,
) -> Talk[tuple[Exchanged, Rows]]:
    """Carry out one exchange; see the contract. Gives what was handed over beside the answer."""
    me, scan = (text(worker), request_id(request)), memory.scan
    plan = yield from _planned(sql, me, settlements, demand, memory)
    seen, batch, claim, wanted = plan.seen, plan.batch, plan.claim, plan.wanted
    calls = [*plan.calls, (sql["next_due"], ())]
    taking = withdraw(sql, worker) if memory.offered else ()
    now, (locked, *answers) = yield Ask([*calls, *taking], after=ring)
    # Who is not known is being rescued, and so is what it was handed.
    handed = answers[-1] if taking and locked else []
    del answers[len(calls) - 1 :]
    if locked and locked[0][0] == me[1]:
        return (yield from again(sql, locked[0], batch)), handed
    done, freed, rows, said, due = plan.sorted_out(answers)
    if claim.look is not None:
        rows = _in_turn(rows, claim.portions)
        scan.saw(claim.look, rows, wanted)
    common = seen.common if isinstance(seen, Ample) else None
    answer = _answer(batch.verdicts(done), rows, wanted, now, due, common, gone=not locked)
    if not locked:
        return answer, handed
    left = scan.looked(locked[0][-1], peeked=plan.peeked)
    if seen is not None:
        names = seen.to_wake(freed)
        woken = (yield from wake(sql, names, ring)) if names else 0
        if claim.look is not None:
            left = _behind(seen, scan, said, now, answer.claims, wanted)
        left = left or woken > 0
    left_out = left or claim.left_out(len(answer.claims))
    return replace(answer, more=True) if left_out else answer, handed


def _behind(
    seen: Gates, scan: Scan, said: Sequence[Rows], now: int, claims: Sequence[Claim], wanted: int
) -> bool:
    """Learn what a claim with gates says after it; tell whether it has left ready jobs behind.

    Parked jobs, or gates that were not seen beforehand, may have hidden others.
    """
    left = bool(said[-1][0][0])
    scan.parking = left and len(claims) < wanted
    scan.remember(seen.names, now)
    scan.common = claims[-1].gates if claims else scan.common
    calm = seen.is_calm(said, claimed=bool(claims))
    scan.felt(calm=calm, deceived=not calm and isinstance(seen, Ample))
    return left


def _look(
    sql: Statements,
    settlements: Sequence[Settlement],
    demand: Demand | None,
    scan: Scan,
    *,
    wanted: int,
) -> Talk[Gates | None]:
    """Read which gates the exchange may touch, and choose the short way where it will do."""
    seen = yield from peek(sql, settlements, demand, scan.known, wanted=wanted)
    if seen is None or not scan.calm:
        return seen
    return ample(seen, settlements, scan.common) or seen


class _Claiming(Struct, frozen=True):
    """How an exchange claims: with which statement, shared out how, from which look."""

    call: Call
    portions: Sequence[Portion] = ()
    look: Look | None = None
    settled: int = 0

    def left_out(self, claimed: int) -> bool:
        """Tell whether to ask again at once, by a whole look: a marked claim passes jobs over.

        So does one that comes with a batch of settlements, and finds nothing else.
        """
        planned = sum(count for _, count in self.portions) if len(self.portions) > 1 else 0
        passed_over = self.look is not None and (
            not self.look.is_whole or (not claimed and self.settled >= _BATCH)
        )
        return passed_over or claimed < planned


def _claiming(
    sql: Statements,
    me: tuple[Value, Value],
    settlements: Sequence[Settlement],
    demand: Demand | None,
    scan: Scan,
    *,
    wanted: int,
    seen: Gates | None,
) -> Talk[_Claiming]:
    """Choose how to claim; where gates were seen, jobs that have some are claimed, too."""
    if demand is None or not wanted:
        return _Claiming((sql["remember"], me))
    settled = int8(len(settlements))
    # Behind a mark, jobs that gates have woken would be missed: where some wait, all is looked at.
    look = scan.begin(() if isinstance(seen, Seen) else settlements, demand)
    if isinstance(seen, Ample) and look.marks:
        if look.is_single:
            told = (*_from(look.marks[0], demand, wanted), *seen.told())
            return _Claiming((sql["claim_ample_on"], (*me, settled, *told)), (), look)
        look = scan.begin((), demand)
    if look.marks:
        portions: list[Portion] = []
        name, values = "claim_on", _from(look.marks[0], demand, wanted)
        if not look.is_single:
            name = "claim_marked"
            portions, values = yield from _marked(sql, look.marks, demand, wanted)
        return _Claiming((sql[name], (*me, settled, *values)), portions, look)
    room = min(wanted, demand.shares[0].limit)
    if demand.shares[0].queue is None:
        # Lanes never mix a share for every queue with others.
        name, values = "claim_any", (int8(room), boolean(look.is_thorough))
        if seen is not None:
            name, values = f"{seen.claim}_any", (None, int8s([room]), *seen.told())
        return _Claiming((sql[name], (*me, settled, *values)), (), look, len(settlements))
    names = {share.queue for share in demand.shares}
    portions = [(names.pop() or "", room)] if len(names) == 1 else []
    if not portions:
        # Asked beforehand: no transaction may stay open while this process can be stopped.
        asked = (sql["available"], (texts(sorted(filter(None, names))), int8(wanted)))
        _, [ready] = yield Ask([asked])
        portions = shared(demand, wanted, dict(ready))
    rooms = (*me, settled, *_rooms(portions))
    if seen is not None:
        return _Claiming((sql[seen.claim], (*rooms, *seen.told())), portions, look)
    call = sql["claim_named"], (*rooms, boolean(look.is_thorough))
    return _Claiming(call, portions, look, len(settlements))


class _Plan(Struct, frozen=True):
    """What one exchange sends: the lock, then settlements and a claim, with gates around them."""

    wanted: int
    seen: Gates | None
    peeked: bool
    batch: Batch
    claim: _Claiming
    lock: Call
    before: Sequence[Call]
    between: Sequence[Call]
    after: Sequence[Call]

    @property
    def calls(self) -> Sequence[Call]:
        """Give the statements in the order in which they are sent."""
        batch = self.batch.calls
        return [self.lock, *self.before, *batch, *self.between, self.claim.call, *self.after]

    def sorted_out(
        self, answers: Sequence[Rows]
    ) -> tuple[Sequence[Rows], Sequence[Rows], Rows, Sequence[Rows], Rows]:
        """Tell apart, behind the lock's: settlements, freed gates, claims, what follows, due."""
        settled = len(self.before)
        freed = settled + len(self.batch.calls)
        at = freed + len(self.between)
        return (
            answers[settled:freed],
            answers[freed:at],
            answers[at],
            answers[at + 1 : -1],
            answers[-1],
        )


def _planned(
    sql: Statements,
    me: tuple[Value, Value],
    settlements: Sequence[Settlement],
    demand: Demand | None,
    memory: Memory,
) -> Talk[_Plan]:
    """Choose what to send, after a look at the gates where jobs have some."""
    scan = memory.scan
    wanted = 0 if demand is None else max(0, min(demand.total, BATCH_MAX))
    peeked = scan.gated or any(touches(one) for one in settlements)
    seen = (yield from _look(sql, settlements, demand, scan, wanted=wanted)) if peeked else None
    succeeded = ("settle_succeeded", ()) if seen is None else seen.succeeded
    batch = Batch(sql, me, settlements, memory.history, memory.now, succeeded)
    claim = yield from _claiming(sql, me, settlements, demand, scan, wanted=wanted, seen=seen)
    lock = (sql["lock_worker" if seen is None else seen.lock], me[:1])
    if seen is None:
        return _Plan(wanted, seen, peeked, batch, claim, lock, (), (), ())
    after = seen.after(sql, me[0], wanted, many=scan.parking)
    return _Plan(
        wanted, seen, peeked, batch, claim, lock, seen.before(sql, me), seen.between(sql), after
    )


def _from(mark: Mark, demand: Demand, wanted: int) -> Sequence[Value]:
    """Give the parameters of a claim that goes on from a mark."""
    share = demand.shares[0]
    return (
        text(mark.queue),
        int8(min(wanted, share.limit)),
        int8(mark.priority),
        int8(mark.tag),
        mark.id,
        boolean(share.queue is None),
    )


def _marked(
    sql: Statements, marks: Sequence[Mark], demand: Demand, wanted: int
) -> Talk[tuple[list[Portion], Sequence[Value]]]:
    """Give the parameters of a claim that goes on from several marks, and its portions."""
    names = sorted({share.queue for share in demand.shares if share.queue is not None})
    takes_any = not names
    cut = pieces(marks, names or sorted({mark.queue for mark in marks}))
    columns = [
        texts([piece.queue for piece in cut]),
        int8s([piece.low for piece in cut]),
        int8s([piece.high for piece in cut]),
        int8s([piece.tag for piece in cut]),
        uuids([piece.id for piece in cut]),
    ]
    first = min(wanted, demand.shares[0].limit)
    if takes_any:
        return [], (int8s([first]), boolean(takes_any), int8s([1] * len(cut)), *columns)
    portions = [(names[0], first)]
    if len(names) > 1:
        _, [ready] = yield Ask([(sql["available_marked"], (int8(wanted), *columns))])
        portions = shared(demand, wanted, dict(ready))
    rooms = [sum(count for name, count in portions if name == queue) for queue in names]
    numbers = int8s([names.index(piece.queue) + 1 for piece in cut])
    return portions, (int8s(rooms), boolean(takes_any), numbers, *columns)


def shared(demand: Demand, wanted: int, ready: dict[str, int]) -> list[Portion]:
    """Share what is ready out among the shares of a demand, in their order."""
    portions = []
    for share in demand.shares:
        name = share.queue or ""
        taken = min(share.limit, wanted, ready.get(name, 0))
        if taken > 0:
            portions.append((name, taken))
            ready[name] -= taken
            wanted -= taken
    return portions


def _rooms(portions: Iterable[Portion]) -> tuple[Value, Value]:
    """Add up what each queue is claimed from."""
    rooms: dict[str, int] = {}
    for name, count in portions:
        rooms[name] = rooms.get(name, 0) + count
    return texts(list(rooms)), int8s(list(rooms.values()))


def _in_turn(rows: Rows, portions: Sequence[Portion]) -> Rows:
    """Put claimed rows in the order of the demand: each share in turn, the best first."""
    best_first(rows)
    if len(portions) <= 1:
        return rows
    by_queue: dict[str, list[Row]] = {}
    for row in reversed(rows):
        by_queue.setdefault(row[QUEUE], []).append(row)
    ordered = []
    for name, count in portions:
        left = by_queue.get(name, [])
        ordered += [left.pop() for _ in range(min(count, len(left)))]
    return ordered


def _answer(
    verdicts: Sequence[Verdict],
    rows: Rows,
    wanted: int,
    now: int,
    due: Rows,
    common: bytes | None,
    *,
    gone: bool,
) -> Exchanged:
    """Make the answer; rows that are no claims have expired instead."""
    claims = [read_claim(row, None, common) for row in rows if row[-1]]
    short = len(claims) < wanted or not wanted
    # Where others claimed from one of several queues meanwhile, another may have more.
    several = len({claim.queue for claim in claims}) > 1
    return Exchanged(
        verdicts,
        claims,
        more=len(claims) < len(rows) or not short or several,
        next_due=next_due(due, now) if short else None,
        gone=gone,
    )


def next_due(rows: Rows, now: int) -> int | None:
    """Give the time until the next waiting job is due, None when none waits."""
    [[first]] = rows
    return None if first is None else max(0, first - now)


def again(sql: Statements, row: Row, batch: Batch | None) -> Talk[Exchanged]:
    """Answer a request that was carried out before: the same verdicts and claims.

    A claim whose job has moved on since keeps the number it was given under: what its worker
    settles is LOST then. One whose record is no longer there is left out.
    """
    request, ids, given, lost_in, lost, _ = row
    numbers = dict(zip(ids or (), given or (), strict=True))
    _, [found] = yield Ask([(sql["claims_again"], (uuids(list(numbers)),))])
    claims: list[Claim] = [read_claim(one, numbers[one[2]]) for one in best_first(found)]
    verdicts = batch.verdicts_again(lost if lost_in == request else ()) if batch else ()
    return Exchanged(verdicts, claims, more=True)


def idle(
    sql: Statements, worker: str, request: bytes, queues: Sequence[str] | None, memory: Memory
) -> Talk[tuple[Exchanged, Rows] | None]:
    """Answer an exchange that has nothing to write, without a lock; None where it may have.

    Gives what was handed over beside the answer, as `exchange` does.
    """
    name = request_id(request)
    names = None if queues is None else texts(queues)
    now, (known, [[ready]], due, *handed) = yield Ask(
        [
            (sql["last_request"], (text(worker),)),
            (sql["any_ready"], (names,)),
            (sql["next_due"], ()),
            *(read_handed(sql, worker) if memory.offered else ()),
        ]
    )
    rows = handed[0] if handed and known else []
    if known and known[0][0] == name:
        return (yield from again(sql, known[0], None)), rows
    if ready and known:
        memory.scan.gated = bool(known[0][-1])
        return None
    return Exchanged((), (), next_due=next_due(due, now), gone=not known), rows
