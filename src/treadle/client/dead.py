"""What can be done to dead letters: look at them, group them, replay or discard them.

A dead letter is a job in `failed`: it will not run again by itself. Each method has an
async twin with the prefix a.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack

from treadle.client.link import Steps, carry
from treadle.client.views import DeadGroup
from treadle.core.ids import id_bytes
from treadle.core.job import JobRecord, JobState
from treadle.job import JobPage, read_page
from treadle.options import refuse_unknown
from treadle.store.contract import BATCH_MAX, Filter

if TYPE_CHECKING:
    from treadle.client.snapshot import Home
    from treadle.store.contract import Store

ACT_MAX: Final = 1_000_000
"""Dead letters that one call of `replay` or `discard` changes at most."""

_Verb = Literal["retry", "discard"]


class DeadFilter(TypedDict, total=False):
    """Which dead letters are meant; what is left out is any."""

    queue: str | None
    task: str | None
    tag: str | None
    reason: str | None


class DeadLetters:
    """The dead letters of one application."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def list(
        self, *, limit: int = 100, cursor: str | None = None, **which: Unpack[DeadFilter]
    ) -> JobPage:
        """Give dead letters, newest first; `cursor` is that of the page before."""
        return self._home.link.run(self.alist(limit=limit, cursor=cursor, **which))

    async def alist(
        self, *, limit: int = 100, cursor: str | None = None, **which: Unpack[DeadFilter]
    ) -> JobPage:
        """Do the same as `list` without blocking the event loop."""
        return await read_page(self._home, _dead(which), limit, cursor)

    def groups(self, limit: int = 100) -> Sequence[DeadGroup]:
        """Count dead letters by task, reason and error, at most `limit` groups."""
        return self._home.link.run(self.agroups(limit))

    async def agroups(self, limit: int = 100) -> Sequence[DeadGroup]:
        """Do the same as `groups` without blocking the event loop."""
        store = (await self._home.alink()).store
        return [DeadGroup.of(row) for row in await store.dead_groups(limit)]

    def replay(self, ids: Iterable[str] | None = None, **which: Unpack[DeadFilter]) -> int:
        """Make dead letters ready again with all their attempts; return how many.

        Give ids, or a filter, or neither for all of them.

        Raises:
            TypeError: `ids` is one str, or comes with a filter.
            ValueError: an id is not one.
        """
        link = self._home.link
        return link.run_steps(_act(link.store, "retry", _ids(ids, which), which))

    async def areplay(self, ids: Iterable[str] | None = None, **which: Unpack[DeadFilter]) -> int:
        """Do the same as `replay` without blocking the event loop for longer than a batch."""
        store = (await self._home.alink()).store
        return await carry(_act(store, "retry", _ids(ids, which), which))

    def discard(self, ids: Iterable[str] | None = None, **which: Unpack[DeadFilter]) -> int:
        """Delete dead letters for good; return how many. Takes what `replay` takes.

        Raises:
            TypeError: `ids` is one str, or comes with a filter.
            ValueError: an id is not one.
        """
        link = self._home.link
        return link.run_steps(_act(link.store, "discard", _ids(ids, which), which))

    async def adiscard(self, ids: Iterable[str] | None = None, **which: Unpack[DeadFilter]) -> int:
        """Do the same as `discard` without blocking the event loop for longer than a batch."""
        store = (await self._home.alink()).store
        return await carry(_act(store, "discard", _ids(ids, which), which))


def _dead(which: DeadFilter) -> Filter:
    refuse_unknown(
        which, DeadFilter.__annotations__, "dead letters cannot be chosen by", "choose by"
    )
    return Filter(state=JobState.FAILED, **which)


def _ids(ids: Iterable[str] | None, which: DeadFilter) -> list[bytes] | None:
    """Read the ids at once, so that a wrong one is an error before anything is changed."""
    if ids is None:
        return None
    if isinstance(ids, str):
        raise TypeError(f"give a list of ids: [{ids!r}]")
    if which:
        raise TypeError("give ids or a filter, not both")
    return [id_bytes(one) for one in ids]


def _act(store: Store, verb: _Verb, ids: list[bytes] | None, which: DeadFilter) -> Steps[int]:
    """Carry a control verb over dead letters, a batch at a time; count what it changed."""
    done, before = 0, None
    page: Sequence[JobRecord | None]
    for _ in range(ACT_MAX // BATCH_MAX):
        if ids is None:
            page = yield store.find(_dead(which), limit=BATCH_MAX, before=before)
            full = len(page) == BATCH_MAX
        else:
            page = yield store.get(ids[:BATCH_MAX])
            ids = ids[BATCH_MAX:]
            full = bool(ids)
        found = [record for record in page if record is not None]
        dead = [record.id for record in found if record.state is JobState.FAILED]
        if dead:
            changed: Sequence[bool] = yield getattr(store, verb)(dead)
            done += sum(changed)
        if not full:
            break
        before = found[-1].id if found else None
    return done
