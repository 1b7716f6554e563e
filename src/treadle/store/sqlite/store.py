"""The SQLite store's face: every verb of the contract, in a line or two.

Each verb wraps a plain function (see the file of its group) in a transaction of the runner.
What a verb promises is written in `store.contract`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from treadle.core import fault
from treadle.core.clock import SystemClock
from treadle.core.durations import to_us
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.store.batches import check_batch
from treadle.store.contract import (
    BATCH_MAX,
    Beaten,
    Exchanged,
    Note,
    StoreFeatures,
    WorkerInfo,
)
from treadle.store.findings import Finding, Level
from treadle.store.lacking import no_descriptor
from treadle.store.sqlite import schema, upkeep, workers
from treadle.store.sqlite.access import SqliteAccess
from treadle.store.sqlite.engine import doctor
from treadle.store.sqlite.engine.bell import ENDS, WORK, FileBell, MemoryBell, Waiter
from treadle.store.sqlite.engine.clock import StoreClock
from treadle.store.sqlite.engine.live import LiveFiles, LiveMemory
from treadle.store.sqlite.engine.pool import SQLITE_MIN, Pool
from treadle.store.sqlite.engine.runner import Pauses, Runner, drive, drive_now
from treadle.store.sqlite.engine.sql import prefix_of, statements
from treadle.store.sqlite.enqueue import enqueue
from treadle.store.sqlite.exchange import answered_before, exchange, next_due
from treadle.store.sqlite.gates.verbs import SqliteHolds
from treadle.store.sqlite.keys.freeing import sweep
from treadle.store.sqlite.keys.taking import enqueue_keyed
from treadle.store.sqlite.keys.verbs import SqliteKeys
from treadle.store.sqlite.moving.verbs import SqliteMoving
from treadle.store.sqlite.rescue import Watch, others, take_over
from treadle.store.sqlite.schedules.verbs import SqliteSchedules
from treadle.store.sqlite.tenants.tags import give_tags
from treadle.store.sqlite.tenants.verbs import SqliteTenants
from treadle.store.sqlite.transactional import SqliteTransactional

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.core.job import Fate, NewJob, Orphan
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement
    from treadle.core.settings import Settings


class SqliteStore(SqliteAccess, SqliteKeys, SqliteHolds, SqliteSchedules, SqliteTenants):
    """A store in one SQLite file, or in memory when `path` is None."""

    def __init__(
        self, path: Path | None, namespace: str, settings: Settings, clock: Clock | None = None
    ) -> None:
        """Prepare the store; nothing is opened before `open`."""
        self.features = StoreFeatures(
            durable=path is not None,
            shared=path is not None,
            start_marks=True,
            beside_loop=False,
        )
        self._path = None if path is None else path.absolute()
        self._prefix = prefix_of(namespace)
        self._sql = statements(self._prefix)
        self._system = SystemClock() if clock is None else clock
        self._clock = StoreClock(self._system, self._prefix)
        self._pool = Pool(self._path)
        self._name = "the memory store" if path is None else f"the SQLite file {path}"
        self._runner = Runner(
            self._pool, self._clock, name=self._name, timeout=settings.store_timeout
        )
        self._runner.last = lambda db: give_tags(db, self._sql)
        self._suspect_after = to_us(settings.suspect_after, "suspect_after")
        self._bell: FileBell | MemoryBell
        self._lives: LiveFiles | LiveMemory
        if self._path is None:
            self._bell, self._lives = MemoryBell(), LiveMemory()
        else:
            # Where SQLite has its log: all names of one file share what lies beside it.
            lies = self._path.resolve()
            self._bell = FileBell(lies, self._pool)
            self._lives = LiveFiles(Path(f"{lies}-live"), self._prefix)
        self.transactional = SqliteTransactional(
            self._runner, self._prefix, self._sql, self._clock.now, self._ring
        )
        self.moving = SqliteMoving(self._runner, self._sql, self._bell)
        self._known_queues: set[str] = set()
        self._swept = ""
        """The name of the key from which the next prune goes on."""
        self._watches: dict[str, Watch] = {}
        self._unheld: dict[str, workers.Held] = {}
        self._waiters: weakref.WeakKeyDictionary[
            asyncio.Task[object], dict[tuple[str, ...], Waiter]
        ] = weakref.WeakKeyDictionary()

    # Life

    async def open(self, *, create: bool = True) -> None:
        """Make or open the file and bring its schema up to date."""
        self.open_now(create=create)

    def open_now(self, *, create: bool = True) -> None:
        """Do the same on the caller's own thread."""
        if sqlite3.sqlite_version_info < SQLITE_MIN:
            wanted = ".".join(map(str, SQLITE_MIN))
            msg = f"SQLite {sqlite3.sqlite_version} is too old; treadle needs {wanted} or later"
            raise StoreUnavailable(msg)
        self._make_file(create=create)
        try:
            self._begin()
        except BaseException:
            self.close_now()
            raise

    def _begin(self) -> None:
        """Check the schema, bring it up to date, and open what belongs to the file."""
        found = drive_now(self._runner.read(lambda db, _: schema.version_of(db, self._prefix)))
        schema.check_version(found, self._name)
        if found < schema.VERSION:
            self.migrate_now()
        if self._path is None:
            mark = self._sql["set_mark"], (self._pool.mark,)
            drive_now(self._runner.one(lambda db, _: db.execute(*mark)))
        self._pool.check_file()
        try:
            self._bell.open()
        except OSError as error:
            advice = "check the folder's rights"
            msg = f"{self._name}: a file beside it cannot be opened: {error}; {advice}"
            raise StoreUnavailable(msg) from error
        if self._path is not None:
            self._runner.overdue.open(self._path.resolve())

    async def close(self) -> None:
        """Close every connection."""
        self.close_now()

    def close_now(self) -> None:
        """Do the same on the caller's own thread."""
        for kinds in list(self._waiters.values()):
            for waiter in kinds.values():
                waiter.close()
        self._waiters.clear()
        self._bell.close()
        self._runner.overdue.close()
        self._lives.close()
        self._known_queues.clear()
        self._pool.close()

    async def examine(self, *, deep: bool = True) -> Sequence[Finding]:
        """Look at the file and its connection."""
        if self._path is None:
            means = "Jobs live in this process and end with it."
            return [Finding(Level.NOTE, "store", "memory", means)]

        def look(db: sqlite3.Connection, _: int) -> list[Finding]:
            version = schema.version_of(db, self._prefix)
            return doctor.look(db, self._clock.read(db), version, deep=deep)

        found = await drive(self._runner.read(look))
        try:
            return [*found, *doctor.look_at_file(self._path)]
        except OSError as error:
            raise StoreUnavailable(f"{self._name} cannot be looked at: {error}") from error

    async def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date; return its version before and after."""
        return self.migrate_now()

    def migrate_now(self) -> tuple[int, int]:
        """Do the same on the caller's own thread."""
        # The journal mode is a property of the file and cannot change in a transaction.
        drive_now(self._runner.one(lambda db, _: db.execute("pragma journal_mode = wal"), 0))
        return drive_now(
            self._runner.write(
                lambda db, _: schema.migrate(db, self._prefix, self._name), clocked=False
            )
        )

    def _make_file(self, *, create: bool) -> None:
        """Make an empty file that only its owner can read, where there is none."""
        path = self._path
        if path is None or os.path.lexists(path):
            return
        if not create:
            msg = f"{path} does not exist; check the URL, or start a worker to make it"
            raise StoreUnavailable(msg)
        try:
            # O_EXCL: a file that is there already is not opened, because closing it again would
            # drop the locks that this process's connections hold on it (close(2), fcntl(2)).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            why = no_descriptor() or f"{error.strerror}; check the folder and its rights"
            msg = f"{path} cannot be made: {why}"
            raise StoreUnavailable(msg) from error

    # Enqueue

    async def enqueue(
        self,
        request: bytes,
        jobs: Sequence[NewJob],
        *,
        now: int | None = None,
    ) -> Sequence[Fate]:
        """Store a batch; see the contract."""
        return self._stored(jobs, await drive(self._enqueue(request, jobs, now)))

    def enqueue_now(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
    ) -> Sequence[Fate]:
        """Store a batch on the caller's own thread."""
        return self._stored(jobs, drive_now(self._enqueue(request, jobs, now)))

    def _enqueue(
        self, request: bytes, jobs: Sequence[NewJob], now: int | None
    ) -> Pauses[Sequence[Fate]]:
        keyed = check_batch(jobs)
        new_queues: Sequence[str] = ()
        if len(jobs) != 1 or jobs[0].queue not in self._known_queues:
            new_queues = sorted({job.queue for job in jobs} - self._known_queues)

        def body(db: sqlite3.Connection, at: int) -> Sequence[Fate]:
            fates = enqueue(db, self._sql, () if keyed else jobs, new_queues, at)
            if keyed:
                fates = enqueue_keyed(db, self._sql, request, jobs, at)
            fault.point("enqueue.before_commit")
            return fates

        if len(jobs) == 1 and not new_queues and not keyed and jobs[0].tenant is None:
            return self._runner.one(body, now)
        return self._runner.write(body, now)

    def _stored(self, jobs: Sequence[NewJob], fates: Sequence[Fate]) -> Sequence[Fate]:
        fault.point("enqueue.after_commit")
        # A job that went into a file which somebody deleted or replaced is not stored.
        self._pool.check_file()
        if len(jobs) != 1 or jobs[0].queue not in self._known_queues:
            self._known_queues.update({job.queue for job in jobs})
        self._bell.ring(WORK)
        return fates

    def _ring(self) -> None:
        """Wake everybody, after a transaction of a task's."""
        self._bell.ring(ENDS)
        self._bell.ring(WORK)

    # The line

    async def exchange(
        self,
        worker: str,
        request: bytes,
        settlements: Sequence[Settlement],
        demand: Demand | None,
        *,
        now: int | None = None,
    ) -> Exchanged:
        """Settle these, then claim those; see the contract."""
        if not settlements and (demand is None or not await self._promising(demand)):
            return await self._idle(worker, request, now)

        asked = self._system.monotonic()

        def body(db: sqlite3.Connection, at: int) -> Exchanged:
            waited = self._system.monotonic() - asked
            answer = exchange(db, self._sql, worker, request, settlements, demand, at)
            fault.point("exchange.before_commit")
            return replace(answer, waited=waited)

        answer = await drive(self._runner.write(body, now))
        fault.point("exchange.after_commit")
        if settlements:
            self._bell.ring(ENDS)
            going_on = any(not s.state.is_terminal for s in settlements)
            if going_on or any(s.keyed or s.gates is not None for s in settlements):
                self._bell.ring(WORK)
        return answer

    async def _promising(self, demand: Demand) -> bool:
        names = [share.queue for share in demand.shares if share.queue is not None]
        return await self.ready(names if len(names) == len(demand.shares) else None)

    async def _idle(self, worker: str, request: bytes, now: int | None) -> Exchanged:
        """Answer an exchange that has nothing to write without taking the lock."""

        def body(db: sqlite3.Connection, at: int) -> Exchanged:
            again = answered_before(db, self._sql, worker, request)
            if again is not None:
                return again
            gone = not workers.is_known(db, self._sql, worker)
            return Exchanged((), (), next_due=next_due(db, self._sql, at), gone=gone)

        return await drive(self._runner.read(body, now))

    async def ready(self, queues: Sequence[str] | None) -> bool:
        """Tell, without writing, whether a job may be ready in these queues."""

        def body(db: sqlite3.Connection, _: int) -> bool:
            paused = {name for (name,) in db.execute(self._sql["paused_queues"])}
            names = [n for (n,) in db.execute(self._sql["open_queues"])]
            wanted = names if queues is None else [n for n in queues if n not in paused]
            return any(db.execute(self._sql["any_ready"], (n,)).fetchone() for n in wanted)

        return await drive(self._runner.read(body))

    async def register(self, worker: WorkerInfo, *, now: int | None = None) -> None:
        """Make a worker known, with its live file first."""
        self._lives.begin(worker.id, self._system.monotonic())
        fault.point("register.before_commit")
        try:
            await drive(
                self._runner.write(lambda db, at: workers.register(db, self._sql, worker, at), now)
            )
        except StoreError:
            # The next call may come under another id, and nobody would clear this one away.
            self._lives.end(worker.id)
            raise
        fault.point("register.after_commit")

    async def beat(
        self, worker: str, held: Sequence[tuple[bytes, int]], *, now: int | None = None
    ) -> Beaten:
        """Prolong the lease, and compare what is held with what is stored.

        The lease is prolonged before the file is asked, so a locked or faulty file costs no
        worker its claims.
        """
        alive = self._lives.beat(worker, self._system.monotonic())
        self._pool.check_file()
        known, stored = await drive(
            self._runner.read(
                lambda db, _: (
                    workers.is_known(db, self._sql, worker),
                    workers.stored_claims(db, self._sql, worker),
                )
            )
        )
        if not (alive and known):
            return Beaten(gone=True)
        unheld = stored - set(held)
        # A claim whose answer is just being read looks unheld once; twice means it was lost.
        lost = sorted(unheld & self._unheld.get(worker, set()))
        self._unheld[worker] = unheld
        revoked = workers.compare(set(held), stored).revoked
        if not lost:
            return Beaten(revoked=revoked)
        returned = await drive(
            self._runner.write(
                lambda db, at: workers.give_back(db, self._sql, worker, lost, at), now
            )
        )
        self._bell.ring(WORK)
        return Beaten(revoked=revoked, returned=returned)

    async def leave(self, worker: str, *, now: int | None = None) -> int:
        """Forget a worker that stops; what it still held goes back unspent."""
        marked = self._lives.marked(worker)
        returned = await drive(
            self._runner.write(lambda db, at: workers.leave(db, self._sql, worker, marked, at), now)
        )
        fault.point("leave.after_commit")
        self._lives.end(worker)
        self._unheld.pop(worker, None)
        self._watches.pop(worker, None)
        if returned:
            self._bell.ring(WORK)
        return returned

    async def note(
        self,
        worker: str,  # noqa: ARG002 -- the claim numbers are fence enough
        notes: Sequence[Note],
    ) -> None:
        """Write progress and log lines of running jobs."""
        await drive(self._runner.write(lambda db, _: workers.note(db, self._sql, notes)))
        fault.point("note.after_commit")

    def mark(
        self,
        worker: str,
        job: bytes,
        number: int,
        place: int,
        *,
        surely: bool = False,  # noqa: ARG002 -- the kernel keeps each of these marks
    ) -> None:
        """Remember that this claim's code is about to start."""
        self._lives.mark(worker, job, number, place)

    async def wait(self, *, work: bool, ends: bool, timeout: float) -> bool:
        """Wait for a hint; each task that waits has its own ear."""
        kinds = tuple(kind for kind, on in ((WORK, work), (ENDS, ends)) if on)
        task = asyncio.current_task()
        assert task is not None, "wait is awaited from a task"
        waiters = self._waiters.setdefault(task, {})
        if kinds not in waiters:
            waiters[kinds] = self._bell.waiter(kinds)
        return await waiters[kinds].wait(timeout)

    # Upkeep

    async def stage(self, tasks: Sequence[str], limit: int, *, now: int | None = None) -> int:
        """Make due jobs ready and expire those past their time."""
        if not await drive(
            self._runner.read(lambda db, at: upkeep.anything_due(db, self._sql, at), now)
        ):
            return 0

        def body(db: sqlite3.Connection, at: int) -> int:
            moved = upkeep.stage(db, self._sql, tasks, limit, at)
            fault.point("stage.before_commit")
            return moved

        moved = await drive(self._runner.write(body, now))
        fault.point("stage.after_commit")
        if moved:
            self._bell.ring(WORK)
        return moved

    async def rescue(self, worker: str, limit: int, *, now: int | None = None) -> Sequence[Orphan]:
        """Take over the jobs of dead workers."""
        monotonic = self._system.monotonic()
        if not self._lives.beat(worker, monotonic):
            return ()
        watch = self._watches.setdefault(worker, Watch(self._lives, self._suspect_after))
        known, crew = await drive(
            self._runner.read(
                lambda db, _: (
                    workers.is_known(db, self._sql, worker),
                    others(db, self._sql, worker),
                )
            )
        )
        for dead in watch.dead(crew, monotonic) if known else ():
            room = limit - len(watch.taken)
            if room <= 0:
                break
            if await self._take_over(worker, dead, watch, room, now):
                self._lives.end(dead)
        orphans, watch.taken = watch.taken, []
        return orphans

    async def _take_over(
        self, worker: str, dead: str, watch: Watch, limit: int, now: int | None
    ) -> bool:
        marked = self._lives.marked(dead)

        def body(db: sqlite3.Connection, at: int) -> tuple[Sequence[Orphan], bool]:
            taken = take_over(db, self._sql, worker, dead, marked, limit=limit, now=at)
            fault.point("rescue.before_commit")
            return taken

        orphans, complete = await drive(self._runner.write(body, now))
        # Kept until a call returns them: the next dead worker's jobs may meet a locked file.
        watch.taken += orphans
        fault.point("rescue.after_commit")
        return complete

    async def prune(self, limit: int, *, now: int | None = None) -> int:
        """Delete records whose time is over."""
        if not await drive(
            self._runner.read(lambda db, at: upkeep.anything_over(db, self._sql, at), now)
        ):
            return 0

        def body(db: sqlite3.Connection, at: int) -> tuple[int, str]:
            gone = upkeep.prune(db, self._sql, limit, at)
            swept = sweep(db, self._sql, self._swept, min(limit, BATCH_MAX), at)
            fault.point("prune.before_commit")
            return gone, swept

        gone, self._swept = await drive(self._runner.write(body, now))
        fault.point("prune.after_commit")
        return gone
