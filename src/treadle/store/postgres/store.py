"""The PostgreSQL store's face: every verb of the contract, in a line or two.

Each verb wraps a conversation (see the file of its group) that the runner carries. What a verb
promises is written in `store.contract`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from treadle.core import fault
from treadle.core.clock import SystemClock
from treadle.core.durations import to_us
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.store.contract import BATCH_MAX, Beaten, Exchanged, Note, StoreFeatures, WorkerInfo
from treadle.store.handing import is_plain
from treadle.store.marking import Marked, SureMarks
from treadle.store.postgres import doctor, schema, upkeep, workers
from treadle.store.postgres.engine.runner import Runner, Steps, Talk, drive, drive_now
from treadle.store.postgres.engine.sql import Statements, place_of, statements
from treadle.store.postgres.engine.target import read_target
from treadle.store.postgres.engine.trouble import is_duplicate, is_misplaced
from treadle.store.postgres.engine.wire import Call, Rows
from treadle.store.postgres.gates.holds import PostgresHolds
from treadle.store.postgres.gates.line import touches
from treadle.store.postgres.history import History
from treadle.store.postgres.keys.taking import enqueue_keyed
from treadle.store.postgres.keys.verbs import PostgresKeys
from treadle.store.postgres.line.enqueue import check_jobs, enqueue, enqueue_one
from treadle.store.postgres.line.exchange import Memory, exchange, idle
from treadle.store.postgres.line.handing import Offers
from treadle.store.postgres.line.rehearse import rehearse
from treadle.store.postgres.line.scan import Scan
from treadle.store.postgres.moving.verbs import PostgresMoving
from treadle.store.postgres.news.ears import ENDS, WORK, Ears
from treadle.store.postgres.prune import make_now, prune
from treadle.store.postgres.rescue import Sign, Watch, crew, take_again, take_over
from treadle.store.postgres.schedules.verbs import PostgresSchedules
from treadle.store.postgres.tenants.verbs import PostgresTenants
from treadle.store.postgres.transactional import PostgresTransactional

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.core.job import Fate, NewJob, Orphan
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement
    from treadle.core.settings import Settings
    from treadle.store.findings import Finding

_MIGRATION_S = 600.0


class PostgresStore(PostgresKeys, PostgresHolds, PostgresSchedules, PostgresTenants):
    """A store in a PostgreSQL database (13 or later) that many machines share.

    The URL is libpq's, `postgresql://user:password@host:5432/database?sslmode=verify-full`, with
    one parameter of our own: `?schema=jobs` puts the tables into a schema of that name, which
    `migrate` makes. Without it they are where the user's `search_path` begins.
    """

    def __init__(
        self, url: str, namespace: str, settings: Settings, clock: Clock | None = None
    ) -> None:
        """Prepare the store; nothing is connected before `open`.

        Raises:
            SettingsError: the URL has not the form of one.
        """
        self.features = StoreFeatures(
            durable=True, shared=True, start_marks=False, beside_loop=True
        )
        self._target = read_target(url, settings.store_timeout)
        self._place = place_of(namespace, self._target.schema)
        self._sql = statements(self._place)
        self._system = SystemClock() if clock is None else clock
        self._runner = Runner(self._target, self._sql, timeout=settings.store_timeout, clock=clock)
        self._ears = Ears(self._runner, self._sql, self._place.channel, self._system.monotonic)
        self._asked: set[str] = set()
        """Workers whose last exchange has not been answered."""
        self._offers = Offers(self._runner, self._sql, self._ears, self._asked)
        self._history = History(self._sql, self._place, lambda: clock.wall() if clock else None)
        self.transactional = PostgresTransactional(
            self._runner, self._place, self._target, lambda: clock.wall() if clock else None
        )
        self.moving = PostgresMoving(self._runner, self._sql, self._ears)
        self._suspect_after = to_us(settings.suspect_after, "suspect_after")
        self._scan = Scan()
        self._known_queues: set[str] = set()
        """Queues that need not be named again, by what this store has written."""
        self._known_since = 0
        self._swept = ""
        """The name of the key from which the next prune goes on."""
        self._keep = to_us(settings.keep_succeeded, "keep_succeeded")
        self._unrehearsed: set[str] = set()
        """Workers that have not yet had anything planned; see `rehearse`."""
        self._watches: dict[str, Watch] = {}
        self._marks: dict[str, dict[int, tuple[bytes, int]]] = {}
        self._sure = SureMarks(self._mark_surely)

    # Life

    async def open(self, *, create: bool = True) -> None:  # noqa: ARG002 -- never made here
        """Connect and check the schema, which `migrate` alone brings up to date."""
        self._meet(await drive(self._look()))

    def open_now(self, *, create: bool = True) -> None:  # noqa: ARG002 -- as in `open`
        """Do the same on the caller's own thread."""
        self._meet(drive_now(self._look()))

    def _meet(self, found: schema.Found) -> None:
        """Keep what was found, where it is a schema of this library's."""
        schema.check_version(found.version, self._target)
        self.transactional.identity = found.identity

    def _look(self) -> Steps[schema.Found]:
        return self._runner.run(lambda: schema.look(self._place, self._target))

    async def close(self) -> None:
        """Close every connection."""
        await self._offers.close()
        await self._ears.close()
        self._close_connections()

    def close_now(self) -> None:
        """Do the same on the caller's own thread."""
        self._ears.close_now()
        self._close_connections()

    def _close_connections(self) -> None:
        self._known_queues.clear()
        self._runner.pool.close()

    async def examine(self, *, deep: bool = True) -> Sequence[Finding]:
        """Ask the server what would lose jobs, or make them slow."""
        found = await drive(self._look())
        asked = doctor.ask(self._runner, self._place, self._sql, found.version, deep=deep)
        return await drive(asked)

    async def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date; return its version before and after."""
        return await drive(self._migrate())

    def migrate_now(self) -> tuple[int, int]:
        """Do the same on the caller's own thread."""
        return drive_now(self._migrate())

    def _migrate(self) -> Steps[tuple[int, int]]:
        versions = yield from self._runner.run(
            lambda: schema.migrate(self._place, self._target), timeout=_MIGRATION_S
        )
        # Not as `open` does it: a pooler in statement mode refuses that.
        self._meet((yield from self._runner.run(lambda: schema.read(self._place))))
        return versions

    def migration_script(self) -> str:
        """Give what makes the schema as a text for `psql`."""
        return schema.script(self._place)

    # Enqueue

    async def enqueue(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
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
    ) -> Steps[Sequence[Fate]]:
        keyed = check_jobs(jobs)
        ring = self._ears.ring(WORK)

        def words() -> tuple[Statements, bytes, Sequence[NewJob], Sequence[str], Sequence[Call]]:
            return self._sql, request, jobs, self._new_queues(jobs), ring

        if keyed:
            return (yield from self._runner.run(lambda: enqueue_keyed(*words()), now))
        try:
            if len(jobs) == 1 and is_plain(jobs[0]) and not jobs[0].priority:
                return (yield from self._runner.run(lambda: self._one(request, jobs[0]), now))
            return (yield from self._runner.run(lambda: enqueue(*words()), now))
        except StoreError as error:
            if not is_duplicate(error):
                raise
        return (yield from self._runner.run(lambda: enqueue(*words(), beside=True), now))

    def _one(self, request: bytes, job: NewJob) -> Talk[Sequence[Fate]]:
        """Say what stores one plain job, once there is a connection."""
        ring = self._ears.ring_handed(job.id)
        return enqueue_one(self._sql, request, job, self._new_queues([job]), ring)

    def _new_queues(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """Give the queues to name before these jobs; asked when their connection is there.

        A connection that was opened since may lead to a server that took over without the last
        writes of the one before. In a queue that nobody has named there jobs would wait for ever.
        """
        opened = self._runner.pool.opens
        if opened != self._known_since:
            self._known_queues.clear()
            self._known_since = opened
        return sorted({job.queue for job in jobs} - self._known_queues)

    def _stored(self, jobs: Sequence[NewJob], fates: Sequence[Fate]) -> Sequence[Fate]:
        fault.point("enqueue.after_commit")
        self._known_queues.update({job.queue for job in jobs})
        return fates

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
        is_new = worker not in self._asked
        self._asked.add(worker)
        try:
            offered = await self._offers.settled(worker, request)
            answer = None
            told, rows = self._offers.news(worker)
            if told and is_new and not settlements and demand:
                answer = await self._offers.look(worker, request, rows, now)
            if answer is None:
                words = (worker, request, settlements, demand)
                answer = await self._exchange(
                    *words, Memory(self._scan, self._history, now, offered)
                )
        except StoreUnavailable:
            # Asked until it is answered; its claims are not lost, they are on their way.
            raise
        except StoreError:
            self._asked.discard(worker)
            raise
        self._asked.discard(worker)
        self._offers.asked(worker, settlements, demand, answer, self._system.monotonic())
        return answer

    async def _exchange(
        self,
        worker: str,
        request: bytes,
        settlements: Sequence[Settlement],
        demand: Demand | None,
        memory: Memory,
    ) -> Exchanged:
        news, now = self._scan.use_news(), memory.now
        # An offer of a worker that wants nothing any more is taken back.
        if not settlements and not (news and demand) and (demand or not memory.offered):
            found = await self._idle(worker, request, demand, memory)
            if found is not None:
                if news is not None:
                    self._scan.judge_news(brought=False)
                answer = self._offers.add(worker, request, *found)
                if demand and worker in self._unrehearsed and not (answer.claims or answer.gone):
                    await self._rehearse(worker, demand, now)
                return answer
        kinds = [ENDS] if settlements else []
        going_on = any(not one.state.is_terminal for one in settlements)
        if going_on or any(one.keyed or touches(one) for one in settlements):
            kinds.append(WORK)
        ring = self._ears.ring(*kinds)
        await make_now(self._runner, self._history, settlements, now)
        words = (self._sql, worker, request, settlements, demand, ring, memory)
        try:
            found = await drive(self._runner.run(lambda: exchange(*words), now, line=True))
        except StoreError as error:
            if not is_misplaced(error):
                raise
            # A shelf is gone, or the server's clock was set: what always fits is `rest`.
            self._history.forget()
            found = await drive(self._runner.run(lambda: exchange(*words), now, line=True))
        fault.point("exchange.after_commit")
        if news is not None:
            self._scan.judge_news(brought=bool(found[0].claims))
        self._offers.took_back(worker)
        return self._offers.add(worker, request, *found)

    async def _idle(
        self, worker: str, request: bytes, demand: Demand | None, memory: Memory
    ) -> tuple[Exchanged, Rows] | None:
        """Answer an exchange that has nothing to write; None where it may have."""
        shares = () if demand is None or not demand.total else demand.shares
        queues = [share.queue for share in shares if share.queue is not None]
        names = None if len(queues) < len(shares) else queues
        words = (self._sql, worker, request, names, memory)
        return await drive(self._runner.run(lambda: idle(*words), memory.now, line=True))

    async def _rehearse(self, worker: str, demand: Demand, now: int | None) -> None:
        """Have planned, once, what this worker's first jobs will need."""
        words = (self._sql, demand, self._history, self._keep, now)
        self._unrehearsed.discard(worker)
        try:
            await drive(self._runner.run(lambda: rehearse(*words), now, line=True))
        except StoreError as error:
            if not is_misplaced(error):
                raise
            # The shelf is gone since it was looked for: the first settlement finds its table anew.
            self._history.forget()

    async def ready(self, queues: Sequence[str] | None) -> bool:
        """Tell, without writing, whether a job may be ready in these queues."""
        return await drive(self._runner.run(lambda: upkeep.ready(self._sql, queues)))

    async def register(self, worker: WorkerInfo, *, now: int | None = None) -> None:
        """Make a worker known, which counts as a beat."""
        await drive(self._runner.run(lambda: workers.register(self._sql, worker), now, urgent=True))
        self._unrehearsed.add(worker.id)
        fault.point("register.after_commit")
        self._offers.register(worker.id, worker.lease)

    async def beat(
        self, worker: str, held: Sequence[tuple[bytes, int]], *, now: int | None = None
    ) -> Beaten:
        """Prolong the lease, and compare what is held with what is stored."""
        sent_at = self._system.monotonic()
        at, known, own, taken_over = await drive(
            self._runner.run(lambda: workers.beat(self._sql, worker), now, urgent=True)
        )
        if not known:
            self._forget(worker)
            return Beaten(gone=True)
        self._offers.beaten(worker)
        watch = self._watch(worker)
        watch.beaten(at, sent_at)
        revoked = sorted(set(held) - own - taken_over)
        if worker in self._asked:
            return Beaten(revoked=revoked)
        unheld = self._offers.handing.give_up(worker, own - set(held))
        lost = watch.compare(set(held), own, taken_over) & set(unheld)
        if not lost:
            return Beaten(revoked=revoked)
        ring = self._ears.ring(WORK)
        returned = await drive(
            self._runner.run(lambda: workers.give_back(self._sql, worker, list(lost), ring), now)
        )
        return Beaten(revoked=revoked, returned=returned)

    async def leave(self, worker: str, *, now: int | None = None) -> int:
        """Forget a worker that stops; what it still held goes back unspent."""
        await self._offers.end(worker)
        marked = set(self._marks.get(worker, {}).values())
        ring = self._ears.ring(WORK)
        returned = await drive(
            self._runner.run(lambda: workers.leave(self._sql, worker, marked, ring), now)
        )
        fault.point("leave.after_commit")
        self._forget(worker)
        return returned

    def _forget(self, worker: str) -> None:
        self._asked.discard(worker)
        self._watches.pop(worker, None)
        self._marks.pop(worker, None)
        self._unrehearsed.discard(worker)
        self._offers.forget(worker)

    async def note(
        self,
        worker: str,  # noqa: ARG002 -- the claim numbers are fence enough
        notes: Sequence[Note],
    ) -> None:
        """Write progress and log lines of running jobs."""
        await drive(self._runner.run(lambda: workers.note(self._sql, notes)))
        fault.point("note.after_commit")

    def mark(
        self, worker: str, job: bytes, number: int, place: int, *, surely: bool = False
    ) -> Awaitable[None] | None:
        """Remember that this claim's code is about to start.

        Usually for this process's own `leave` alone; written to the server where it must be sure.
        """
        self._marks.setdefault(worker, {})[place] = (job, number)
        if not surely:
            return None
        return self._sure.add(job, number)

    async def _mark_surely(self, marks: Sequence[Marked]) -> None:
        await drive(self._runner.run(lambda: workers.mark(self._sql, marks)))

    async def wait(self, *, work: bool, ends: bool, timeout: float) -> bool:
        """Wait for a hint."""
        kinds = [kind for kind, on in ((WORK, work), (ENDS, ends)) if on]
        offering = self._offers.make() if work else None
        ear = self._ears.here()
        heard = await ear.wait(kinds, timeout)
        if heard and work and not ear.own.has_news:
            self._scan.hear()
        if offering is not None and not heard:
            await asyncio.wait((offering,))
        return heard

    # Upkeep

    async def stage(self, tasks: Sequence[str], limit: int, *, now: int | None = None) -> int:
        """Make due jobs ready and expire those past their time."""
        ended, ready = await drive(
            self._runner.run(lambda: upkeep.stage(self._sql, tasks, limit), now)
        )
        fault.point("stage.after_commit")
        if ended or ready:
            # What nobody waits for is not told: most stages move nothing.
            kinds = [kind for kind, count in ((WORK, ready), (ENDS, ended)) if count]
            await drive(self._runner.run(lambda: upkeep.tell(self._ears.ring(*kinds))))
        return ended + ready

    async def rescue(self, worker: str, limit: int, *, now: int | None = None) -> Sequence[Orphan]:
        """Take over the jobs of dead workers."""
        watch = self._watch(worker)
        monotonic = self._system.monotonic()
        at, signs = await drive(self._runner.run(lambda: crew(self._sql, worker), now))
        self._history.workers = len(signs)
        own = signs.pop(worker, None)
        if not _may_rescue(own, watch, at, monotonic):
            return ()
        if watch.unseen:
            unseen, watch.unseen = watch.unseen, set()
            watch.taken += await drive(
                self._runner.run(lambda: take_again(self._sql, worker, unseen), now)
            )
        for dead in watch.dead(signs, at, monotonic):
            room = limit - len(watch.taken)
            if room <= 0:
                break
            # Kept until a call returns them: the next dead worker's turn may meet a fault.
            watch.taken += await self._take_over(worker, dead, signs[dead].beat, room, now)
            fault.point("rescue.after_commit")
        return watch.hand_over(limit)

    async def _take_over(
        self, worker: str, dead: str, beat: int | None, limit: int, now: int | None
    ) -> Sequence[Orphan]:
        return await drive(
            self._runner.run(lambda: take_over(self._sql, worker, dead, beat, limit), now)
        )

    def _watch(self, worker: str) -> Watch:
        return self._watches.setdefault(worker, Watch(self._suspect_after))

    async def prune(self, limit: int, *, now: int | None = None) -> int:
        """Delete records whose time is over."""
        gone = await prune(self._runner, self._sql, self._history, limit, now)
        fault.point("prune.after_commit")
        page = min(limit, BATCH_MAX)
        self._swept = await drive(
            self._runner.run(lambda: upkeep.tidy_keys(self._sql, page, self._swept), now)
        )
        return gone


def _may_rescue(own: Sign | None, watch: Watch, now: int, monotonic: int) -> bool:
    """Tell whether a rescuer's own beat has succeeded of late."""
    if own is None or own.beat is None or now - own.beat > own.lease:
        return False
    return watch.beaten_at is None or monotonic - watch.beaten_at <= own.lease
