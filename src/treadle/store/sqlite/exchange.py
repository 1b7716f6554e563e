"""exchange: settle, then claim, in one transaction. The hot path of the SQLite store.

Both halves work in batches with one prepared statement each. A settlement is one fenced
update; when a batch finds that not every row was changed, it is rolled back to its start and
written row by row, to learn whose claim was lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct, msgpack

from treadle.core import fault
from treadle.core.job import Claim, JobState
from treadle.core.outcome import Settlement, Verdict
from treadle.store.contract import ATTEMPTS_KEPT, BATCH_MAX, Exchanged
from treadle.store.sqlite.gates.book import Book
from treadle.store.sqlite.gates.line import admit, settled
from treadle.store.sqlite.keys.freeing import CLAIMED, ENDED, SUCCEEDED, free
from treadle.store.sqlite.rows import (
    KEEP_UNRUN,
    UNREADABLE,
    Row,
    attempt_row,
    is_about_a_row,
    read_claim,
)
from treadle.store.sqlite.tenants.tags import give_tags

if TYPE_CHECKING:
    from treadle.core.lanes import Demand

Statements = dict[str, str]

# One merged claim joins at most this many queues; SQLite's limit is 500 (sqlite.org/limits.html).
_MERGE_MAX = 400
_TASK = 4
"""The place of the task in a claimed row."""
_NO_VERDICTS: tuple[Verdict, ...] = ()


class _Answer(Struct, frozen=True, array_like=True):
    """What is remembered of an exchange, to answer it again."""

    lost: list[int]
    settled: int
    claims: list[tuple[bytes, int]]


_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder(_Answer).decode


def exchange(
    db: sqlite3.Connection,
    sql: Statements,
    worker: str,
    request: bytes,
    settlements: Sequence[Settlement],
    demand: Demand | None,
    now: int,
) -> Exchanged:
    """Carry out one exchange inside the caller's transaction."""
    row = db.execute(sql["last_request"], (worker,)).fetchone()
    if row is not None and row[0] == request:
        return _again(db, sql, _unpack(row[1]))
    verdicts = settle(db, sql, settlements, now)
    book = Book(db, sql, now)
    settled(book, settlements, verdicts)
    if settlements:
        give_tags(db, sql)
    fault.point("exchange.settled")
    claims: list[Claim] = []
    fell_away = False
    if row is not None and demand is not None:
        claims, fell_away = _claim(book, worker, demand)
    book.write()
    if row is not None:
        lost = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.LOST]
        answer = _Answer(lost, len(verdicts), [(c.id, c.number) for c in claims])
        db.execute(sql["remember_request"], (request, _pack(answer), worker))
    short = demand is None or len(claims) < demand.total
    return Exchanged(
        verdicts,
        claims,
        more=fell_away or not short,
        next_due=next_due(db, sql, now) if short else None,
        gone=row is None,
    )


def next_due(db: sqlite3.Connection, sql: Statements, now: int) -> int | None:
    """Give the time until the next waiting job is due, None when none waits."""
    first = db.execute(sql["next_due"]).fetchone()[0]
    return None if first is None else max(0, int(first) - now)


def settle(
    db: sqlite3.Connection, sql: Statements, settlements: Sequence[Settlement], now: int
) -> Sequence[Verdict]:
    """Write settlements, each only if its claim is still the one running."""
    if not settlements:
        return _NO_VERDICTS
    succeeded = [s for s in settlements if s.state is JobState.SUCCEEDED]
    if len(succeeded) == len(settlements) and _all_succeeded(db, sql, succeeded, now):
        free(db, sql, [s.id for s in settlements if s.keyed], SUCCEEDED, now)
        return [Verdict.APPLIED] * len(settlements)
    verdicts = [_settle_one(db, sql, settlement, now) for settlement in settlements]
    for one, verdict in zip(settlements, verdicts, strict=True):
        if one.keyed and one.state.is_terminal and verdict is Verdict.APPLIED:
            kinds = SUCCEEDED if one.state is JobState.SUCCEEDED else ENDED
            free(db, sql, [one.id], kinds, now)
    return verdicts


