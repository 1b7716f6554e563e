"""The weights of tenants: looked at and changed at run time, in the store.

A weight holds for jobs that become ready after it was set; what waits already keeps its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from treadle.client.snapshot import Home
from treadle.core.tenants.tenant import STRIDE, check_tenant, stride_of
from treadle.store.paging import by_name

if TYPE_CHECKING:
    from treadle.core.tenants.tenant import TenantRecord


class Tenant(Struct, frozen=True):
    """A tenant and its weight: how many turns it has for one of a tenant of weight 1."""

    name: str
    weight: float = 1

    @classmethod
    def of(cls, record: TenantRecord) -> Self:
        """Make a tenant from the store's record."""
        return cls(record.name, float(f"{STRIDE / record.stride:.3g}"))


class Tenants(Home):
    """What an application can do about tenants."""

    def tenant(self, name: str, weight: float | None = None) -> Tenant:
        """Set the weight of a tenant, or only look at it.

        Args:
            name: the tenant, 1 to 200 printable characters; it need not have jobs yet.
            weight: from 0.01 to 100, to three digits or so: a turn costs a tenant whole
                thousandths. None: leave it as it is. 1 is that of every tenant nobody has set.

        Raises:
            TypeError, ValueError: the name or the weight is not a legal one.
        """
        return self.link.run(self.atenant(name, weight))

    async def atenant(self, name: str, weight: float | None = None) -> Tenant:
        """Do the same as `tenant` without blocking the event loop."""
        check_tenant(name)
        if weight is not None:
            stride = stride_of(weight)
            store = (await self.alink()).store
            await store.set_tenant(name, None if stride == STRIDE else stride)
        found = await (await self.alink()).store.tenants(only=name, limit=1)
        return Tenant.of(found[0]) if found else Tenant(name)

    def tenants(self) -> Sequence[Tenant]:
        """Give the tenants whose weight was set to another one than 1, by name."""
        return self.link.run(self.atenants())

    async def atenants(self) -> Sequence[Tenant]:
        """Do the same as `tenants` without blocking the event loop."""
        store = (await self.alink()).store
        every = by_name(lambda after, limit: store.tenants(after=after, limit=limit))
        return [Tenant.of(record) async for record in every]
