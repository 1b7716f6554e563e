"""What the code declares and what is stored, made one.

One record a declaring module remembers which declarations have been stored, and when each version
of them was first seen. So two versions of the code in a rolling deploy do not fight: the newest
has the say, and an older worker that starts again meanwhile changes nothing. When it still starts
ten minutes later it is taken for a deploy back to the older code, and has the say again.

Nobody removes what a live worker declares: see `live`. A worker that starts puts back what was
removed while it was away, as it was: see `merge`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct, json
from msgspec.structs import replace

from treadle.client.link import Steps
from treadle.client.schedules.changes import TRIES, contended, store_now
from treadle.client.schedules.live import declared_by_live, note
from treadle.client.schedules.merge import Changes, Stored, gone_name
from treadle.client.schedules.views import SyncDiff
from treadle.core.durations import MINUTE, as_datetime
from treadle.store.parts.scheduled import MOVES_MAX, Move, ScheduleRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from treadle.client.schedules.declare import Declared
    from treadle.store.contract import Store

OVERLAP: Final = 10 * MINUTE
"""For so long after a version was stored, workers of an older one change nothing."""
VERSIONS_KEPT: Final = 20
GONE_MAX: Final = 1_000
"""Removed names that a record remembers."""

_PREFIX: Final = " declared "
"""Begins the names of the records; no schedule's name begins with a blank."""


class Version(Struct, frozen=True):
    """What one version of the code declares."""

    digest: str
    seen_at: int


class Record(Struct, frozen=True, omit_defaults=True):
    """What has been stored of one module's declarations."""

    current: Version
    names: tuple[str, ...] = ()
    """The schedules that are stored for it."""
    gone: tuple[str, ...] = ()
    """Those that were removed as nobody declared them; a worker that does puts them back."""
    past: tuple[Version, ...] = ()


_decode: Final = json.Decoder(Record)


def is_record(name: str) -> bool:
    """Tell whether a row is such a record and no schedule."""
    return name.startswith(" ")


def sync(
    store: Store,
    module: str,
    declared: Mapping[str, Declared],
    *,
    force: bool = False,
    worker: str = "",
    may_go: Collection[str] | None = None,
) -> Steps[SyncDiff]:
    """Store what the code declares; give what that changed.

    `worker` is the id of a registered worker that asks, and `may_go` is for one that looks again:
    it has no new say, and only these names may be removed.

    Raises:
        StoreUnavailable: others were faster each time.
    """
    key, digest = f"{_PREFIX}{module}"[:200], _digest(declared)
    if worker and declared:
        yield from note(store, worker, module, declared)
    for _ in range(TRIES):
        [row] = yield store.schedules([key])
        record = None if row is None else _decode.decode(row.body)
        if record is None and not declared:
            return SyncDiff()
        ask = _Ask(module, declared, digest, force, bool(worker), may_go)
        same = record is not None and record.current.digest == digest and not force
        if record is not None and same and not ask.back(record) and not ask.foreign(record):
            return SyncDiff()
        now = yield from store_now(store)
        older = record is not None and not same and ask.is_older(record, now)
        if record is not None and older and not ask.back(record):
            return SyncDiff(left_alone="" if may_go is not None else _left_alone(record))
        held, unused = yield from _held(store, ask, None if older else record)
        keeps = record if same or older else None
        wanted = declared if keeps is None else {name: declared[name] for name in ask.back(keeps)}
        going = set[str]() if record is None or older else ask.foreign(record) - held
        names = sorted(set(wanted) | going)
        stored = yield from _read(store, names, record, keeps=not force, now=now)
        plan = Changes(wanted, stored)
        diff = plan.diff(held, unused & held)
        if same and not names:
            return diff
        after = _after(record, keeps, Version(digest, now), {*wanted, *held})
        after = replace(after, names=tuple(sorted({*after.names} - going)))
        after = replace(after, gone=ask.gone(record, after, diff.removed))
        head = Move(key, row.revision if row else 0, json.encode(after))
        if (yield from _write(store, plan.moves, head)):
            return diff
    raise contended(key.strip())


