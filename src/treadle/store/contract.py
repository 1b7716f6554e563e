"""The store contract: the verbs that every store has, and what each one promises.

What all verbs share: batches are bounded and answered in order; `now=` (microseconds
since the epoch) moves time and None means the store's own clock; a write that returned is
durable; a write may be sent again with the same request id and gives the same answer;
only `StoreError`s leave a store. A store neither logs nor times itself.

Gates (docs/adr/0019): `exchange` lets a job take all its gates or none, in the order of their
names; each way out of `running` lets them go in the same write. A job that meets a shut gate is
parked (`blocked`, reason `gate`), by `exchange` or where it becomes ready; a gate that gains room
wakes as many as may pass, the best first, in `exchange` and in `stage`, and `next_due` tells when
the next one will. Who passes a gate without a job holds it: see `store.parts.holding`. What a
settlement `tells` of gates is written with it: a breaker shuts or closes, and `shut` shuts any
gate, as `core.gates.tells.told` says.

Left to a store are which jobs behind a shut gate it has parked already and which are still ready,
as long as no claim has asked for all of them; whether a gate of which it is time is looked at by an
exchange that touches it or by `stage` alone; which one of several newer jobs of a batch is named as
the one that has replaced an older; the turns of those tenants' jobs that one write makes ready; and
when it drops a gate, a hold or a place in a line that counts no more. Whatever else they say is the
same after the same calls, which tests/model/test_side_by_side.py asks of all stores at once.

A key is taken inside `enqueue` and freed by the write that ends the job's claim to it
(docs/adr/0017; its verbs, and those of locks, are in `store.parts.keyed`). The verbs of schedules
are in `store.parts.scheduled`. Room for what comes later: edges are released by `exchange`
(docs/adr/0001).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from treadle.core.job import AttemptRecord, Claim, Fate, JobRecord, JobState, NewJob, Orphan
from treadle.store.findings import Finding
from treadle.store.parts.holding import HoldsPlaces
from treadle.store.parts.keyed import HoldsKeys
from treadle.store.parts.scheduled import KeepsSchedules
from treadle.store.parts.tenanted import WeighsTenants
from treadle.store.statements import Adapter, AsyncAdapter, Script

if TYPE_CHECKING:
    from treadle.core.gates.gate import GateRecord, GateUse
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement, Verdict
    from treadle.store.parts.moving import Moving

BATCH_MAX = 1_000
"""The most jobs one call of `enqueue` takes and the most claims `exchange` gives."""
LOGS_MAX = 1_000
"""Log lines kept a job."""
ATTEMPTS_KEPT = 50
"""Attempt records kept a job; older ones go."""


class StoreFeatures(Struct, frozen=True):
    """How this store differs from the others; tests and tools ask, nothing is silent."""

    durable: bool
    """What is stored outlives the process."""
    shared: bool
    """Other processes can work on the same jobs."""
    start_marks: bool
    """Every `mark` outlives its process; elsewhere only those that had to be sure of it."""
    beside_loop: bool
    """An exchange leaves the event loop free, so a worker asks for the next jobs early."""


class WorkerInfo(Struct, frozen=True):
    """A worker as it registers: one incarnation of one process."""

    id: str
    host: str
    pid: int
    queues: tuple[str, ...] | None
    slots: int
    lease: int
    """Microseconds without a beat after which its claims may be rescued."""


class WorkerRecord(Struct, frozen=True):
    """A worker as the store knows it."""

    info: WorkerInfo
    started_at: int
    beat_age: int | None
    """Microseconds since its last beat; None when that cannot be known any more."""
    running: int


class Exchanged(Struct, frozen=True):
    """The answer of `exchange`."""

    verdicts: Sequence[Verdict]
    claims: Sequence[Claim]
    more: bool = False
    """There may be more ready work; ask again rather than sleep."""
    next_due: int | None = None
    """Microseconds from now until the next waiting job of any queue is due."""
    gone: bool = False
    """This worker was rescued or never registered: no claims for it."""
    waited: int = 0
    """Microseconds that the exchange waited for the store's write lock."""


