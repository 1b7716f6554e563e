"""The settler: keeps each settlement until the store has answered for it.

It decides nothing: by the time a settlement arrives, `core.decide` has chosen the state. The
line asks for the next exchange; while the store's answer is unknown the same request goes out
again, so a settlement is neither lost nor written twice. Bounded by what the worker holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.core.durations import DAY
from treadle.core.errors import StoreDamaged, StoreError, StoreUnavailable, TreadleError
from treadle.core.ids import new_id
from treadle.core.job import ErrorInfo, JobState, write_error
from treadle.core.outcome import Settlement, Verdict
from treadle.store.contract import BATCH_MAX, Exchanged

if TYPE_CHECKING:
    from treadle.core.lanes import Demand
    from treadle.store.contract import StoreSession

_log = logging.getLogger("treadle.worker")

Answered = Callable[[Settlement, Verdict], None]


class Settler:
    """The settlements of one worker, on their way to the store."""

    def __init__(self, store: StoreSession, answered: Answered) -> None:
        """Take the store and whom to tell of each verdict."""
        self._store = store
        self._answered = answered
        self.pending: list[Settlement] = []
        self._request: tuple[bytes, list[Settlement], Demand | None] | None = None
        self.lost = 0
        """How many settlements came too late."""

    @property
    def idle(self) -> bool:
        """Tell whether the store has answered for everything."""
        return not self.pending and self._request is None

    @property
    def kept(self) -> int:
        """Count the settlements that the store has not answered for."""
        return len(self.pending) + (len(self._request[1]) if self._request else 0)

    def fix(self, demand: Demand | None) -> tuple[bytes, list[Settlement], Demand | None]:
        """Fix what the next exchange sends; an earlier request that is not answered stays it.

        Called before the notes are written, so that no settlement overtakes its job's notes.
        """
        if self._request is None:
            batch, self.pending = self.pending[:BATCH_MAX], self.pending[BATCH_MAX:]
            self._request = (new_id(), batch, demand)
        return self._request

    async def exchange(self, worker: str, demand: Demand | None) -> Exchanged:
        """Send what is pending and claim by the demand, or repeat what is not yet answered.

        Raises:
            StoreUnavailable: the store did not answer; the next call sends the same again.
            StoreDamaged: what it holds is damaged where this exchange, or a claim, meets it.
            StoreError: the store refuses all that it is asked; what is pending is kept.
        """
        request, batch, wanted = self.fix(demand)
        try:
            answer = await self._store.exchange(worker, request, batch, wanted)
        except StoreDamaged as error:
            # The damage may lie where the claim looks, or one of the jobs: the others are written.
            self._request = None
            if not batch:
                raise
            _log.error("an exchange met damage and is sent apart: %s", error)
            await self._send_apart(worker, batch)
            return Exchanged((), (), more=True)
        except StoreUnavailable:
            raise
        except (TreadleError, ValueError, TypeError, OverflowError) as error:
            self._request = None
            if not batch:
                # It is the claim that is refused: asked again at once it would be so again.
                raise StoreError(f"the store refused a claim: {error}") from error
            _log.error("an exchange was refused and is sent apart: %s", error)
            await self._send_apart(worker, batch)
            return Exchanged((), (), more=True)
        self._request = None
        for settlement, verdict in zip(batch, answer.verdicts, strict=True):
            self.tell(settlement, verdict)
        return answer

    async def _send_apart(self, worker: str, batch: list[Settlement]) -> None:
        """Send each settlement by itself, so that a bad one never fails its neighbours."""
        for position, settlement in enumerate(batch):
            try:
                await self._send_one(worker, settlement)
            except StoreError as error:
                if isinstance(error, StoreUnavailable) and not isinstance(error, StoreDamaged):
                    self.pending[:0] = batch[position:]
                    raise
                # Kept, but behind its neighbours: they may be written although it is not.
                self.pending[:0] = batch[position + 1 :]
                self.pending.append(settlement)
                raise

    async def _send_one(self, worker: str, settlement: Settlement) -> None:
        try:
            answer = await self._store.exchange(worker, new_id(), [settlement], None)
        except StoreUnavailable:
            raise
        except (TreadleError, ValueError, TypeError, OverflowError) as error:
            _log.exception("a settlement was refused; its job becomes a dead letter")
            answer = await self._store.exchange(
                worker, new_id(), [unwritable(settlement, error)], None
            )
        self.tell(settlement, answer.verdicts[0])

    def tell(self, settlement: Settlement, verdict: Verdict) -> None:
        """Pass a verdict on; also one that came with an attempt's own transaction."""
        if verdict is Verdict.LOST:
            self.lost += 1
        self._answered(settlement, verdict)


def unwritable(settlement: Settlement, error: Exception) -> Settlement:
    """Make the settlement of a job whose own settlement cannot be written."""
    info = ErrorInfo(type(error).__name__, ascii(str(error))[:500])
    return Settlement(
        settlement.id,
        settlement.number,
        JobState.FAILED,
        settlement.attempt,
        "failed",
        error=write_error(info),
        reason="unwritable",
        keep=settlement.keep or 30 * DAY,
        forgiven=settlement.forgiven,
        crashes=settlement.crashes,
        keyed=settlement.keyed,
    )
