"""The relay: takes jobs out of an outbox and hands them to the store, in order and once.

A row is deleted only after the store has answered for its job, so a relay that dies loses
nothing. One that dies or stands still between the two is followed by one that sends the row again,
under the same request, and the store changes nothing: it keeps requests for an hour, and knows a
job that it stored by its id for as long as the record is kept. A row that the store refuses is
set aside with the reason, and those behind it go on.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Container, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.core import fault
from treadle.core.errors import SchemaMismatch, StoreError, StoreUnavailable
from treadle.core.ids import id_text
from treadle.transit.desk import Desk

if TYPE_CHECKING:
    from treadle.core.job import NewJob
    from treadle.store.contract import Store
    from treadle.store.outbox.table import Backlog, Waiting

_log = logging.getLogger("treadle.relay")

REST_MIN_S: Final = 0.05
"""How soon an outbox is looked at again after rows were found in it."""
_AWAY_MAX_S: Final = 10.0
"""The longest rest between two tries while the store or the database is away."""


class Relayed(Struct):
    """What a relay has done so far."""

    sent: int = 0
    refused: int = 0
    stands_by: bool = False
    """Another relay works on this outbox."""


class Relay:
    """Relays one outbox into one store, on the caller's thread."""

    def __init__(self, desk: Desk, store: Store, poll: float) -> None:
        """Take the desk, the open store, and the longest rest between two looks (s)."""
        self._desk = desk
        self._store = store
        self._poll = poll
        self.done = Relayed()

    def run(self, stop: threading.Event, *, once: bool = False) -> Relayed:
        """Relay until `stop`, or with `once` until the outbox is empty.

        Raises:
            StoreError: only with `once`: the store or the database could not be used.
        """
        rest = REST_MIN_S
        while not stop.is_set():
            try:
                found = self.step()
            except StoreError as error:
                if once:
                    raise
                rest = min(2 * rest, _AWAY_MAX_S)
                _log.warning("%s; the relay tries again in %.3g s", error, rest)
                stop.wait(rest)
                continue
            if found:
                rest = REST_MIN_S
                continue
            if once:
                break
            self._desk.wait(min(rest, self._poll), stop)
            rest = min(2 * rest, max(self._poll, REST_MIN_S))
        self._desk.close()
        return self.done

    def step(self) -> int:
        """Relay one page; give how many rows it had, none when another relay has the turn.

        Raises:
            StoreError: nothing was deleted; the same page comes again.
        """
        rows = self._desk.page()
        self._tell_turn(rows)
        if not rows:
            if rows is not None:
                self._desk.run(self._desk.outbox.done((), ()))
            return 0
        try:
            fault.point("relay.after_read")
            refused = self._send(rows)
            fault.point("relay.after_send")
            faulty = {seq for seq, _ in refused}
            sent = [row.seq for row in rows if row.seq not in faulty]
            self._desk.run(self._desk.outbox.done(sent, refused))
        except BaseException:
            # A transaction that stays open would keep every other relay out.
            self._desk.close()
            raise
        fault.point("relay.after_commit")
        self.done.sent += len(sent)
        self.done.refused += len(refused)
        return len(rows)

    def backlog(self) -> Backlog:
        """Count what lies in the outbox."""
        return self._desk.run(self._desk.outbox.backlog())

    def _tell_turn(self, rows: Sequence[Waiting] | None) -> None:
        """Say once when another relay works, and when it has gone."""
        stands_by = rows is None
        if stands_by and not self.done.stands_by:
            _log.info("another relay works on %s; this one stands by", self._desk.outbox.table)
        self.done.stands_by = stands_by

    def _send(self, rows: Sequence[Waiting]) -> list[tuple[int, str]]:
        """Hand rows to the store; give those that it or their own form refuses, and why."""
        refused: list[tuple[int, str]] = []
        jobs: list[tuple[int, NewJob]] = []
        # Where ended jobs lie apart, the store's enqueue alone would not know them again.
        records = self._store.get_now([row.id for row in rows])
        fault.point("relay.after_look")
        known = {row.id for row, record in zip(rows, records, strict=True) if record is not None}
        for row in rows:
            try:
                jobs.append((row.seq, row.job()))
            except ValueError as error:
                if row.id not in known:
                    refused.append(self._refused(row.seq, row.id, error))
        for request, batch in _batches(jobs, known):
            refused += self._send_batch(request, batch)
        return refused

    def _send_batch(
        self, request: bytes, jobs: Sequence[tuple[int, NewJob]]
    ) -> list[tuple[int, str]]:
        """Hand jobs to the store at once, or apart where one of them is refused."""
        try:
            self._store.enqueue_now(request, [job for _, job in jobs])
        except (StoreUnavailable, SchemaMismatch):
            raise
        except Exception:  # noqa: BLE001 -- one of them is at fault: sent alone, each meets its own
            return self._send_apart(jobs)
        return []

    def _send_apart(self, jobs: Sequence[tuple[int, NewJob]]) -> list[tuple[int, str]]:
        """Hand jobs to the store one by one, in order."""
        refused = []
        for seq, job in jobs:
            try:
                self._store.enqueue_now(_request((job,)), (job,))
            except (StoreUnavailable, SchemaMismatch):
                raise
            except Exception as error:  # noqa: BLE001 -- whichever, it is this job's alone
                refused.append(self._refused(seq, job.id, error))
        return refused

    def _refused(self, seq: int, id_: bytes, error: Exception) -> tuple[int, str]:
        why = f"{type(error).__name__}: {error}"
        _log.error("job %s of the outbox is set aside: %s", id_text(id_), why)
        return seq, why


def _batches(
    jobs: Sequence[tuple[int, NewJob]], known: Container[bytes]
) -> Iterator[tuple[bytes, list[tuple[int, NewJob]]]]:
    """Part a page, in order, into jobs with keys and jobs without; give requests and what to send.

    Where one with a key went into another job, only its request tells, which a store answers for
    the very jobs that it was first sent with: so these go whole. Every store knows ended jobs
    that have a key by their records; of the others those that are known stay behind.
    """
    for keyed, run in groupby(jobs, lambda pair: pair[1].key is not None):
        batch = list(run)
        new = [pair for pair in batch if pair[1].id not in known]
        if new:
            yield _request([job for _, job in batch]), batch if keyed else new


def _request(jobs: Sequence[NewJob]) -> bytes:
    """Name a request so that these jobs have the same one, whoever sends them (16 bytes)."""
    return hashlib.blake2b(b"".join(job.id for job in jobs), digest_size=16).digest()


def age_s(oldest: int | None) -> float:
    """Give how long the oldest row has waited, by this machine's clock (s)."""
    return 0.0 if oldest is None else max(0.0, time.time() - oldest / 1e6)