def _all_succeeded(
    db: sqlite3.Connection, sql: Statements, settlements: Sequence[Settlement], now: int
) -> bool:
    db.execute("savepoint settle")
    written = db.executemany(
        sql["settle_succeeded"],
        [(s.result, now, now + s.keep, s.ran, s.id, s.number) for s in settlements],
    ).rowcount
    if written == len(settlements):
        db.execute("release settle")
        return True
    db.execute("rollback to settle")
    db.execute("release settle")
    return False


def _settle_one(
    db: sqlite3.Connection, sql: Statements, settlement: Settlement, now: int
) -> Verdict:
    state = settlement.state
    if state is JobState.SUCCEEDED:
        written = db.execute(
            sql["settle_succeeded"],
            (
                settlement.result,
                now,
                now + settlement.keep,
                settlement.ran,
                settlement.id,
                settlement.number,
            ),
        ).rowcount
        return Verdict.APPLIED if written else Verdict.LOST
    values = _named(settlement, now)
    if not state.is_terminal and settlement.outcome:
        db.execute(sql["record_attempt"], values)
        if settlement.number > ATTEMPTS_KEPT:
            db.execute(sql["trim_attempts"], (settlement.id, settlement.id, ATTEMPTS_KEPT))
    name = "settle_ended" if state.is_terminal else "settle_waiting"
    return Verdict.APPLIED if db.execute(sql[name], values).rowcount else Verdict.LOST


def _named(settlement: Settlement, now: int) -> dict[str, Any]:
    return {
        "id": settlement.id,
        "number": settlement.number,
        "state": settlement.state.value,
        "attempt": settlement.attempt,
        "outcome": settlement.outcome,
        "error": settlement.error,
        "reason": settlement.reason,
        "delay": settlement.delay,
        "keep": settlement.keep,
        "forgiven": settlement.forgiven,
        "crashes": settlement.crashes,
        "ran": settlement.ran,
        "now": now,
        "lost_by": settlement.lost_by,
    }


def _claim(book: Book, worker: str, demand: Demand) -> tuple[list[Claim], bool]:
    """Take jobs step by step until the demand is met; tell whether ready rows fell away.

    Rows fall away when they have expired or cannot be read: they end, and the next call finds
    what was behind them. So it is with those that are parked at a gate.
    """
    db, sql, now = book.db, book.sql, book.now
    claims: list[Claim] = []
    fell_away = False
    found = db.execute(sql["paused"], (now,)).fetchall()
    paused = {name for name, is_task in found if not is_task}
    tasks = {name for name, is_task in found if is_task} | book.held_tasks()
    gated = db.execute(sql["any_gated"]).fetchone() is not None
    wanted = min(demand.total, BATCH_MAX)
    for share in demand.shares:
        room = min(share.limit, wanted - len(claims))
        if room <= 0:
            break
        if share.queue is not None and share.queue in paused:
            continue
        names = _open_queues(db, sql) if share.queue is None else [share.queue]
        if names and gated:
            room, parked = admit(book, partial(_heads, db, sql, names), room, tasks)
            fell_away = fell_away or parked
        if names and room:
            rows, whole = _claim_open(book, worker, names, room, () if gated else tasks)
            taken = _as_claims(db, sql, rows, now)
            fell_away = fell_away or not whole or len(taken) < len(rows)
            claims += taken
    return claims, fell_away


def _heads(db: sqlite3.Connection, sql: Statements, names: list[str], limit: int) -> list[Row]:
    """Read the best ready jobs of these queues, with their gates."""
    statement = sql["gated_heads"].replace("{heads}", merged(sql["head"], len(names)))
    values = {"limit": limit} | {f"q{i}": name for i, name in enumerate(names)}
    return db.execute(statement, values).fetchall()


def _open_queues(db: sqlite3.Connection, sql: Statements) -> list[str]:
    """Name the queues that a merged claim joins: those that are not paused."""
    names = [name for (name,) in db.execute(sql["open_queues"])]
    if len(names) > _MERGE_MAX:
        # The queues whose best jobs are best are joined; each look is one index probe.
        found = [(db.execute(sql["best_head"], (name,)).fetchone(), name) for name in names]
        heads = sorted((-best[0], *best[1:], name) for best, name in found if best is not None)
        names = [name for *_, name in heads[:_MERGE_MAX]]
    return names


