"""What a worker does about the schedules that its code declares, at its start and later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from treadle.client.link import carry
from treadle.client.schedules.sync import sync
from treadle.core.errors import StoreError

if TYPE_CHECKING:
    from treadle.app import Treadle
    from treadle.client.schedules.views import SyncDiff
    from treadle.worker.firing.firing import Firing

_log = logging.getLogger("treadle.worker")

TEND_S: Final = 60.0
"""How often a worker looks whether schedules that it keeps for others may go."""


async def begin_schedules(app: Treadle, firing: Firing, worker: str) -> None:
    """Store what the code declares, say what that changed, and fire what is due.

    Raises:
        StoreError: the declarations could not be stored.
    """
    _say(await carry(sync(app.store, app.default_module, app.declared, worker=worker)))
    try:
        await firing.catch_up()
    except StoreError as error:
        _log.warning("what is due is fired later: %s", error)


async def tend_schedules(app: Treadle, worker: Callable[[], str]) -> None:
    """Each minute remove what no live worker declares any more, while anything is kept so.

    A new incarnation declares anew. Idle workers of one version ask the store nothing.
    """
    told, looking, unused = worker(), True, frozenset[str]()
    while True:
        await asyncio.sleep(TEND_S)
        if not looking and told == worker():
            continue
        told, looking = worker(), True
        try:
            diff = await carry(
                sync(app.store, app.default_module, app.declared, worker=told, may_go=unused)
            )
        except StoreError as error:
            _log.warning("declared schedules are looked at again in a minute: %s", error)
            continue
        _say(diff)
        # Only what was unused twice in a row goes: a restart takes a moment.
        unused, looking = frozenset(diff.unused), bool(diff.kept)


def _say(diff: SyncDiff) -> None:
    if diff:
        _log.info("schedules: %s", diff)
    elif diff.left_alone:
        _log.warning("schedules: %s", diff.left_alone)
    if diff.removed:
        _log.warning(
            "schedules removed, as no live worker declares them: %s", ", ".join(diff.removed)
        )
