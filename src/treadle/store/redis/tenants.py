"""The verbs for tenants, as the store's face has them; see `store.parts.tenanted`."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.tenants.tenant import TenantRecord
from treadle.store.redis.engine.runner import Runner
from treadle.store.redis.scripts import script


class RedisTenants:
    """The tenants of a store in Redis."""

    _runner: Runner

    async def tenants(
        self, *, only: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[TenantRecord]:
        """Read tenants whose weight was set."""
        words = ("", only or "", after, limit)
        rows = await self._runner.run(self._runner.script(script("tenants"), words, again=True))
        return [TenantRecord(name.decode(errors="replace"), stride) for name, stride in rows]

    async def set_tenant(self, name: str, stride: int | None) -> None:
        """Set a tenant's stride."""
        words = ("", name, "" if stride is None else stride)
        await self._runner.run(self._runner.script(script("set_tenant"), words, again=True))
