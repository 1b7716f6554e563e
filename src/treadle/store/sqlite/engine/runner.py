"""The runner: carries one conversation with the file through locks and faults.

A verb is a plain function of a connection and the store's now. `write` and `read` wrap it in
a transaction as a generator that yields how long to pause while another connection holds the
lock; `drive_now` sleeps those pauses on the caller's thread, `drive` awaits them on a loop.
So each verb is written once, and a locked file never blocks an event loop. `lend` begins a
transaction that a task keeps (`engine.loan`); while one lasts, the writes of others wait for it.
Who has waited too long for the lock goes before those who come later (`engine.overdue`).
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from treadle.core.errors import SchemaMismatch, StoreDamaged, StoreError, StoreUnavailable
from treadle.core.threads.interrupted import codes_of
from treadle.store.lacking import no_descriptor
from treadle.store.sqlite.engine.loan import INSIDE, Loan
from treadle.store.sqlite.engine.overdue import Overdue
from treadle.store.sqlite.engine.turns import Turns

if TYPE_CHECKING:
    from treadle.store.sqlite.engine.clock import StoreClock
    from treadle.store.sqlite.engine.pool import Pool

T = TypeVar("T")
Pauses = Generator[float, bool | None, T]
"""Yields seconds to pause; it is sent True where the pause holds up the caller's thread."""
Body = Callable[[sqlite3.Connection, int], T]

