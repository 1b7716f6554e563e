"""The store contract for tenants: what every store promises about fairness.

A job that has a tenant is given an order tag in each write that makes it ready, whatever that
write is; the rule is that of `core.tenants.tenant`, for each queue and priority by itself. Jobs
without a tenant have the tag 0 and go before those with one. A job that is given back unspent
keeps its tag when it is the smaller one. At a gate, parked jobs are ordered by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from treadle.core.tenants.tenant import TenantRecord


class WeighsTenants(Protocol):
    """The verbs for tenants."""

    async def tenants(
        self, *, only: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[TenantRecord]:
        """Read tenants whose weight was set, by name: one of them, or those after a name.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    async def set_tenant(self, name: str, stride: int | None) -> None:
        """Set what a job adds to the tag of its tenant; None: as of tenants that nobody has set.

        `stride` is from 10 to 100,000 (`core.tenants.tenant.stride_of`). It holds for jobs that
        become ready after it; tags that were given stay as they are.

        Raises:
            StoreUnavailable: it is not known whether it was set; the same may be sent again.
        """
        ...
