"""The line: claim → execute → decide → settle, for one worker. The hot path.

    exchange   settle what has ended and claim what there is room for: one store call
    dispatch   start claims in free slots (execute, in `executors`)
    finished   decide what becomes of a job and hand the settlement to the settler
    rest       until a slot is free, work is hinted at, or settlements have waited long enough

Everything here runs on the worker's event loop, so nothing needs a lock. How a worker starts
and stops is in `worker`, what it holds in `claims`, how settlements are kept in `settler`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING

from msgspec.structs import replace

from treadle.core import fault
from treadle.core.decide import decide
from treadle.core.durations import SECOND
from treadle.core.outcome import Outcome, Released, TaskUnknown, WorkerLost
from treadle.core.retry import DEFAULT_POLICY
from treadle.store.contract import BATCH_MAX
from treadle.worker.attempt import Attempt, CancelReason
from treadle.worker.claims.held import Held
from treadle.worker.claims.marks import Marks, had_started
from treadle.worker.claims.suspects import Suspects

if TYPE_CHECKING:
    from treadle.core.job import Claim, Orphan
    from treadle.core.lanes import Demand
    from treadle.core.outcome import Settlement, Verdict
    from treadle.core.retry import JobPolicy
    from treadle.store.contract import Exchanged, StoreFeatures
    from treadle.worker.executors.group import Executors
    from treadle.worker.kit import Kit
    from treadle.worker.settler import Settler

_SUSPECT_PATIENCE_S = 30.0
_SUSPECT_REST = 30 * SECOND
_SUSPECT_RESTS_MAX = 2
_STUCK_REST = 5 * SECOND
"""How long a job rests whose last attempt's thread still lives on this worker."""


