"""Exchange: the order of steps between a worker and the server, and what a beat makes of it.

A worker's claims come in the answer of its exchange, or before it with the news of an enqueue
(`claims.Handed`, docs/adr/0026). What came with the news is given without a round trip, as far as
nothing is to be settled and no other exchange is being asked. What the server does is
`scripts/exchange.lua`; how its claims are read is in `claims`.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from treadle.core import fault
from treadle.core.errors import StoreError, StoreUnavailable
from treadle.core.outcome import Verdict
from treadle.store.contract import BATCH_MAX, Exchanged
from treadle.store.handing import Name, takes_any
from treadle.store.redis.line.claims import Handed, demand_words, read_claims
from treadle.store.redis.rows import Words, settlement_words
from treadle.store.redis.scripts import script

if TYPE_CHECKING:
    from treadle.core.clock import Clock
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement
    from treadle.store.redis.engine.listener import Listeners
    from treadle.store.redis.engine.runner import Runner

_ID_DIGITS: Final = 32
_YES: Final = ord("1")


class Exchanges:
    """The exchanges of one store's workers, and the claims that came to them with the news."""

    def __init__(
        self,
        runner: Runner,
        listeners: Listeners,
        clock: Clock,
        *,
        now: Callable[[int | None], str],
        has_lease: Callable[[str], bool],
    ) -> None:
        """Take what carries scripts, what hears news, and this machine's clock.

        `now` gives the time that a script goes by; `has_lease` tells whether nobody can have
        rescued a worker: else what came for it is not its own.
        """
        self._runner = runner
        self._listeners = listeners
        self._clock = clock
        self._now = now
        self._has_lease = has_lease
        self.handed = Handed()
        """What came with the news."""
        self._asked: dict[str, bytes] = {}
        """The exchange of each worker that has not been answered."""

    async def exchange(
        self,
        worker: str,
        request: bytes,
        settlements: Sequence[Settlement],
        demand: Demand | None,
        now: int | None,
    ) -> Exchanged:
        """Settle these, then claim those.

        Raises:
            ValueError: more settlements than one batch takes.
            StoreUnavailable: it is not known whether it was carried out; ask the same again.
            StoreError: the server refuses it; nothing was written.
        """
        if len(settlements) > BATCH_MAX:
            msg = f"an exchange settles at most {BATCH_MAX:,} claims, not {len(settlements):,}"
            raise ValueError(msg)
        if not settlements and worker not in self._asked and self._has_lease(worker):
            claims, bad = self.handed.take(worker)
            if claims or bad:
                await self.set_aside(worker, bad)
                return Exchanged((), claims, more=bool(bad))
        gone, verdicts, more, next_due, at, rows, gates, handed = await self._ask(
            worker, request, settlements, demand, now
        )
        rows = self.handed.others(worker, request, rows, handed=bool(handed))
        claims, bad = read_claims(rows, int(at), gates)
        if not gone:
            came, unread = self.handed.take(worker)
            claims, bad = claims + came, bad + unread
        await self.set_aside(worker, bad)
        self._offer(worker, settlements, demand, is_idle=not (rows or more or gone))
        return Exchanged(
            [Verdict.APPLIED if said == _YES else Verdict.LOST for said in verdicts],
            claims,
            more=bool(more or bad),
            next_due=next_due,
            gone=bool(gone),
        )

    async def _ask(
        self,
        worker: str,
        request: bytes,
        settlements: Sequence[Settlement],
        demand: Demand | None,
        now: int | None,
    ) -> Sequence[Any]:
        """Send an exchange and give what its script answers."""
        words: Words = [self._now(now), worker, request]
        words += demand_words(demand)
        words += settlement_words(settlements)
        self._asked[worker] = request
        try:
            answer: Sequence[Any] = await self._runner.run(
                self._runner.script(script("exchange"), words, again=True)
            )
        except StoreUnavailable:
            # Asked until it is answered; its claims are not lost, they are on their way.
            raise
        except StoreError:
            self._asked.pop(worker, None)
            raise
        fault.point("exchange.after_commit")
        self._asked.pop(worker, None)
        return answer

    def _offer(
        self,
        worker: str,
        settlements: Sequence[Settlement],
        demand: Demand | None,
        *,
        is_idle: bool,
    ) -> None:
        """Say whether an enqueue may claim a job for this worker while it waits."""
        may = self.handed.may_offer(worker, settlements, self._clock.monotonic())
        willing = may and takes_any(demand) and is_idle
        self._listeners.here().willing = worker if willing else ""

    async def set_aside(self, worker: str, bad: Sequence[Name]) -> None:
        """Make dead letters of claims whose values cannot be read."""
        if not bad:
            return
        words: Words = [self._now(None), worker]
        for id_, number in bad:
            words += (id_, number)
        await self._runner.run(self._runner.script(script("set_aside"), words, again=True))

    def compare(
        self,
        worker: str,
        claims: Sequence[bytes],
        held: Sequence[tuple[bytes, int]],
        came: set[Name],
    ) -> tuple[list[Name], list[tuple[bytes, int]]]:
        """Compare what the store says that a worker holds with what it does hold.

        `came` is what waited for it before the store was asked. Gives the claims whose answer was
        lost, to be given back, and those that it holds and are not its own any more.
        """
        stored, ours = set(map(_claim_of, claims)), {(id_.hex().encode(), n) for id_, n in held}
        self.handed.drop(worker, came - stored)
        # What an exchange that is still being asked has claimed is not lost but on its way.
        unheld = set() if worker in self._asked else stored - ours
        lost = self.handed.give_up(worker, unheld)
        return lost, [(unhexlify(id_), number) for id_, number in sorted(ours - stored)]

    def forget(self, worker: str) -> None:
        """Let go of a worker that has left."""
        self._asked.pop(worker, None)
        self.handed.forget(worker)

    def clear(self) -> None:
        """Let go of every worker, in a child that has none."""
        self._asked.clear()
        self.handed.clear()


def _claim_of(claim: bytes) -> Name:
    """Read a claim that a worker holds: its job's id and its number, in one."""
    return claim[:_ID_DIGITS], int(claim[_ID_DIGITS:])