def _claim_open(
    book: Book, worker: str, names: list[str], room: int, tasks: Collection[str]
) -> tuple[list[Row], bool]:
    """Claim the best rows of these queues, none of them of a paused task.

    Mostly there are no such jobs among them, as those that were met before are parked: to take
    the claims back where there are some is cheaper than to look each time.
    """
    db, sql = book.db, book.sql
    if not tasks:
        return _claim_rows(db, sql, worker, names, room, book.now)
    db.execute("savepoint open")
    rows, whole = _claim_rows(db, sql, worker, names, room, book.now)
    if any(row[_TASK] in tasks for row in rows):
        db.execute("rollback to open")
        room, parked = admit(book, partial(_heads, db, sql, names), room, tasks)
        rows, whole = _claim_rows(db, sql, worker, names, room, book.now) if room else ([], True)
        whole = whole and not parked
    db.execute("release open")
    return rows, whole


def _claim_rows(
    db: sqlite3.Connection, sql: Statements, worker: str, names: list[str], room: int, now: int
) -> tuple[list[Row], bool]:
    """Claim the best rows of these queues together, or one by one beside a row that is bad."""
    heads = merged(sql["head"], len(names))
    values: dict[str, Any] = {"now": now, "worker": worker, "limit": room}
    values |= {f"q{i}": name for i, name in enumerate(names)}
    db.execute("savepoint claim")
    try:
        statement = sql["claim"].replace("{heads}", heads)
        rows = db.execute(statement, values).fetchall()
    except UNREADABLE as error:
        if not is_about_a_row(error):
            raise
        db.execute("rollback to claim")
    else:
        db.execute("release claim")
        return rows, True
    found = db.execute(sql["heads"].replace("{heads}", heads), values).fetchall()
    one = sql["claim_one"]
    rows = []
    for (id_,) in found:
        named = {"now": now, "worker": worker, "id": id_}
        rows += attempt_row(db, sql, id_, partial(db.execute, one, named), now)
    db.execute("release claim")
    return rows, False


@lru_cache(maxsize=512)
def merged(head: str, queues: int) -> str:
    """Write an ordered merge of the index ranges of so many queues."""
    return " union all ".join(head.replace("?", f":q{i}") for i in range(queues))


def _as_claims(
    db: sqlite3.Connection, sql: Statements, rows: list[tuple[Any, ...]], now: int
) -> list[Claim]:
    """Read claimed rows, best first; those past their expiry end instead."""
    rows.sort()
    claims = [read_claim(row, now) for row in rows]
    free(db, sql, [c.id for c in claims if c.key is not None], CLAIMED, now)
    expired = [c for c in claims if c.expires_at is not None and c.expires_at <= now]
    if not expired:
        return claims
    for claim in expired:
        db.execute(sql["expire_claimed"], (now, now + KEEP_UNRUN, claim.id))
    free(db, sql, [c.id for c in expired if c.key is not None], ENDED, now)
    return [c for c in claims if c.expires_at is None or c.expires_at > now]


def _again(db: sqlite3.Connection, sql: Statements, answer: _Answer) -> Exchanged:
    """Answer a request that was carried out before: the same verdicts and claims.

    A claim whose job has moved on since keeps the number it was given under: what its worker
    settles is LOST then. One whose record is no longer there is left out.
    """
    lost = set(answer.lost)
    verdicts = [Verdict.LOST if i in lost else Verdict.APPLIED for i in range(answer.settled)]
    claims = []
    for id_, number in answer.claims:
        row = db.execute(sql["claims_again"], (id_,)).fetchone()
        if row is not None:
            claims.append(read_claim((*row[:3], number, *row[4:-1]), row[-1] or 0))
    return Exchanged(verdicts, claims, more=True)


def answered_before(
    db: sqlite3.Connection, sql: Statements, worker: str, request: bytes
) -> Exchanged | None:
    """Answer a request that was carried out before; None when it is new."""
    row = db.execute(sql["last_request"], (worker,)).fetchone()
    return _again(db, sql, _unpack(row[1])) if row is not None and row[0] == request else None
