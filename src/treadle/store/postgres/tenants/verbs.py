"""The verbs for tenants, as the store's face has them; see `store.parts.tenanted`."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.tenants.tenant import TenantRecord
from treadle.store.postgres.engine.pack import int8, text
from treadle.store.postgres.engine.runner import Runner, Talk, drive
from treadle.store.postgres.engine.sql import Statements
from treadle.store.postgres.engine.wire import Ask, Call


class PostgresTenants:
    """The tenants of a store in PostgreSQL."""

    _runner: Runner
    _sql: Statements

    async def tenants(
        self, *, only: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[TenantRecord]:
        """Read tenants whose weight was set."""
        call = (self._sql["tenants"], (text(only), text(after), int8(limit)))
        return await drive(self._runner.run(lambda: _tenants(call)))

    async def set_tenant(self, name: str, stride: int | None) -> None:
        """Set a tenant's stride."""
        call: Call = (self._sql["drop_tenant"], (text(name),))
        if stride is not None:
            call = (self._sql["set_tenant"], (text(name), int8(stride)))
        await drive(self._runner.run(lambda: _done(call)))


def _tenants(call: Call) -> Talk[Sequence[TenantRecord]]:
    _, [rows] = yield Ask([call])
    return [TenantRecord(*row) for row in rows]


def _done(call: Call) -> Talk[None]:
    yield Ask([call])
