"""Jobs of tenants, to order, and what came of them in one text."""
# ruff: noqa: ANN401 -- the keywords are those of NewJob, which checks them.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.job import Claim
from treadle.testing.conformance.kit import Case, new_job


async def add(case: Case, tenant: str | None, count: int = 1, **fields: Any) -> list[bytes]:
    """Enqueue jobs of a tenant as one batch and return their ids; their arguments name it."""
    said = {"tenant": tenant, "args": (tenant or "-").encode()} | fields
    return await case.enqueue(*(new_job(**said) for _ in range(count)))


def turns(claims: Sequence[Claim]) -> str:
    """Tell whose jobs were claimed, in order: `aab`, and `-` for one of nobody."""
    return "".join(claim.args.decode() for claim in claims)
