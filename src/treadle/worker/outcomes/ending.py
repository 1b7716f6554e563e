"""How does an attempt's own transaction end? With its job, or not at all.

When the task's function has returned, its writes and the settlement commit together: the
settlement is decided by `core.decide` as always, only its write goes on the task's connection
and not with the next exchange. When the function raises, when its result cannot be stored or its
claim is lost, the writes are rolled back. All of it happens where the task's code runs; only
`abort` and `settled` are called from elsewhere. How it begins is told in `transaction`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.core import fault
from treadle.core.decide import Rules, decide
from treadle.core.ids import id_text
from treadle.core.outcome import Outcome, Settlement, Succeeded, Verdict
from treadle.store.statements import (
    COMMIT,
    ROLLBACK,
    Adapter,
    AsyncAdapter,
    Script,
    Statement,
    acarry,
    carry,
)
from treadle.worker.outcomes.raised import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.store.contract import Store, Transactional
    from treadle.worker.attempt import Attempt
    from treadle.worker.notes import Notes

_log = logging.getLogger("treadle.worker")

_NOT_LEFT: Final = (
    "the task's function returned while the block of ctx.transaction() was still open, so nobody "
    "can tell whether its writes are complete; they are rolled back"
)
_ABORT_AGAIN_S: Final = 0.1
_ABORTS_MAX: Final = 600

# Savepoints in the task's transaction, which are gone when that has ended behind our back. The
# inner one is looked for before the settlement is written: on a connection in autocommit mode
# that would else be a transaction of its own. The outer one is kept until after it: where SQLite
# began with it, its release is the commit.
WITNESSES: Final = (Statement("savepoint treadle_job"), Statement("savepoint treadle_seen"))
_SEEN_THERE: Final = Statement("release savepoint treadle_seen")
_JOB_THERE: Final = Statement("release savepoint treadle_job")
_IN_FAILED_TRANSACTION: Final = "25P02"


class Shared(Struct, eq=False, kw_only=True):
    """What the transactions of one worker's attempts share."""

    store: Store
    rules: Rules
    notes: Notes
    limit_us: int
    """How long one may last that keeps other writers out."""
    shorten: Callable[[Attempt, int], object]
    """Ends an attempt by this instant (monotonic nanoseconds); for any thread."""


