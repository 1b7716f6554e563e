"""What can be done to gates: look, pause, resume, set their numbers, let jobs say them again.

Each method has an async twin with the prefix a. A gate is named as its limit is: by `name=`, else
`<task>/concurrency` or `<task>/<rate>`, and behind a colon its key where it has one; `task:` and a
task's name is what the whole task is paused by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from treadle.client.gates.kinds import declared_kind, why_kept
from treadle.client.views import optional_datetime
from treadle.core.durations import SECOND, Duration, to_us
from treadle.core.gates.gate import BREAKER, PLACES, RATE, STARTS, SWITCH, TASK
from treadle.core.gates.limits import Limit, check_gate
from treadle.store.paging import by_name

if TYPE_CHECKING:
    from treadle.client.link import Links
    from treadle.core.gates.gate import GateRecord
    from treadle.definition import Definition

NOTE_MAX: Final = 500
"""Characters of the note that a pause leaves."""


class GateInfo(Struct, frozen=True):
    """A gate: what it bounds, what it holds, who waits."""

    name: str
    kind: str
    """`places`, `rate`, `window`, `breaker` or `switch`."""
    limit: str
    """What it bounds, as one writes it: `5`, `10/60s`, `5 failures/60s`; empty for a switch."""
    burst: int | None
    running: int | None
    """Places in use, by jobs and by holds; None for what has no places."""
    room: int
    """How many may pass now."""
    waiting: int
    paused: bool
    opens_at: datetime | None
    """When the next waiting job may pass; None when no clock can tell."""
    note: str | None
    """Why it is paused, as whoever paused it said it."""
    is_set: bool
    """Its numbers were set at run time: those of jobs do not count until a reset."""
    breaker: str | None = None
    """`closed`, `open` or `half open`; None for what is no breaker."""
    holds: int = 0
    """Of the places in use: those that are held outside jobs, by `app.limit`."""
    asking: int = 0
    """Who waits outside jobs."""

    @classmethod
    def of(cls, record: GateRecord) -> Self:
        """Make a gate from the store's record."""
        return cls(
            name=record.name,
            kind=record.kind,
            limit=_limit(record),
            burst=record.burst if record.kind == RATE else None,
            running=record.used if record.kind == PLACES else None,
            room=record.room,
            waiting=record.waiting,
            paused=record.shut_until is not None,
            opens_at=optional_datetime(record.opens_at),
            note=record.note,
            is_set=record.is_set,
            breaker=_breaker(record),
            holds=record.holds,
            asking=record.asking,
        )


