"""How the tests of the doctor look at a store: all findings of an opened one, by their names."""

import asyncio

from treadle.core.settings import Settings
from treadle.store.doctor import examine
from treadle.store.findings import Finding, Level
from treadle.store.open import open_store


def look(url: str, namespace: str = "default") -> dict[str, Finding]:
    """Open a store as the command does, examine it, and close it."""

    async def looked() -> list[Finding]:
        store = open_store(url, namespace, Settings(store_timeout=5))
        try:
            await store.open(create=False)
            return await examine(store)
        finally:
            await store.close()

    found = asyncio.run(looked())
    assert [f.level for f in found] == sorted((f.level for f in found), key=tuple(Level).index)
    return {finding.name: finding for finding in found}


def losing(findings: dict[str, Finding]) -> set[str]:
    """Name what would lose jobs."""
    return {name for name, finding in findings.items() if finding.level is Level.LOSES}