_PAUSE_FIRST = 0.000_2
_PAUSE_MAX = 0.02
_SELF_LOCK_AFTER = 1.0
# The write lock of the WAL index is byte 120 of the -shm file (sqlite.org/walformat.html).
_WRITE_LOCK_BYTE = 120
_LOCKS = Path("/proc/locks")
_LOCK_FIELDS = 8
_BLOCKS = True
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged, and waiting does not mend it: stop what uses it, "
    "check a copy with `pragma integrity_check`, and restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database, or its first page is damaged: check "
    "the URL, or restore it from a backup",
}
_FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the second one where it quotes a damaged schema, whose text is none."""


class Runner:
    """Runs conversations against the connections of one pool."""

    def __init__(self, pool: Pool, clock: StoreClock, *, name: str, timeout: float) -> None:
        """Take the pool, the clock, the store's name for errors and the longest wait (s)."""
        self.pool = pool
        pool.carriers = codes_of(drive, drive_now)
        self.clock = clock
        self.name = name
        self.timeout = timeout
        self.writing = 0
        """How many writes of this process hold or want the lock now."""
        self.last: Callable[[sqlite3.Connection], None] | None = None
        """What belongs into each write, after its body."""
        self.loans: set[Loan] = set()
        """The transactions that tasks of this process hold now."""
        self.turns = Turns()
        self.overdue = Overdue()
        """Who has waited too long, in this process or another."""

    def write(self, body: Body[T], now: int | None = None, *, clocked: bool = True) -> Pauses[T]:
        """Run `body` in a transaction that holds the write lock from its first statement.

        `clocked=False` is for the migration that makes the clock's own table.

        Raises:
            StoreUnavailable: the lock was not to be had in time, or the file is at fault;
                nothing was written.
        """
        connection = yield from self._connection()
        self.writing += 1
        sound = False
        try:
            yield from self._until_locked(lambda: self._begin(connection))
            seen = self.clock.seen(connection) if clocked else 0
            answer = body(connection, seen if now is None else now)
            if clocked and self.last is not None:
                self.last(connection)
            connection.execute("commit")
            sound = True
        except _FAULTS as error:
            raise self._explained(error) from error
        finally:
            self.writing -= 1
            self._return(connection, sound=sound)
        return answer

    def read(self, body: Body[T], now: int | None = None) -> Pauses[T]:
        """Run `body` in a read transaction: one consistent state, no lock taken.

        Raises:
            StoreUnavailable: the file is at fault.
        """
        connection = yield from self._connection()
        sound = False
        try:
            # A reader, too, finds the file busy while another process recovers it after a crash.
            answer = yield from self._until_free(
                lambda: _attempted(
                    lambda: _in_transaction(connection, lambda: body(connection, self._now(now)))
                ),
                in_order=False,
            )
            sound = True
        except _FAULTS as error:
            raise self._explained(error) from error
        finally:
            self._return(connection, sound=sound)
        return answer

    def one(self, body: Body[T], now: int | None = None) -> Pauses[T]:
        """Run a body of a single statement without a transaction around it.

        The statement is its own transaction; while the file is locked it is tried again.

        Raises:
            StoreUnavailable: as for `write`.
        """
        connection = yield from self._connection()
        self.writing += 1
        sound = False
        try:
            answer = yield from self._until_locked(lambda: body(connection, self._now(now)))
            sound = True
        except _FAULTS as error:
            raise self._explained(error) from error
        finally:
            self.writing -= 1
            self._return(connection, sound=sound)
        return answer

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Take the write lock; from before that until `_return` this thread is known to hold it."""
        if self.pool.path is not None:
            self.pool.check_inside()
        try:
            self.pool.enter(connection)
            connection.execute("begin immediate")
        except BaseException:
            self.pool.leave(connection)
            raise

    def _now(self, given: int | None) -> int:
        return self.clock.now() if given is None else given

    async def lend(self, keep: Callable[[Loan], None]) -> Loan:
        """Begin a transaction that lasts until the loan ends, for a task on this event loop.

        `keep` is given it at once: an error raised in a thread may strike at any point.

        Raises:
            StoreUnavailable: as for `write`.
        """
        turn: Future[None] = Future()
        try:
            await self.turns.wait(turn, self.timeout)
            return await drive(self._lent(turn, threading.get_ident(), keep))
        except TimeoutError as error:
            raise self._locked() from error
        finally:
            self._leave(turn)

    def lend_now(self, keep: Callable[[Loan], None]) -> Loan:
        """Do the same for a task in a thread.

        Raises:
            StoreUnavailable: as for `write`.
        """
        turn: Future[None] = Future()
        try:
            self.turns.wait_now(turn, self.timeout)
            return drive_now(self._lent(turn, None, keep))
        except TimeoutError as error:
            raise self._locked() from error
        finally:
            self._leave(turn)

    def _leave(self, turn: Future[None]) -> None:
        """End a turn that came to no loan."""
        if all(loan.turn is not turn for loan in tuple(self.loans)):
            self.turns.leave(turn)

    def _lent(
        self, turn: Future[None], thread: int | None, keep: Callable[[Loan], None]
    ) -> Pauses[Loan]:
        """Begin a transaction when the turn has come.

        Raises:
            StoreUnavailable: as for `write`.
        """
        connection = yield from self._connection(self.pool.separate)
        kept = False
        try:
            yield from self._until_locked(lambda: connection.execute("begin immediate"))
            self.clock.seen(connection)
            loan = Loan(connection, self._take_back, turn, thread)
            self.loans.add(loan)
            keep(loan)
            kept = True
        except _FAULTS as error:
            raise self._explained(error) from error
        finally:
            if not kept:
                self._return(connection, sound=False)
            self.pool.leave(connection)
        return loan

    def _take_back(self, loan: Loan) -> None:
        """Take the connection of a loan that has ended; nobody else is given one of a file."""
        if loan in self.loans:
            loan.inner.text_factory = str
            self.pool.drop(loan.inner)
            self.loans.discard(loan)
        self.turns.leave(loan.turn)

    def check_outside(self) -> None:
        """Refuse what code inside a loan would wait for until its own loan ends.

        Raises:
            StoreError: the caller is a task that holds one.
        """
        loan = INSIDE.get()
        if loan is not None and loan in self.loans:
            raise StoreError(
                f"{self.name} is locked by the transaction of this very job, and would be until "
                "its function returns; inside ctx.transaction() enqueue with "
                "task.using(connection=db), and leave other calls for after the job"
            )

    def _until_locked(self, attempt: Callable[[], T]) -> Pauses[T]:
        """Try until the file's lock is this write's; in memory the connection is the lock."""
        in_order = self.pool.path is not None
        return self._until_free(partial(_attempted, attempt), in_order=in_order)

    def _connection(
        self, take: Callable[[], sqlite3.Connection | None] | None = None
    ) -> Pauses[sqlite3.Connection]:
        attempt = partial(self._take, take or self.pool.take)
        return self._until_free(attempt, in_order=self.pool.path is None)

    def _until_free(self, attempt: Callable[[], tuple[T] | None], *, in_order: bool) -> Pauses[T]:
        """Try until an attempt gives something; in order: whoever is overdue goes first."""
        if not (in_order and self.overdue.marked) and (done := attempt()) is not None:
            return done[0]
        since, begun = self.overdue.now(), time.monotonic()
        blocks: bool | None = None
        try:
            while (in_order and self.overdue.before(since)) or (done := attempt()) is None:
                pause = self._pause(begun, blocks=blocks)
                blocks = yield self.overdue.pause(since, pause) if in_order else pause
        finally:
            if in_order:
                self.overdue.done(since)
        return done[0]

    def _take(
        self, take: Callable[[], sqlite3.Connection | None]
    ) -> tuple[sqlite3.Connection] | None:
        """Take a connection; None while there is none, or the file is too busy to open one."""
        try:
            connection = take() if self.pool.path is not None else self.pool.take_only(take)
        except _FAULTS as error:
            if _primary(error) in _BUSY:
                return None
            raise self._explained(error) from error
        return None if connection is None else (connection,)

    def _pause(self, begun: float, *, blocks: bool | None) -> float:
        """Say how long to pause next, with jitter, for one who waits since `begun`.

        Raises:
            StoreUnavailable: the store's patience is over, or waiting makes no sense.
        """
        self.pool.check_inside()
        self.check_outside()
        waited = time.monotonic() - begun
        if waited >= self.timeout:
            raise self._locked()
        if waited > _SELF_LOCK_AFTER:
            self._check_own(waited, blocks=blocks)
        # In step with the wait so far: who waits among busy writers looks often enough to
        # meet the gap between two transactions, who waits for a backup looks rarely.
        pause = min(max(_PAUSE_FIRST, waited / 8), _PAUSE_MAX)
        return pause * (0.5 + random.random())  # noqa: S311 -- spreads waiters, no secret

    def _check_own(self, waited: float, *, blocks: bool | None) -> None:
        """Refuse to wait for a lock that this process holds and may never let go.

        Raises:
            StoreUnavailable: it may.
        """
        if self.turns.taken:
            if blocks and any(loan.thread == threading.get_ident() for loan in tuple(self.loans)):
                msg = (
                    f"{self.name} has been locked for {waited:.1f} s by the transaction of a job "
                    "on this event loop, which this very call holds up; await the async twin, "
                    "whose name begins with a"
                )
                raise StoreUnavailable(msg)
        elif self._locked_by_this_process():
            msg = (
                f"{self.name} has been locked for {waited:.1f} s by another connection of "
                "this process; inside your own transaction enqueue with "
                "task.using(connection=your_connection), or commit first"
            )
            raise StoreUnavailable(msg)

    def _locked_by_this_process(self) -> bool:
        """Tell whether a connection of this process that is not ours holds the write lock.

        Reads the kernel's list of locks (proc_locks(5)). To ask the file itself it would have
        to be opened, and closing it again would drop every lock that SQLite holds on it for
        this process (sqlite.org/howtocorrupt.html, section 2.2).
        """
        if self.writing > 1 or self.pool.path is None:
            return False
        try:
            inode = Path(f"{self.pool.path.resolve()}-shm").stat().st_ino
            listed = _LOCKS.read_text(encoding="ascii")
        except OSError:
            return False
        return any(_is_own_write_lock(line.split(), inode) for line in listed.splitlines())

    def _return(self, connection: sqlite3.Connection, *, sound: bool) -> None:
        if sound:
            self.pool.give(connection)
        else:
            try:
                if connection.in_transaction:
                    connection.execute("rollback")
            except sqlite3.Error:
                # The connection is closed next, which rolls back whatever is left.
                connection.interrupt()
            self.pool.drop(connection)
        self.pool.leave(connection)

    def _locked(self) -> StoreUnavailable:
        if self.turns.taken:
            return StoreUnavailable(
                f"{self.name} was locked by transactions of this worker's own jobs for "
                f"{self.timeout:g} s; enter ctx.transaction() as late in a task as you can"
            )
        return StoreUnavailable(
            f"{self.name} was locked by another program for {self.timeout:g} s; "
            "look for a long transaction or a backup, then send the call again",
            passing=True,
        )

    def _explained(self, error: sqlite3.Error | UnicodeDecodeError) -> Exception:
        """Turn SQLite's error into one that says what to do."""
        code = _primary(error)
        lack = no_descriptor() if code == sqlite3.SQLITE_CANTOPEN else None
        advice = lack or {
            sqlite3.SQLITE_FULL: "the disk is full; free some space",
            sqlite3.SQLITE_READONLY: "the file or its folder cannot be written; check its rights",
            sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check the path and its rights",
            sqlite3.SQLITE_IOERR: "the disk reported an error; check its health and free space",
        }.get(code)
        if advice is not None:
            passing = lack is not None
            return StoreUnavailable(f"{self.name}: {advice} ({error})", passing=passing)
        if code in _DAMAGED:
            return StoreDamaged(f"{self.name}: {_DAMAGED[code]} ({error})")
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)):
            # Sent again it would be refused again: whoever sent a batch sends its rows apart.
            return StoreError(f"{self.name} refused what was to be written: {error}")
        if "no such table" in str(error) or "no such column" in str(error):
            return SchemaMismatch(f"{self.name}: {error}; run `treadle migrate`")
        if code in _BUSY:
            return self._locked()
        return StoreUnavailable(f"{self.name}: {type(error).__name__}: {error}")


