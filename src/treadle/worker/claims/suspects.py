"""Suspects: jobs that may have killed a worker, and who may run beside them.

They run apart from other jobs. Where every mark is kept (`marks`) they are few, and each is alone.
Of a server's first-time suspects most had only waited in a buffer; these run among themselves,
surely marked: who was running when that ends badly runs alone next time (docs/adr/0020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.core.job import Claim


class Suspects:
    """Those that run in one worker; on the loop's thread alone."""

    def __init__(self, crashes_max: int, *, all_kept: bool) -> None:
        """Take how many crashes bury a job, and whether the store keeps every mark."""
        self._crashes_max = crashes_max
        self._all_kept = all_kept
        self.running: set[bytes] = set()
        """Started and not answered for by the store; nothing is claimed meanwhile."""
        self._alone = False

    def admit(self, claim: Claim, *, quiet: bool) -> bool:
        """Tell whether a claim may start now.

        `quiet` says that nothing runs and nothing is unsettled: a job that has ended but is not
        written would be lost with this worker, and count a crash that is not its own.
        """
        if self.running and claim.crashes and not self._alone and not self.is_alone(claim):
            return True
        return quiet and not self.running

    def is_alone(self, claim: Claim) -> bool:
        """Tell whether a suspect must have no other suspect beside it either.

        It must when one more crash would bury it, after a crash that it was marked in, or where
        each suspect was.
        """
        return self._all_kept or claim.crashes > 1 or claim.crashes + 1 >= self._crashes_max

    def started(self, claim: Claim) -> None:
        """Note a suspect that starts."""
        self._alone = self.is_alone(claim)
        self.running.add(claim.id)