class Beaten(Struct, frozen=True):
    """The answer of `beat`."""

    gone: bool = False
    """This worker was rescued: it must begin a new incarnation."""
    revoked: Sequence[tuple[bytes, int]] = ()
    """Held claims (id, number) that are no longer this worker's: cancel what runs."""
    returned: int = 0
    """Claims that the store counted as this worker's but it did not hold: given back."""


class Note(Struct, frozen=True):
    """What a running task reports: progress, and log lines as (instant, level, text)."""

    id: bytes
    number: int
    progress: bytes | None = None
    logs: tuple[tuple[int, str, str], ...] = ()


class QueueRecord(Struct, frozen=True):
    """A queue: what waits, runs and ended in it."""

    name: str
    paused: bool
    counts: dict[str, int]
    oldest_ready: int | None = None
    """Instant at which the oldest ready job could have run; of a long queue its head is looked at,
    which is at least a hundred jobs."""


class Filter(Struct, frozen=True):
    """Which jobs `find` and the bulk control verbs mean; None is any."""

    state: JobState | None = None
    queue: str | None = None
    task: str | None = None
    tag: str | None = None
    reason: str | None = None


class Transactional(Protocol):
    """What an SQL store can do inside a transaction of its caller's.

    The scripts run on the caller's connection (see `store.statements`) and commit nothing: rolled
    back means never happened. What a driver raises there is the caller's to see.
    """

    engine: str
    """The engine's name, as SQLAlchemy names its dialects: `sqlite`, `postgresql`."""
    exclusive: bool
    """Whether an open transaction keeps every other writer out, so that it must be short."""

    def recognise(self) -> Script[None]:
        """Make sure that the connection is open on this store's own database.

        Raises:
            StoreUnavailable: it is not; jobs would go where no worker of this store looks.
        """
        ...

    def enqueue(self, jobs: Sequence[NewJob], *, now: int | None = None) -> Script[list[Fate]]:
        """Store a batch of new jobs, all or nothing; give the fate of each.

        Raises:
            ValueError: the batch is too large, or a key cannot be one.
            StoreUnavailable: as for `recognise`.
        """
        ...

    def settle(
        self, settlement: Settlement, note: Note | None, *, now: int | None = None
    ) -> Script[Verdict]:
        """Write the settlement of a job that succeeded, and what it has last said of itself.

        Fenced as in `exchange`: when the verdict is `LOST` the caller must roll back.
        """
        ...

    async def begin(self, keep: Callable[[Adapter | AsyncAdapter], None]) -> None:
        """Begin a transaction on a connection of the store's, for a task on an event loop.

        `keep` is given it as soon as it is there, so that no error that strikes just then leaves
        a transaction open that nobody ends.

        Raises:
            StoreUnavailable: the store cannot be reached, or was locked for too long.
        """
        ...

    def begin_now(self, keep: Callable[[Adapter | AsyncAdapter], None]) -> None:
        """Do the same for a task in a thread, on that thread."""
        ...

    def announce(self) -> None:
        """Wake who waits, after a commit, where the engine does not do so by itself."""
        ...

    def check_outside(self) -> None:
        """Refuse a write of its own to code whose transaction keeps that write out.

        Raises:
            StoreError: the write would wait for its own caller; names `using(connection=...)`.
        """
        ...