def _attempted(attempt: Callable[[], T]) -> tuple[T] | None:
    """Give what an attempt gave; None when the file was locked."""
    try:
        return (attempt(),)
    except sqlite3.OperationalError as error:
        if _primary(error) not in _BUSY:
            raise
    return None


def _in_transaction(connection: sqlite3.Connection, body: Callable[[], T]) -> T:
    """Read one consistent state; the connection is free of it whatever happens."""
    connection.execute("begin")
    try:
        return _read(connection, body)
    finally:
        if connection.in_transaction:
            connection.execute("commit")


def _read(connection: sqlite3.Connection, body: Callable[[], T]) -> T:
    """Read; where a text is none, read again with its bad bytes replaced.

    The driver's fast reader refuses such a row and with it the whole answer.
    """
    try:
        return body()
    except sqlite3.OperationalError as error:
        if "Could not decode to UTF-8" not in str(error):
            raise
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        return body()
    finally:
        connection.text_factory = str


def _is_own_write_lock(fields: list[str], inode: int) -> bool:
    """Tell whether a line of the kernel's list is this process's lock on the WAL's write byte.

    A line reads `7: POSIX  ADVISORY  WRITE 1234 08:02:393225 120 120`.
    """
    if len(fields) != _LOCK_FIELDS or fields[1:4] != ["POSIX", "ADVISORY", "WRITE"]:
        return False
    pid, file, first, last = fields[4:]
    return (
        (int(pid), file.rpartition(":")[2]) == (os.getpid(), str(inode))
        and int(first) <= _WRITE_LOCK_BYTE
        and (last == "EOF" or int(last) >= _WRITE_LOCK_BYTE)
    )


def _primary(error: sqlite3.Error | UnicodeDecodeError) -> int:
    """Give SQLite's primary result code: the low byte of the extended one."""
    if isinstance(error, UnicodeDecodeError):
        return sqlite3.SQLITE_CORRUPT
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


async def drive(pauses: Pauses[T]) -> T:
    """Carry a conversation on an event loop: its pauses let other tasks run."""
    try:
        while True:  # noqa: ASYNC110 -- another process holds the lock; no event tells of it
            await asyncio.sleep(next(pauses))
    except StopIteration as done:
        return cast("T", done.value)
    finally:
        pauses.close()


def drive_now(pauses: Pauses[T]) -> T:
    """Carry a conversation on the caller's own thread."""
    try:
        pause = next(pauses)
        while True:
            time.sleep(pause)
            pause = pauses.send(_BLOCKS)
    except StopIteration as done:
        return cast("T", done.value)
    finally:
        pauses.close()