class Ending:
    """The end of one attempt's transaction."""

    def __init__(
        self,
        shared: Shared,
        transactional: Transactional,
        attempt: Attempt,
        given: Adapter | AsyncAdapter | None,
    ) -> None:
        self._shared = shared
        self._transactional = transactional
        self._attempt = attempt
        self._adapter = given
        self._given = given is not None
        self._inside = False
        self._ended = False
        self._until: int | None = None
        self._outcome: Outcome | None = None
        self.error: BaseException | None = None
        """Why it could not be committed."""
        self.committed: tuple[Settlement, Verdict] | None = None
        """The settlement that was written with it; rolled back with it when the verdict is LOST."""

    @property
    def overrun(self) -> str:
        """What to say when it has lasted for longer than it may; empty when it has not."""
        if self._until is None or time.monotonic_ns() < self._until:
            return ""
        return (
            f"the task kept its transaction open for longer than {self._shared.limit_us / 1e6:g} s "
            "(transaction_timeout), which keeps every other writer out; it was rolled back: do "
            "the slow part before ctx.transaction() is entered"
        )

    async def conclude(self, outcome: Outcome) -> Outcome:
        """Commit or roll back as the outcome says; give what the attempt has come to then.

        Never raises. Once it has committed, what comes later changes nothing any more.
        """
        if self._outcome is not None:
            return self._kept(outcome)
        if not isinstance(self._adapter, AsyncAdapter):
            return self.conclude_now(outcome)
        try:
            outcome = await acarry(self._close(outcome), self._adapter)
        except asyncio.CancelledError as error:
            # A second end of the attempt, in the midst of the rollback that the first one caused.
            outcome = outcome_of(self._attempt, error)
        self._outcome = outcome
        return outcome

    def conclude_now(self, outcome: Outcome) -> Outcome:
        """Do the same on the task's thread."""
        if self._outcome is not None:
            return self._kept(outcome)
        if isinstance(self._adapter, Adapter):
            outcome = carry(self._close(outcome), self._adapter)
        self._outcome = outcome
        return outcome

    def abort(self, why: str = "its attempt was ended", tries: int = _ABORTS_MAX) -> None:
        """End it while the task's code may still run; one that has ended stays as it is.

        For the loop's thread. A connection of the caller's is left to the code that uses it: what
        that does is rolled back when it ends, and refused by the fence if it should get so far as
        to commit.
        """
        if self._adapter is not None and self._adapter.abort(why) and tries:
            # A statement runs in the task's thread, which ends the transaction as it is told to;
            # but the error that ends the task may strike that thread in the midst of it.
            loop = asyncio.get_running_loop()
            loop.call_later(_ABORT_AGAIN_S, self.abort, why, tries - 1)

    def settled(self, tell: Callable[[Settlement, Verdict], None]) -> Settlement | None:
        """Give the settlement that was committed here, and tell its verdict.

        None where there was none: then the writes end now, whether or not the task's code does.
        """
        self.abort()
        if self.committed is None:
            return None
        tell(*self.committed)
        return self.committed[0]

    async def undo(self) -> None:
        """Roll back, once."""
        if isinstance(self._adapter, AsyncAdapter):
            await acarry(self._undone(), self._adapter)
        else:
            self.undo_now()

    def undo_now(self) -> None:
        """Do the same on the task's thread."""
        if isinstance(self._adapter, Adapter):
            carry(self._undone(), self._adapter)

    def _kept(self, outcome: Outcome) -> Outcome:
        """Give the outcome of the function, whatever became of the attempt around it since."""
        assert self._outcome is not None
        if isinstance(self._outcome, Succeeded) and not isinstance(outcome, Succeeded):
            _log.warning(
                "the middleware around job %s raised after the job was committed; that stands",
                id_text(self._attempt.claim.id),
            )
        return self._outcome

    def _close(self, outcome: Outcome) -> Script[Outcome]:
        attempt = self._attempt
        if self._ended:
            return outcome
        if not isinstance(outcome, Succeeded) or attempt.settled:
            yield from self._undone()
            return outcome
        settlement = decide(
            attempt.claim, outcome, attempt.policy, self._shared.rules, draw=random.random
        )
        try:
            if self._inside:
                raise RuntimeError(_NOT_LEFT)  # noqa: TRY301 -- it ends as any other error here
            yield from self._witnessed(_SEEN_THERE)
            note = self._shared.notes.of(attempt)
            verdict = yield from self._transactional.settle(settlement, note)
            yield from self._undone() if verdict is Verdict.LOST else self._committed()
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 -- here errors become values
            self.error = error
            yield from self._undone()
            return outcome_of(attempt, error)
        self.committed = settlement, verdict
        self._shared.notes.drop(attempt)
        return outcome

    def _witnessed(self, there: Statement) -> Script[None]:
        """Make sure that the transaction is still the one in which the task has written.

        Raises:
            RuntimeError: somebody else has ended it.
        """
        if self._adapter is None or self._adapter.refuses_ends:
            return
        try:
            yield there
        except Exception as error:
            if getattr(getattr(error, "orig", error), "sqlstate", "") == _IN_FAILED_TRANSACTION:
                raise  # A statement of the task's failed in it; the server says so.
            raise RuntimeError(
                "the transaction of ctx.transaction() ended before the task's function had "
                "returned; leave its connection or session open, and leave the commit to treadle"
            ) from error

    def _committed(self) -> Script[None]:
        fault.point("transaction.before_commit")
        yield from self._witnessed(_JOB_THERE)
        yield COMMIT
        self._ended = True
        fault.point("transaction.after_commit")
        self._transactional.announce()

    def _undone(self) -> Script[None]:
        if self._ended:
            return
        self._ended = True
        try:
            yield ROLLBACK
        except Exception as error:  # noqa: BLE001 -- a connection that is broken has rolled back
            _log.warning(
                "the transaction of job %s could not be rolled back (%r); it ends with its "
                "connection",
                id_text(self._attempt.claim.id),
                error,
            )
