"""What the code declares and what is stored, made one.

One record a declaring module remembers which declarations have been stored, and when each version
of them was first seen. So two versions of the code in a rolling deploy do not fight: the newest
has the say, and an older worker that starts again meanwhile changes nothing. When it still starts
ten minutes later it is taken for a deploy back to the older code, and has the say again.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct, json
from msgspec.structs import replace

from treadle.client.link import Steps
from treadle.client.schedules.changes import TRIES, contended, readable, store_now
from treadle.client.schedules.options import new_incarnation
from treadle.client.schedules.views import SyncDiff
from treadle.core.durations import MINUTE, as_datetime
from treadle.core.schedule.advance import Step, begin, planned
from treadle.core.schedule.record import Schedule, write_schedule
from treadle.store.scheduled import MOVES_MAX, Move, ScheduleRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from treadle.client.schedules.declare import Declared
    from treadle.store.contract import Store

OVERLAP: Final = 10 * MINUTE
"""For so long after a version was stored, workers of an older one change nothing."""
VERSIONS_KEPT: Final = 20

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
    past: tuple[Version, ...] = ()


_decode: Final = json.Decoder(Record)


def is_record(name: str) -> bool:
    """Tell whether a row is such a record and no schedule."""
    return name.startswith(" ")


def sync(
    store: Store, module: str, declared: Mapping[str, Declared], *, force: bool = False
) -> Steps[SyncDiff]:
    """Store what the code declares; give what that changed.

    Raises:
        StoreUnavailable: others were faster each time.
    """
    key, digest = f"{_PREFIX}{module}"[:200], _digest(declared)
    for _ in range(TRIES):
        [row] = yield store.schedules([key])
        record = None if row is None else _decode.decode(row.body)
        if record is None and not declared:
            return SyncDiff()
        if record is not None and record.current.digest == digest and not force:
            return SyncDiff()
        now = yield from store_now(store)
        if record is not None and not force and _is_older(record, digest, now):
            since = as_datetime(record.current.seen_at)
            return SyncDiff(
                left_alone=f"newer code declared schedules at {since:%H:%M:%S} UTC, so those of "
                "this older code are left alone; after a deploy back run "
                "`treadle schedules declare --force`"
            )
        names = sorted({*declared, *(record.names if record else ())})
        rows: Sequence[ScheduleRow | None] = yield store.schedules(names)
        plan = _Changes(module, declared, dict(zip(names, rows, strict=True)), now)
        head = Move(key, row.revision if row else 0, json.encode(_next(record, digest, plan, now)))
        if (yield from _write(store, plan.moves, head)):
            return plan.diff()
    raise contended(key.strip())


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


def _next(record: Record | None, digest: str, plan: _Changes, now: int) -> Record:
    current = Version(digest, now)
    if record is None:
        return Record(current, plan.names)
    past = [version for version in (record.current, *record.past) if version.digest != digest]
    return Record(current, plan.names, tuple(past[:VERSIONS_KEPT]))


def _digest(declared: Mapping[str, Declared]) -> str:
    said = [(name, declared[name].plan) for name in sorted(declared)]
    return sha256(json.encode(said)).hexdigest()[:32]


class _Changes:
    """The changes that make what is stored what is declared."""

    def __init__(
        self,
        module: str,
        declared: Mapping[str, Declared],
        stored: Mapping[str, ScheduleRow | None],
        now: int,
    ) -> None:
        self.moves: list[Move] = []
        self.names = tuple(sorted(declared))
        self._said: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
        self._module = module
        for name, row in stored.items():
            change = self._change(name, declared.get(name), row, now)
            if change is not None:
                kind, move = change
                self._said[kind].append(name)
                self.moves.append(move)

    def diff(self) -> SyncDiff:
        said = self._said
        return SyncDiff(said["added"], said["changed"], said["removed"])

    def _change(
        self, name: str, wanted: Declared | None, row: ScheduleRow | None, now: int
    ) -> tuple[str, Move] | None:
        """Decide about one name; None when it is as it should be."""
        old = None if row is None else readable(row)
        revision = 0 if row is None else row.revision
        if wanted is None:
            # One that was made anew at run time under this name belongs to whoever made it.
            # One that is on its way to another store may lie there already.
            gone = old is not None and old.declared and old.sealed is None
            return ("removed", Move(name, revision, None)) if gone else None
        if old is None:
            return "added", _move(revision, begin(_new(wanted, now), now))
        if old.plan == wanted.plan and old.declared:
            return None
        changed = replace(old, plan=wanted.plan, declared=True, waiting=())
        step = planned(changed, now) if old.plan.trigger == wanted.plan.trigger else None
        return "changed", _move(revision, step or begin(changed, now))


def _new(wanted: Declared, now: int) -> Schedule:
    return Schedule(
        name=wanted.name, plan=wanted.plan, incarnation=new_incarnation(), cursor=now, declared=True
    )


def _move(revision: int, step: Step) -> Move:
    schedule = step.schedule
    return Move(schedule.name, revision, write_schedule(schedule), step.due)
