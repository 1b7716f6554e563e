"""The Redis store's face: every verb of the contract, in a few lines each.

A verb packs its words (`rows`), runs its script (`scripts/<verb>.lua`) through the runner and
reads the answer. What a verb promises is written in `store.contract`; an exchange's order of
steps is in `line.exchange`, reads and control are in `access`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from treadle.core import fault
from treadle.core.clock import SystemClock
from treadle.core.durations import to_us
from treadle.core.errors import SchemaMismatch, StoreError
from treadle.core.job import Fate, NewJob, Orphan
from treadle.store.batches import check_batch
from treadle.store.contract import (
    Beaten,
    Exchanged,
    Note,
    StoreFeatures,
    WorkerInfo,
)
from treadle.store.marking import Marked, SureMarks
from treadle.store.redis import doctor
from treadle.store.redis.engine.address import read_address
from treadle.store.redis.engine.listener import MARK, Listeners
from treadle.store.redis.engine.pool import Pool
from treadle.store.redis.engine.replies import OLDEST, misplaced, too_old
from treadle.store.redis.engine.runner import Runner, Steps
from treadle.store.redis.gates import RedisGates
from treadle.store.redis.held import RedisKeys, read_fates
from treadle.store.redis.keys import base_key, key
from treadle.store.redis.line.claims import read_claims
from treadle.store.redis.line.exchange import Exchanges
from treadle.store.redis.moving import RedisMoving
from treadle.store.redis.rescue import Rescue, Seen, Watch, read_info, write_info
from treadle.store.redis.rows import Words, job_words, one_words, read_number
from treadle.store.redis.schedules import RedisSchedules
from treadle.store.redis.scripts import Script, script
from treadle.store.redis.tenants import RedisTenants

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement
    from treadle.core.settings import Settings
    from treadle.store.findings import Finding

VERSION = 1
"""Of the schema: what the keys hold. A store of a newer one is refused."""

_YES = ord("1")

_stores: weakref.WeakSet[RedisStore] = weakref.WeakSet()


class RedisStore(RedisKeys, RedisGates, RedisSchedules, RedisTenants):
    """A store in one namespace of a Redis or Valkey server."""

    def __init__(
        self, url: str, namespace: str, settings: Settings, clock: Clock | None = None
    ) -> None:
        """Prepare the store; nothing connects before `open`.

        Raises:
            SettingsError: the URL is not of one of the forms (`engine.address`).
        """
        self.features = StoreFeatures(
            durable=True, shared=True, start_marks=False, beside_loop=True
        )
        self._pool = Pool(read_address(url), settings.store_timeout)
        self._base = base_key(namespace)
        self._runner = Runner(self._pool, self._base, settings.store_timeout)
        self._news_of = f"{self._base}:worker:"
        """What the channel begins with on which a worker alone hears news: its key."""
        self._listeners = Listeners(self._pool, self._runner, self._claim_came)
        self._clock = clock
        self._system = SystemClock() if clock is None else clock
        self._exchanges = Exchanges(
            self._runner, self._listeners, self._system, now=self._now, has_lease=self._has_lease
        )
        self._ears = {kind: key(namespace, f"ears_{kind}") for kind in ("work", "ends")}
        self.moving = RedisMoving(self._runner, self._now)
        self._suspect_after = to_us(settings.suspect_after, "suspect_after")
        self._watches: dict[str, Watch] = {}
        self._marks: dict[str, dict[int, tuple[bytes, int]]] = {}
        self._sure = SureMarks(self._mark_surely)
        self._swept = b""
        """The name of the key from which the next prune goes on."""
        _stores.add(self)

    @property
    def transactional(self) -> None:
        """Redis has no transactions to join: a caller's own writes lie elsewhere."""

    # Life

    async def open(self, *, create: bool = True) -> None:
        """Reach the server and check what is there."""
        self._check_server(await self._runner.run(self._greeting()))
        self._check_version(await self._runner.run(self._begun(create=create)))

    def open_now(self, *, create: bool = True) -> None:
        """Do the same on the caller's own thread."""
        self._check_server(self._runner.run_now(self._greeting()))
        self._check_version(self._runner.run_now(self._begun(create=create)))

    def _begun(self, *, create: bool) -> Steps[Any]:
        words = (self._now(None), VERSION, int(create))
        return self._runner.script(script("open"), words, again=True)

    def _greeting(self) -> Steps[Any]:
        try:
            return (yield from self._runner.command("HELLO"))
        except StoreError as error:
            if "unknown command" not in str(error):
                raise
            raise StoreError(too_old(self._pool.name, OLDEST)) from error

    def _check_server(self, hello: Sequence[Any]) -> None:
        said = dict(zip(hello[::2], hello[1::2], strict=True))
        problem = misplaced(
            self._pool.address.kind,
            version=said.get(b"version", b"").decode(),
            mode=said.get(b"mode", b"").decode(),
            name=self._pool.name,
        )
        if problem:
            raise StoreError(problem)

    def _check_version(self, found: bytes | None) -> int:
        number = 0 if found is None else read_number(found)
        if number is None or number > VERSION:
            raise SchemaMismatch(
                f"{self._pool.name} has schema version {number}, this library knows {VERSION}: "
                "install a newer treadle, or use another namespace"
            )
        return number

    async def close(self) -> None:
        """Close every connection."""
        self._listeners.close()
        self._pool.close()

    def close_now(self) -> None:
        """Do the same on the caller's own thread; never waits."""
        self._listeners.close()
        self._pool.close()

    async def examine(
        self,
        *,
        deep: bool = True,  # noqa: ARG002 -- every look is cheap here
    ) -> Sequence[Finding]:
        """Ask the server what its settings would lose."""
        version = self._check_version(await self._runner.run(self._begun(create=False)))
        return await self._runner.run(doctor.ask(self._runner, self._base, version))

    async def migrate(self) -> tuple[int, int]:
        """Write the version where there is none; there are no tables to change."""
        self._check_server(await self._runner.run(self._greeting()))
        found = self._check_version(await self._runner.run(self._begun(create=True)))
        return found, VERSION

    def after_fork(self) -> None:
        """Begin anew in a child, which has no event loop and no worker of its parent's."""
        self._listeners.abandon()
        self._exchanges.clear()
        self._watches.clear()
        self._marks.clear()

    # Enqueue

    async def enqueue(
        self,
        request: bytes,
        jobs: Sequence[NewJob],
        *,
        now: int | None = None,
    ) -> Sequence[Fate]:
        """Store a batch; see the contract."""
        if not jobs:
            return []
        steps = self._runner.script(*self._to_enqueue(request, jobs, now), again=True)
        return _stored(await self._runner.run(steps))

    def enqueue_now(
        self, request: bytes, jobs: Sequence[NewJob], *, now: int | None = None
    ) -> Sequence[Fate]:
        """Store a batch on the caller's own thread."""
        if not jobs:
            return []
        return _stored(self._runner.script_now(*self._to_enqueue(request, jobs, now)))

    def _to_enqueue(
        self, request: bytes, jobs: Sequence[NewJob], now: int | None
    ) -> tuple[Script, Words]:
        """Give the script that stores a batch, and its words."""
        if len(jobs) == 1 and (one := one_words(jobs[0])) is not None:
            return script("enqueue_one"), [self._now(now), *one]
        name = request.hex() if check_batch(jobs) else ""
        return script("enqueue"), [self._now(now), name, *job_words(jobs)]

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
        return await self._exchanges.exchange(worker, request, settlements, demand, now)

    def _has_lease(self, worker: str) -> bool:
        watch = self._watches.get(worker)
        return watch is not None and watch.may_rescue(self._system.monotonic())

    async def register(self, worker: WorkerInfo, *, now: int | None = None) -> None:
        """Make a worker known, which counts as its first beat."""
        words = (self._now(now), worker.id, write_info(worker), worker.lease)
        begun = self._system.monotonic()
        server = await self._runner.run(self._runner.script(script("register"), words, again=True))
        fault.point("register.after_commit")
        self._marks.setdefault(worker.id, {})
        watch = self._watches.setdefault(worker.id, Watch(worker.lease, self._suspect_after))
        watch.beaten(int(server), begun)

    async def beat(
        self, worker: str, held: Sequence[tuple[bytes, int]], *, now: int | None = None
    ) -> Beaten:
        """Prolong the lease, and compare what is held with what is stored."""
        begun, came = self._system.monotonic(), self._exchanges.handed.names(worker)
        answer = await self._runner.run(
            self._runner.script(script("beat"), (self._now(now), worker), again=True)
        )
        if answer is None:
            self._watches.pop(worker, None)
            return Beaten(gone=True)
        server, claims = answer
        if worker in self._watches:
            self._watches[worker].beaten(int(server), begun)
        lost, revoked = self._exchanges.compare(worker, claims, held, came)
        returned = 0
        if lost:
            words: Words = [self._now(now), worker]
            for id_, number in lost:
                words += (id_, number)
            returned = await self._runner.run(
                self._runner.script(script("give_back"), words, again=True)
            )
        return Beaten(revoked=revoked, returned=returned)

    async def leave(self, worker: str, *, now: int | None = None) -> int:
        """Forget a worker that stops; what it still held goes back unspent."""
        words: Words = [self._now(now), worker]
        for id_, number in self._marks.get(worker, {}).values():
            words += (id_.hex(), number)
        steps = self._runner.script(script("leave"), words, again=True)
        returned = int(await self._runner.run(steps))
        fault.point("leave.after_commit")
        for memory in (self._marks, self._watches):
            memory.pop(worker, None)
        self._listeners.here().turn_from(worker, self._news_of + worker)
        self._exchanges.forget(worker)
        return returned

    async def note(
        self,
        worker: str,  # noqa: ARG002 -- the claim numbers are fence enough
        notes: Sequence[Note],
    ) -> None:
        """Write progress and log lines of running jobs."""
        words: Words = [self._now(None)]
        for one in notes:
            words += (
                one.id.hex(), one.number, int(one.progress is not None), one.progress or b"",
                len(one.logs),
            )  # fmt: skip
            for line in one.logs:
                words += line
        await self._runner.run(self._runner.script(script("note"), words, again=False))
        fault.point("note.after_commit")

    def mark(
        self, worker: str, job: bytes, number: int, place: int, *, surely: bool = False
    ) -> Awaitable[None] | None:
        """Remember that this claim's code is about to start.

        Usually for this process's own `leave` alone; written to the server where it must be sure.
        """
        marks = self._marks.get(worker)
        if marks is not None:
            marks[place] = (job, number)
        return self._sure.add(job, number) if surely else None

    async def _mark_surely(self, marks: Sequence[Marked]) -> None:
        words: Words = [self._now(None)]
        for job, number in marks:
            words += (job.hex(), number)
        await self._runner.run(self._runner.script(script("mark"), words, again=True))

    async def wait(self, *, work: bool, ends: bool, timeout: float) -> bool:
        """Wait for a hint."""
        ears = {self._ears[kind]: MARK for kind, on in (("work", work), ("ends", ends)) if on}
        listener, own = self._listeners.here(), dict[str, str]()
        if work and listener.willing:
            ears[self._ears["work"]] = listener.willing
            own[self._news_of + listener.willing] = self._ears["work"]
        return await listener.wait(ears, timeout, own)

    def _claim_came(self, channel: str, row: bytes) -> None:
        """Keep a claim that an enqueue has made for a worker of this process."""
        self._exchanges.handed.came(channel.removeprefix(self._news_of), row)

    # Upkeep

    async def stage(self, tasks: Sequence[str], limit: int, *, now: int | None = None) -> int:
        """Make due jobs ready and expire those past their time."""
        words: Words = [self._now(now), limit, *tasks]
        moved = int(await self._runner.run(self._runner.script(script("stage"), words, again=True)))
        fault.point("stage.after_commit")
        return moved

    async def rescue(self, worker: str, limit: int, *, now: int | None = None) -> Sequence[Orphan]:
        """Take over the jobs of dead workers."""
        watch, monotonic = self._watches.get(worker), self._system.monotonic()
        if watch is None or not watch.may_rescue(monotonic):
            return ()
        if watch.pending is not None:
            await self._take_over(worker, watch, watch.pending, limit, now)
        server, rows = await self._runner.run(
            self._runner.script(script("watch"), (self._now(now),), again=True)
        )
        others = [_seen(row, int(server)) for row in rows if row[0].decode() != worker]
        for dead in watch.dead(others, int(server), monotonic):
            room = limit - len(watch.taken)
            if room <= 0:
                break
            await self._take_over(worker, watch, watch.begin(dead), room, now)
        orphans, watch.taken = watch.taken, []
        return orphans

    async def _take_over(
        self, worker: str, watch: Watch, rescue: Rescue, limit: int, now: int | None
    ) -> None:
        """Claim one dead worker's jobs; asked again until the server has answered."""
        words = (self._now(now), worker, rescue.request, rescue.dead, rescue.beat, limit)
        answer = await self._runner.run(self._runner.script(script("rescue"), words, again=True))
        fault.point("rescue.after_commit")
        watch.pending = None
        if answer is None:
            return
        rows, begun = answer
        claims, bad = read_claims(rows, 0)
        marked = {bytes(row[0]): said == _YES for row, said in zip(rows, begun, strict=True)}
        # Kept until a call returns them: the next dead worker's jobs may meet a store that is away.
        for claim in claims:
            started = True if marked[claim.id.hex().encode()] else None
            watch.taken.append(Orphan(claim, started, rescue.dead))
        await self._exchanges.set_aside(worker, bad)

    async def prune(self, limit: int, *, now: int | None = None) -> int:
        """Delete records whose time is over."""
        words = (self._now(now), limit, self._swept)
        gone, self._swept = await self._runner.run(
            self._runner.script(script("prune"), words, again=True)
        )
        fault.point("prune.after_commit")
        return int(gone)


def _stored(answer: bytes) -> Sequence[Fate]:
    fault.point("enqueue.after_commit")
    return read_fates(answer)


def _seen(row: Sequence[Any], now: int) -> Seen:
    id_, info, _, lease, beat_at, _ = row
    name = id_.decode()
    beat = read_number(beat_at)
    usual = read_info(name, info).lease
    # Without a beat that can be read its lease has ended; the second look decides.
    age = (usual + 1) if beat is None else now - beat
    return Seen(name, beat_at or b"", age, read_number(lease) or usual)


def _after_fork() -> None:
    for store in list(_stores):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork)
