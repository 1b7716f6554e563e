"""The verbs for tenants, as the store's face has them; see `store.parts.tenanted`."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.tenants.tenant import TenantRecord
from treadle.store.sqlite.engine.runner import Runner, drive
from treadle.store.sqlite.tenants import tags


class SqliteTenants:
    """The tenants of a store in SQLite."""

    _runner: Runner
    _sql: dict[str, str]

    async def tenants(
        self, *, only: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[TenantRecord]:
        """Read tenants whose weight was set."""
        return await drive(
            self._runner.read(lambda db, _: tags.tenants(db, self._sql, only, after, limit))
        )

    async def set_tenant(self, name: str, stride: int | None) -> None:
        """Set a tenant's stride."""
        await drive(self._runner.write(lambda db, _: tags.set_stride(db, self._sql, name, stride)))
