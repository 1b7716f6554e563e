"""What the line works with: the store, the tasks this process knows, rules and journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from treadle.core.retry import DEFAULT_POLICY, read_policy

if TYPE_CHECKING:
    from treadle.core.decide import Rules
    from treadle.core.job import Claim
    from treadle.core.lanes import Lanes
    from treadle.core.retry import JobPolicy
    from treadle.definition import Definition
    from treadle.store.contract import StoreSession
    from treadle.worker.attempt import Surroundings
    from treadle.worker.journal import Journal
    from treadle.worker.life.standstill import Standstill


class Kit(Struct, eq=False, kw_only=True):
    """One worker's."""

    store: StoreSession
    find: Callable[[str], Definition | None]
    rules: Rules
    lanes: Lanes
    surroundings: Surroundings
    journal: Journal
    standstill: Standstill

    def policy_of(self, claim: Claim, definition: Definition | None) -> JobPolicy:
        """Give the job's own policy, else its task's; damaged bytes are told and left aside."""
        own = DEFAULT_POLICY if definition is None else definition.policy
        if definition is not None and claim.policy in (None, definition.policy_bytes):
            return own
        try:
            return read_policy(claim.policy) or own
        except ValueError as error:
            self.journal.unreadable(claim, error)
            return own
