"""A look at the store when a worker starts: what its settings would lose is said in the log."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from treadle.core.errors import StoreError
from treadle.store.findings import Level

if TYPE_CHECKING:
    from treadle.store.contract import Store

_log = logging.getLogger("treadle.worker")

_LOOK_S: Final = 2.0
_WARNINGS_MAX: Final = 10


async def warn_of_losses(store: Store) -> None:
    """Warn once of each setting of the store's that would lose jobs; failing changes nothing."""
    if not store.features.durable:
        return
    try:
        async with asyncio.timeout(_LOOK_S):
            findings = await store.examine(deep=False)
    except (StoreError, TimeoutError) as error:
        _log.info("the settings of the store could not be looked at: %r", error)
        return
    except Exception:  # noqa: BLE001 -- a look must never keep a worker from its work
        _log.exception("the look at the settings of the store failed")
        return
    for finding in [f for f in findings if f.level is Level.LOSES][:_WARNINGS_MAX]:
        _log.warning(
            "the store would lose jobs: %s is %s. %s %s",
            finding.name, finding.found, finding.means, finding.advice,
        )  # fmt: skip
