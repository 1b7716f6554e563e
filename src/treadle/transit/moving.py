"""Moving house: the jobs of one store leave for another one, and run in neither twice.

Page by page a job is sealed here, written there, deleted here and opened there
(`store.parts.moving` says why in this order). A move that dies anywhere is taken up by the same
move again: what is sealed here goes on, and what is sealed there and gone from here is opened.
Workers may live on both sides. Schedules go before the jobs (`transit.schedules`); what they have
made follows.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from treadle.core import fault
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.job import JobRecord, JobState
from treadle.store.contract import Filter
from treadle.store.parts.moving import PARCELS_MAX, Parcel, SameStore, Seal, is_sealed
from treadle.transit.apart import check_apart
from treadle.transit.patience import patiently
from treadle.transit.rules import follow, take_along
from treadle.transit.schedules import Moved, ScheduleMove

if TYPE_CHECKING:
    from treadle.store.contract import Store

WAITS: Final = (JobState.BLOCKED, JobState.READY, JobState.SCHEDULED, JobState.RETRYING)
"""What is moved before the dead letters; blocked first, to end what a move before has begun."""
MOVES: Final = (*WAITS, JobState.FAILED)
REFUSALS_SHOWN: Final = 50
"""Refused jobs that are named; the others are counted."""

_PASSES_MAX: Final = 100
_LOOK_S: Final = 1.0
_FLOW: Final = "it waits for other jobs, which cannot be moved with it: let them end first"


class Refusal(Struct, frozen=True):
    """A job that stays where it is."""

    id: bytes
    why: str


class LostKey(Struct, frozen=True):
    """A job that goes without the key that it held."""

    id: bytes
    key: str


class Report(Struct):
    """What a move has done, or what a dry run says that it would do."""

    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Jobs by queue and by the state that they were in."""
    there: int = 0
    """Of these: jobs that the other store had already."""
    refusals: list[Refusal] = field(default_factory=list)
    refused: int = 0
    running: int = 0
    """Jobs that run in the source."""
    waiting: int = 0
    """Waiting jobs and dead letters that are still in the source, those refused included and
    those of other moves not."""
    foreign: int = 0
    """Jobs on either side that another move has sealed."""
    schedules: Moved = field(default_factory=Moved)
    keys: int = 0
    """Jobs that held a key, and have moved without it."""
    lost_keys: list[LostKey] = field(default_factory=list)
    """The first of them."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left behind."""
        left = self.refused or self.running or self.waiting or self.foreign
        return not (left or self.schedules.refused)


def move_name(source: str, target: str) -> str:
    """Name the move between two places, given as text without passwords."""
    return hashlib.blake2b(f"{source} > {target}".encode(), digest_size=6).hexdigest()