class Line:
    """One worker's jobs, from claim to settlement."""

    def __init__(
        self, kit: Kit, slots: int, wake: Callable[[], None], features: StoreFeatures
    ) -> None:
        """Take the kit, how many jobs run at once, how to wake the loop, and the store's ways."""
        self.kit = kit
        self.held = Held(slots, ahead=features.beside_loop, streams=not kit.lanes.reserve)
        self.running: dict[int, Attempt] = {}
        self.worker = ""
        """The id of the present incarnation."""
        self.closed = False
        """Whether nothing new is claimed or started any more."""
        self.executors: Executors
        self.settler: Settler
        self._marks = Marks(self._execute, self._refuse)
        self._wake = wake
        self._suspects = Suspects(kit.rules.max_crashes, all_kept=features.start_marks)
        self._taken_at = 0.0
        self._rests = 0
        self._ran_us = self._ended = 0
        self.starts = 0
        self._long_us = int(kit.standstill.warn_after * SECOND)

    # Claim

    def room(self) -> int:
        """Tell how many jobs may be claimed now."""
        shut = self.closed or self.kit.surroundings.cut_off
        if shut or self._suspects.running or self._suspect_waits():
            return 0
        return self.held.room(len(self.running))

    def demand(self) -> Demand | None:
        """Say what to claim now; None when there is no room. Each demand is to be sent."""
        room, lanes = self.room(), self.kit.lanes
        held = self.held.queues(self.running.values()) if lanes.reserve else ()
        return lanes.demand(room, held, most=BATCH_MAX) if room else None

    def _suspect_waits(self) -> bool:
        return bool(self.held.buffer and self.held.buffer[0].crashes)

    def accept(self, answer: Exchanged) -> None:
        """Take the store's answer to an exchange."""
        if answer.claims:
            fault.point("claim.accepted")
            self.held.take(answer.claims)
            self._taken_at = monotonic()
        if self._ended:
            self.held.learn(self._ran_us // self._ended)
            self._ran_us = self._ended = 0
        self.dispatch()

    # Execute

    def dispatch(self) -> None:
        """Start claims while there are free slots; suspects run apart from other jobs."""
        buffer, running, slots = self.held.buffer, self.running, self.held.slots
        while buffer and len(running) < slots:
            if self.closed or self.kit.surroundings.cut_off:
                return
            if buffer[0].crashes or self._suspects.running:
                quiet = not running and self.settler.idle
                if not self._suspects.admit(buffer[0], quiet=quiet):
                    return
            self._start(buffer.popleft())

    def _start(self, claim: Claim) -> None:
        definition = self.kit.find(claim.task)
        if definition is None:
            self.settle(claim, TaskUnknown(), DEFAULT_POLICY)
            return
        if self.executors.is_stuck(claim.id):
            self.settle(claim, Released(_STUCK_REST), DEFAULT_POLICY)
            return
        if claim.attempts_max is None:
            claim = replace(claim, attempts_max=definition.retry.attempts)
        place = self.held.place(claim)
        policy = self.kit.policy_of(claim, definition)
        attempt = Attempt(claim, definition, policy, self.kit.surroundings, place)
        self.running[place] = attempt
        self.starts += 1
        if claim.crashes:
            self._suspects.started(claim)
            self._rests = 0
        # The mark comes first: a job whose code may have begun must never look unstarted.
        self._marks.begin(self.kit.store, self.worker, attempt)

    def _execute(self, attempt: Attempt) -> None:
        """Hand an attempt that is marked to its executor."""
        fault.point("execute.before_start")
        self.kit.journal.started(attempt.claim, self.worker)
        try:
            self.executors.start(attempt)
        except RuntimeError as error:
            self.kit.journal.cannot_start(attempt.claim, error)
            self._refuse(attempt)

    def _refuse(self, attempt: Attempt) -> None:
        """Give a claim back that could not be started."""
        self.finished(attempt, Released(_STUCK_REST))

    # Decide

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take an outcome: decide, hand on the settlement, start the next claim."""
        if self.running.pop(attempt.place, None) is None:
            return
        fault.point("execute.after_return")
        written = None if attempt.own is None else attempt.own.settled(self.settler.tell)
        settlement = self.settle(attempt.claim, outcome, attempt.policy, written)
        self._ran_us += settlement.ran
        self._ended += 1
        if settlement.ran >= self._long_us:
            self.kit.standstill.ended(attempt.claim)
        if self.held.buffer:
            self.dispatch()
        self._wake()

    def settle(
        self, claim: Claim, outcome: Outcome, policy: JobPolicy, written: Settlement | None = None
    ) -> Settlement:
        """Decide what becomes of a claim and hand that to the settler, unless it is written."""
        settlement = written or decide(claim, outcome, policy, self.kit.rules, draw=random.random)
        if written is None:
            self.settler.pending.append(settlement)
        self.kit.journal.ended(claim, settlement, self.worker)
        return settlement

    def answered(self, settlement: Settlement, verdict: Verdict) -> None:
        """Let go of a claim that the store has answered for."""
        self.held.let_go(settlement.id, settlement.number)
        if self._suspects.running:
            self._suspects.running.discard(settlement.id)
        self.kit.journal.answered(settlement, verdict, self.worker)

    # Claims that do not end by themselves

    def adopt(self, orphans: Iterable[Orphan]) -> None:
        """Decide for the jobs of workers that are gone."""
        for orphan in orphans:
            claim = orphan.claim
            self.held.adopt(claim)
            policy = self.kit.policy_of(claim, self.kit.find(claim.task))
            lost = had_started(orphan, policy)
            outcome: Outcome = WorkerLost(orphan.lost_by) if lost else Released()
            self.settle(claim, outcome, policy)
        self._wake()

    def hand_back(self) -> int:
        """Release what is claimed but not started; return how many.

        A suspect that waits to be alone is kept for a while, then rests elsewhere: a worker
        whose jobs are long must not stand still for it. It does after two such rests, or the
        suspect would never run.
        """
        buffer = self.held.buffer
        waiting = buffer.popleft() if self._suspect_waits() and not self.closed else None
        released = len(buffer)
        while buffer:
            self.settle(buffer.popleft(), Released(), DEFAULT_POLICY)
        self.held.forget_pace()
        if waiting is None:
            return released
        patient = monotonic() - self._taken_at < _SUSPECT_PATIENCE_S
        if patient or self._rests >= _SUSPECT_RESTS_MAX:
            buffer.append(waiting)
            return released
        self._rests += 1
        self.settle(waiting, Released(_SUSPECT_REST), DEFAULT_POLICY)
        return released + 1

    def revoke(self, claims: Iterable[tuple[bytes, int]]) -> None:
        """End the attempts of claims that are no longer this worker's.

        What has started keeps its place until its settlement has been refused.
        """
        revoked = set(claims)
        for attempt in list(self.running.values()):
            if (attempt.claim.id, attempt.claim.number) in revoked:
                self._cancel(attempt, "revoked")
        self.held.drop_buffered(revoked)

    def cancel_running(
        self, reason: CancelReason, which: Callable[[Attempt], bool] = lambda _: True
    ) -> None:
        """Ask running attempts to end."""
        for attempt in list(self.running.values()):
            if which(attempt):
                self._cancel(attempt, reason)

    def _cancel(self, attempt: Attempt, reason: CancelReason) -> None:
        if not self._marks.stop(attempt):
            self.executors.cancel(attempt, reason)

    def abandon_running(self) -> None:
        """Hand back what still runs when the worker's time to stop is over."""
        for attempt in list(self.running.values()):
            if not self._marks.stop(attempt):
                self.executors.abandon(attempt)