class Gates:
    """The gates of one application."""

    def __init__(self, links: Links, tasks: Mapping[str, Definition]) -> None:
        self._links = links
        self._tasks = tasks

    def list(self) -> Sequence[GateInfo]:
        """Give every gate that a job has named of late, by name."""
        return self._links.get().run(self.alist())

    async def alist(self) -> Sequence[GateInfo]:
        """Do the same as `list` without blocking the event loop."""
        store = (await self._links.aget()).store
        every = by_name(lambda after, limit: store.gates(after=after, limit=limit))
        return [GateInfo.of(record) async for record in every]

    def get(self, name: str) -> GateInfo | None:
        """Give one gate; None where no job has named it of late."""
        return self._links.get().run(self.aget(name))

    async def aget(self, name: str) -> GateInfo | None:
        """Do the same as `get` without blocking the event loop."""
        store = (await self._links.aget()).store
        found = await store.gates(only=check_gate(name), limit=1)
        return GateInfo.of(found[0]) if found else None

    def pause(self, name: str, *, note: str = "", lasting: Duration | None = None) -> None:
        """Let no job pass a gate, for so long or until it is resumed; what runs goes on.

        A gate that is paused for longer stays so.
        A gate that no job has named yet is made, and the first job that names it waits.

        Raises:
            TypeError, ValueError: the name, the note or the duration is not a legal one.
        """
        self._links.get().run(self.apause(name, note=note, lasting=lasting))

    async def apause(self, name: str, *, note: str = "", lasting: Duration | None = None) -> None:
        """Do the same as `pause` without blocking the event loop."""
        check_note(note)
        delay = None if lasting is None else to_us(lasting, "lasting")
        store = (await self._links.aget()).store
        await store.shut_gate(check_gate(name), delay=delay, note=note or None)

    def resume(self, name: str) -> bool:
        """Let jobs pass a gate again, and close a breaker; True where it was paused or open."""
        return self._links.get().run(self.aresume(name))

    async def aresume(self, name: str) -> bool:
        """Do the same as `resume` without blocking the event loop."""
        return await (await self._links.aget()).store.open_gate(check_gate(name))

    def set(self, name: str, limit: Limit, *, change_kind: bool = False) -> None:
        """Set what a gate bounds; what jobs bring along does not count until `reset`.

        The limit's own key and name are not looked at. A gate that is paused and that no job has
        named yet may become any kind.

        Args:
            name: the gate.
            limit: what it bounds from now on.
            change_kind: let it bound something else than it does: places, say, that were a rate.

        Raises:
            TypeError: `limit` is none.
            ValueError: the gate, or the limit of that name that a task of this program declares,
                is of another kind than `limit`; or it is what a task is paused by.
        """
        self._links.get().run(self.aset(name, limit, change_kind=change_kind))

    async def aset(self, name: str, limit: Limit, *, change_kind: bool = False) -> None:
        """Do the same as `set` without blocking the event loop."""
        if not isinstance(limit, Limit):
            raise TypeError(
                f"set takes Concurrency(...), RateLimit(...) or Breaker(...), not {limit!r:.80}"
            )
        if check_gate(name).startswith(TASK):
            raise ValueError(
                f"{name!r} is what a task is paused by; it bounds nothing, give the task limits="
            )
        kind = await self._kind(name)
        kept = kind not in (None, SWITCH, limit.kind)
        if not change_kind and kept:
            raise ValueError(why_kept(name, str(kind), limit))
        store = (await self._links.aget()).store
        if not await store.set_gate(limit.gate(name, 1), change_kind=change_kind):
            # A job has just made it so.
            raise ValueError(why_kept(name, str(await self._kind(name)), limit))

    async def _kind(self, name: str) -> str | None:
        """Give the kind of a gate, also of one that was idle and has gone from the store."""
        found = await self.aget(name)
        if found is None or found.kind == SWITCH:
            return declared_kind(self._tasks, name)
        return found.kind

    def reset(self, name: str) -> bool:
        """Let the next job that is enqueued say a gate's numbers; True where they were set."""
        return self._links.get().run(self.areset(name))

    async def areset(self, name: str) -> bool:
        """Do the same as `reset` without blocking the event loop."""
        return await (await self._links.aget()).store.reset_gate(check_gate(name))


def check_note(note: str) -> str:
    """Return the note of a pause when it is one that every store can hold.

    Raises:
        TypeError, ValueError: it is no str, is too long, or has a NUL or a lone surrogate.
    """
    if not isinstance(note, str):
        raise TypeError(f"a note is a str, not {type(note).__name__}")
    if len(note) > NOTE_MAX:
        raise ValueError(f"a note has at most {NOTE_MAX} characters, not {len(note):,}")
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in note):
        raise ValueError(
            f"the note {note[:60]!r} has a NUL or a lone surrogate, which no store can hold"
        )
    return note


def _limit(record: GateRecord) -> str:
    if record.kind == PLACES:
        return str(record.quota)
    period = f"{record.period // SECOND}s"
    if record.kind == BREAKER:
        failures = "failure" if record.quota == 1 else "failures"
        return f"{record.quota} {failures}/{record.period / SECOND:g}s"
    return f"{record.quota}/{period}" if record.kind in STARTS else ""


def _breaker(record: GateRecord) -> str | None:
    if record.kind != BREAKER:
        return None
    if not record.tripped:
        return "closed"
    return "half open" if record.shut_until is None else "open"