class Move:
    """One move; both stores are open."""

    def __init__(
        self, source: Store, target: Store, name: str, tell: Callable[[int], object]
    ) -> None:
        """Take the stores, the move's name, and who is told of each page (jobs moved)."""
        self._source, self._target = source, target
        self._out = Seal("out", name)
        self._in = self._out.other
        self._tell = tell
        self._refused: set[bytes] = set()
        self._dry = False
        """The other store is not to be asked: it may not be there yet."""
        self.report = Report()
        self._schedules = ScheduleMove(source, target, name, self.report.schedules)

    async def survey(self, *, there: bool = True) -> Report:
        """Read everything and change nothing: what would be moved, and what refused.

        `there` tells whether the other store is there, and can be asked for its schedules.
        """
        self._dry = True
        await self._schedules.survey(there=there)
        for state in MOVES:
            await self._each(self._source, state, self._note)
        await self._count_left()
        self.report.waiting = 0
        return self.report

    async def run(self, *, wait: float = 0.0) -> Report:
        """Move schedules, what waits and what is dead; `wait` so many seconds for what runs.

        Raises:
            StoreUnavailable: a store was away for too long; the same move goes on from there.
            SameStore: both are one.
        """
        await check_apart(self._source, self._target)
        await self._pauses()
        await take_along(self._source, self._target, self._in.move)
        await self._schedules.run()
        await self._each(self._target, JobState.BLOCKED, self._arrivals)
        deadline = time.monotonic() + wait
        await self._drain()
        await self._count_left()
        # What ran may be handed back between a drain and the count that follows it.
        while self._may_leave() and time.monotonic() < deadline:
            if self.report.running:
                await self._source.wait(work=False, ends=True, timeout=_LOOK_S)
            await self._drain()
            await self._count_left()
        return self.report

    def _may_leave(self) -> bool:
        return self.report.running > 0 or self.report.waiting > self.report.refused

    async def _pauses(self) -> None:
        """Pause there what is paused here, before there is anything to run."""
        for queue in await patiently(self._source.queues):
            if queue.paused:
                await patiently(self._target.pause, queue.name)

    async def _arrivals(self, records: Sequence[JobRecord]) -> int:
        """Open what a move before has written there and deleted here."""
        mine = [record.id for record in records if self._in.holds(record)]
        await self._open(mine)
        return len(mine)

    async def _drain(self) -> None:
        """Move until a pass finds nothing; producers may still be writing here."""
        for _ in range(_PASSES_MAX):
            moved = 0
            for state in MOVES:
                moved += await self._each(self._source, state, self._page)
            if not moved:
                break
        await follow(self._source, self._target, self._in.move)

    async def _each(
        self,
        store: Store,
        state: JobState,
        do: Callable[[Sequence[JobRecord]], Awaitable[int]],
    ) -> int:
        """Do something with each page of the jobs in a state; give the sum of its answers."""
        done = 0
        before: bytes | None = None
        while True:
            which = Filter(state=state)
            page = await patiently(store.find, which, limit=PARCELS_MAX, before=before)
            if page:
                done += await do(page)
            if len(page) < PARCELS_MAX:
                return done
            before = page[-1].id

    def _wanted(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """Give the jobs of a page that can go; refuse the others, once each."""
        wanted = []
        for record in records:
            if record.id in self._refused:
                continue
            if is_sealed(record):
                if self._out.holds(record):
                    wanted.append(record)
                continue
            if record.state is JobState.BLOCKED and record.reason == "key":
                # It has its key once the holder has left or ended, and goes in a pass after that.
                if self._dry:
                    wanted.append(record)
                continue
            blocked = record.state is JobState.BLOCKED and record.reason != "gate"
            why = _FLOW if blocked else self._target.moving.refuses(record)
            if why is None:
                wanted.append(record)
            else:
                self._refuse(record.id, why)
        return wanted

    async def _note(self, records: Sequence[JobRecord]) -> int:
        wanted = self._wanted(records)
        self.report.moved.update((record.queue, _state(record)) for record in wanted)
        self._note_keys(await self._held(wanted))
        return 0

    async def _held(self, records: Sequence[JobRecord]) -> dict[bytes, str]:
        """Give the keys that these jobs hold, by job."""
        names = sorted({record.key for record in records if record.key is not None})
        found = await patiently(self._source.keys, names)
        holders = {(key.job, key.name) for key in found if key is not None}
        return {r.id: r.key for r in records if r.key and (r.id, r.key) in holders}

    def _note_keys(self, lost: dict[bytes, str]) -> None:
        self.report.keys += len(lost)
        room = REFUSALS_SHOWN - len(self.report.lost_keys)
        self.report.lost_keys += [LostKey(*one) for one in list(lost.items())[:room]]

    async def _page(self, records: Sequence[JobRecord]) -> int:
        """Move one page; give how many have left."""
        wanted = self._wanted(records)
        ids = [record.id for record in wanted]
        if not ids:
            return 0
        held = await self._held(wanted)
        sealed = await patiently(self._source.moving.seal, ids, self._out)
        fault.point("move.after_seal")
        parcels = await self._adopt([parcel for parcel in sealed if parcel is not None])
        fault.point("move.after_adopt")
        waiting = [parcel.record.id for parcel in parcels if not parcel.is_dead]
        dead = [parcel.record.id for parcel in parcels if parcel.is_dead]
        await patiently(self._source.moving.drop, waiting, self._out)
        await patiently(self._source.discard, dead)
        fault.point("move.after_drop")
        left = set(await self._open(waiting)) | set(await self._keep_dead(dead))
        fault.point("move.after_open")
        gone = [parcel.record for parcel in parcels if parcel.record.id not in left]
        self.report.moved.update((record.queue, _state(record)) for record in gone)
        went = {record.id for record in gone}
        self._note_keys({id_: key for id_, key in held.items() if id_ in went})
        self._tell(len(gone))
        return len(gone)

    async def _adopt(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Write jobs there; give those that are there now. One that is refused fails alone."""
        if not parcels:
            return []
        try:
            written = await patiently(self._target.moving.adopt, parcels, self._in)
        except StoreUnavailable:
            raise
        except SameStore:
            await patiently(self._source.moving.unseal, [p.record.id for p in parcels], self._out)
            raise
        except (StoreError, ValueError, OverflowError) as error:
            if len(parcels) > 1:
                return [one for parcel in parcels for one in await self._adopt([parcel])]
            id_ = parcels[0].record.id
            await patiently(self._source.moving.unseal, [id_], self._out)
            self._refuse(id_, str(error))
            return []
        known = [p for p, new in zip(parcels, written, strict=True) if not new]
        await self._replace_dead([parcel for parcel in known if not parcel.is_dead])
        return list(parcels)

    async def _replace_dead(self, parcels: Sequence[Parcel]) -> None:
        """Write jobs over dead letters of the same id: they were replayed here after a copy."""
        ids = [parcel.record.id for parcel in parcels]
        there = await patiently(self._target.get, ids)
        old = {r.id for r in there if r is not None and r.state is JobState.FAILED}
        self.report.there += sum(r is not None and not self._in.holds(r) for r in there) - len(old)
        if old:
            await patiently(self._target.discard, sorted(old))
            again = [parcel for parcel in parcels if parcel.record.id in old]
            await patiently(self._target.moving.adopt, again, self._in)

    async def _open(self, ids: Sequence[bytes]) -> list[bytes]:
        """Open there what is gone from here; give what is not.

        What is still sealed here goes on later. Anything else was cancelled here, or has expired,
        since it was sealed: that is its end, and the copy goes.
        """
        here = await patiently(self._source.get, ids)
        gone = [id_ for id_, record in zip(ids, here, strict=True) if record is None]
        ended = [r.id for r in here if r is not None and not self._out.holds(r)]
        await patiently(self._target.moving.unseal, gone, self._in)
        await patiently(self._target.moving.drop, ended, self._in)
        return [record.id for record in here if record is not None]

    async def _keep_dead(self, ids: Sequence[bytes]) -> list[bytes]:
        """Take back the copies of dead letters that were replayed here meanwhile; give these."""
        here = await patiently(self._source.get, ids)
        left = [record.id for record in here if record is not None]
        await patiently(self._target.discard, left)
        return left

    async def _count_left(self) -> None:
        """Count what is in the source now, and what another move has sealed there."""
        counts: Counter[str] = Counter()
        for queue in await patiently(self._source.queues):
            counts.update(queue.counts)
        self.report.running = counts["running"]
        foreign = await self._each(self._source, JobState.BLOCKED, self._foreign)
        self.report.waiting = sum(counts[state] for state in MOVES) - foreign
        if not self._dry:
            foreign += await self._each(self._target, JobState.BLOCKED, self._foreign)
        self.report.foreign = foreign

    async def _foreign(self, records: Sequence[JobRecord]) -> int:
        own = (self._out, self._in)
        return sum(is_sealed(r) and not any(seal.holds(r) for seal in own) for r in records)

    def _refuse(self, id_: bytes, why: str) -> None:
        self._refused.add(id_)
        self.report.refused += 1
        if len(self.report.refusals) < REFUSALS_SHOWN:
            self.report.refusals.append(Refusal(id_, why))


def _state(record: JobRecord) -> str:
    """Give the state that a job has, or had before it was sealed."""
    if not is_sealed(record):
        return str(record.state)
    return (record.reason or "").partition("|")[2].partition("|")[0]