class StoreSession(Protocol):
    """The line and upkeep verbs, as a worker calls them."""

    async def exchange(
        self,
        worker: str,
        request: bytes,
        settlements: Sequence[Settlement],
        demand: Demand | None,
        *,
        now: int | None = None,
    ) -> Exchanged:
        """Settle these, then claim those, in one atomic write.

        A settlement applies only while its job still runs under its claim number; else its
        verdict is `LOST` and nothing is written for it. Claims come best first (priority
        high to low, then order tag, then id) from each share of the demand in turn, each with
        its attempt and claim number raised. A job past its expiry becomes `expired` instead.
        A stored row that cannot be read becomes a dead letter (`unreadable`) and does not
        fail the batch. With no settlements and nothing ready nothing is written.

        Raises:
            StoreUnavailable: nothing was written, or it is not known; send the same request.
        """
        ...

    async def register(self, worker: WorkerInfo, *, now: int | None = None) -> None:
        """Make a worker known; only a known worker is given claims."""
        ...

    async def beat(
        self, worker: str, held: Sequence[tuple[bytes, int]], *, now: int | None = None
    ) -> Beaten:
        """Prolong the worker's lease and compare what it holds with what the store knows."""
        ...

    async def leave(self, worker: str, *, now: int | None = None) -> int:
        """Forget a worker that stops; what it still held goes back unspent (count).

        A claim that is marked and not settled is left to a rescuer, as if the worker had died.
        """
        ...

    async def note(self, worker: str, notes: Sequence[Note]) -> None:
        """Write progress and log lines of running jobs; fenced like a settlement."""
        ...

    def mark(
        self, worker: str, job: bytes, number: int, place: int, *, surely: bool = False
    ) -> Awaitable[None] | None:
        """Remember, in well under a microsecond, that this claim's code is about to start.

        `place` is the claim's place among the worker's held claims, below BATCH_MAX * 4. With
        `surely` the mark must outlive this process: where that needs a write, it is given to be
        awaited before the code starts. A store with `start_marks` never gives one.

        Raises, when awaited:
            StoreUnavailable: it is not known whether the mark was written.
        """
        ...

    async def wait(self, *, work: bool, ends: bool, timeout: float) -> bool:
        """Wait for a hint that there may be work or that jobs have ended.

        True: something may have happened; False: the time (seconds) ran out. A hint only:
        all is correct without it, and it may come for nothing.
        """
        ...

    async def ready(self, queues: Sequence[str] | None) -> bool:
        """Tell, without writing, whether a job may be ready in these queues."""
        ...

    async def stage(self, tasks: Sequence[str], limit: int, *, now: int | None = None) -> int:
        """Make due jobs ready and expire those past their time, at most `limit`.

        Jobs parked because no worker knew their task become ready when `tasks` names it.
        """
        ...

    async def rescue(self, worker: str, limit: int, *, now: int | None = None) -> Sequence[Orphan]:
        """Claim the jobs of dead workers for `worker`, under new claim numbers.

        A worker is dead when the machine proves it (its process is gone) or when its lease
        has ended and it has not beaten during a second look. The caller turns the orphans
        into settlements and sends them with `exchange`.
        """
        ...

    async def prune(self, limit: int, *, now: int | None = None) -> int:
        """Delete records whose time is over, at most `limit`; return how many went.

        A store that drops many records as one may go beyond the limit by those.
        """
        ...