def _read(
    store: Store, names: Sequence[str], record: Record | None, *, keeps: bool, now: int
) -> Steps[Stored]:
    """Read what is stored under these names, and what was removed of them."""
    rows: Sequence[ScheduleRow | None] = yield store.schedules(names)
    gone: Sequence[ScheduleRow | None] = yield store.schedules([gone_name(one) for one in names])
    back = () if record is None else record.gone
    return Stored(
        dict(zip(names, rows, strict=True)),
        dict(zip(names, gone, strict=True)),
        back,
        keeps,
        now,
    )


class _Ask(Struct, frozen=True):
    """What `sync` was asked."""

    module: str
    declared: Mapping[str, Declared]
    digest: str
    force: bool
    by_worker: bool
    may_go: Collection[str] | None

    def back(self, record: Record) -> set[str]:
        """Give what a worker puts back: removed while it was away."""
        return set(record.gone) & set(self.declared) if self.by_worker else set()

    def foreign(self, record: Record) -> set[str]:
        """Give what is stored and not declared here."""
        return set(record.names) - set(self.declared)

    def is_older(self, record: Record, now: int) -> bool:
        """Tell whether other code has the say."""
        return not self.force and (self.may_go is not None or _is_older(record, self.digest, now))

    def gone(self, record: Record | None, after: Record, removed: Sequence[str]) -> tuple[str, ...]:
        """Give what has been removed as nobody declared it; by force it is for good."""
        if record is None or self.force:
            return ()
        return tuple(sorted({*record.gone, *removed} - {*after.names}))[:GONE_MAX]


def _held(store: Store, ask: _Ask, record: Record | None) -> Steps[tuple[set[str], set[str]]]:
    """Give what stays though it is not declared here, and what no live worker declares."""
    extra = set[str]() if record is None or ask.force else ask.foreign(record)
    if not extra:
        return set(), set()
    needed = yield from declared_by_live(store, ask.module)
    unused = set[str]() if needed is None else extra - needed
    return extra - (unused if ask.may_go is None else unused & set(ask.may_go)), unused


def _after(
    record: Record | None, keeps: Record | None, current: Version, names: set[str]
) -> Record:
    """Give the record with these names; one with no new say keeps its version and names."""
    if keeps is not None:
        return replace(keeps, names=tuple(sorted({*keeps.names, *names})))
    past = () if record is None else _past(record, current.digest)
    return Record(current, tuple(sorted(names)), past=past)


def _write(store: Store, moves: Sequence[Move], head: Move) -> Steps[bool]:
    """Write the changes, the record with the last of them; False when others were faster."""
    page = MOVES_MAX - 1
    pages = [moves[start : start + page] for start in range(0, len(moves), page)] or [()]
    for number, part in enumerate(pages, start=1):
        last = [head] if number == len(pages) else []
        done: Sequence[bool] = yield store.fire([*part, *last])
        if not all(done):
            return False
    return True


def _is_older(record: Record, digest: str, now: int) -> bool:
    known = any(version.digest == digest for version in record.past)
    return known and now - record.current.seen_at < OVERLAP


def _left_alone(record: Record) -> str:
    since = as_datetime(record.current.seen_at)
    return (
        f"newer code declared schedules at {since:%H:%M:%S} UTC, so those of this older code are "
        "left alone; after a deploy back run `treadle schedules declare --force`"
    )


def _past(record: Record, digest: str) -> tuple[Version, ...]:
    past = [version for version in (record.current, *record.past) if version.digest != digest]
    return tuple(past[:VERSIONS_KEPT])


def _digest(declared: Mapping[str, Declared]) -> str:
    said = [(name, declared[name].plan) for name in sorted(declared)]
    return sha256(json.encode(said)).hexdigest()[:32]