class Store(StoreSession, HoldsKeys, HoldsPlaces, KeepsSchedules, WeighsTenants, Protocol):
    """A whole store: sessions, enqueue, reads, control and life."""

    features: StoreFeatures

    @property
    def transactional(self) -> Transactional | None:
        """What the store can do in a transaction of its caller's; None where there are none."""
        ...

    @property
    def moving(self) -> Moving:
        """How whole jobs leave this store for another one, and come into it."""
        ...

    async def open(self, *, create: bool = True) -> None:
        """Connect, and bring the schema up to date where the store does so by itself.

        Raises:
            StoreUnavailable: it cannot be reached, read or made.
            SchemaMismatch: its schema is newer than this library.
        """
        ...

    def open_now(self, *, create: bool = True) -> None:
        """Do the same on the caller's own thread, which may be the last of a program that ends."""
        ...

    async def close(self) -> None:
        """Let go of every connection; safe to call twice."""
        ...

    def close_now(self) -> None:
        """Do the same on the caller's own thread, as at the end of a program; never waits."""
        ...

    async def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date; return its version before and after."""
        ...

    async def enqueue(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
    ) -> Sequence[Fate]:
        """Store a batch of at most BATCH_MAX jobs, all or nothing, in order.

        Returns each job's state, or whom it met: a job whose key is held is not stored, and its
        neighbours are. The keys of all are judged before the gates of any. Sent again with the same
        request and ids the batch changes nothing and is answered as before, whatever became of its
        jobs.

        Raises:
            ValueError: the batch is too large, or a key cannot be one.
            StoreUnavailable: it is not known whether the batch was stored; send it again.
        """
        ...

    def enqueue_now(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
    ) -> Sequence[Fate]:
        """Do the same on the caller's own thread, for code without an event loop."""
        ...

    async def get(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Read jobs by id, in order; None where there is no such job."""
        ...

    def get_now(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Do the same on the caller's own thread."""
        ...

    async def ended(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Tell which of these jobs are in a terminal state or gone."""
        ...

    async def find(
        self, which: Filter, *, limit: int = 100, before: bytes | None = None
    ) -> Sequence[JobRecord]:
        """Read jobs, newest id first; `before` is the last id of the page before."""
        ...

    async def attempts(self, job: bytes) -> Sequence[AttemptRecord]:
        """Read a job's attempts, oldest first, the current one included."""
        ...

    async def logs(self, job: bytes) -> Sequence[tuple[int, int, str, str]]:
        """Read a job's log lines as (attempt, instant, level, text), oldest first."""
        ...

    async def queues(self) -> Sequence[QueueRecord]:
        """Read every queue that ever held a job, with its counts by state.

        One that was only named, by a pause or by a job that its key refused, may be there, too.
        """
        ...

    async def workers(self) -> Sequence[WorkerRecord]:
        """Read the workers that are registered."""
        ...

    async def examine(self, *, deep: bool = True) -> Sequence[Finding]:
        """Look at what this store rests on: settings, rights, clocks, room; changes nothing.

        Without `deep` only at settings that could lose jobs, cheap enough for each worker's start.
        What the store's user may not look at is a finding of its own, never a guess.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    async def dead_groups(self, limit: int = 100) -> Sequence[tuple[str, str, str, int, int]]:
        """Count dead letters by (task, reason, error type); with the newest instant."""
        ...

    async def gates(
        self, *, only: str | None = None, after: str = "", limit: int = 100, now: int | None = None
    ) -> Sequence[GateRecord]:
        """Read gates by name: one of them, or those after a name."""
        ...

    async def shut_gate(
        self,
        name: str,
        *,
        delay: int | None = None,
        note: str | None = None,
        now: int | None = None,
    ) -> None:
        """Shut a gate for so long, or until somebody opens it; what runs goes on.

        One that is shut for longer already stays as it is.
        Where there is no such gate it is made, a switch: jobs that name it later meet it shut.
        """
        ...

    async def open_gate(self, name: str, *, now: int | None = None) -> bool:
        """Open a gate; True where it was shut. The next `stage` wakes who waits at it."""
        ...

    async def set_gate(
        self, use: GateUse, *, change_kind: bool = False, now: int | None = None
    ) -> bool:
        """Set a gate's numbers; what jobs bring along does not count until a reset.

        False where it is of another kind, which stands unless `change_kind` says otherwise; then
        nothing has changed. A switch bounds nothing and may become any kind.
        """
        ...

    async def reset_gate(self, name: str, *, now: int | None = None) -> bool:
        """Let the next job that is enqueued say a gate's numbers; True where they were set."""
        ...

    async def cancel(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Cancel jobs that have not ended; True where this call did it.

        A running job's claim number rises, so that what its worker settles is `LOST`; the
        worker learns of it at its next beat and cancels the task.
        """
        ...

    async def retry(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Make ended or waiting jobs ready now, with all their attempts before them again.

        True where this call did it; succeeded, running and blocked jobs are left alone, and so is
        an ended job whose key another one holds by now. Others that had a key hold it again.
        """
        ...

    async def discard(self, ids: Sequence[bytes]) -> Sequence[bool]:
        """Delete dead letters and other ended jobs; True where this call did it."""
        ...

    async def purge(self, queue: str, *, limit: int, now: int | None = None) -> int:
        """Cancel at most `limit` waiting jobs of a queue; return how many."""
        ...

    async def pause(self, queue: str, *, now: int | None = None) -> bool:
        """Stop claims from a queue; True where it was not paused."""
        ...

    async def resume(self, queue: str, *, now: int | None = None) -> bool:
        """Allow claims again; True where it was paused."""
        ...
