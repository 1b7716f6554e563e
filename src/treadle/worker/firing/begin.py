"""What a worker does about schedules before it takes its first job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from treadle.client.link import carry
from treadle.client.schedules.sync import sync
from treadle.core.errors import StoreError

if TYPE_CHECKING:
    from treadle.app import Treadle
    from treadle.worker.firing.firing import Firing

_log = logging.getLogger("treadle.worker")


async def begin_schedules(app: Treadle, firing: Firing) -> None:
    """Store what the code declares, say what that changed, and fire what is due.

    Raises:
        StoreError: the declarations could not be stored.
    """
    diff = await carry(sync(app.store, app.default_module, app.declared))
    if diff:
        _log.info("schedules: %s", diff)
    elif diff.left_alone:
        _log.warning("schedules: %s", diff.left_alone)
    try:
        await firing.catch_up()
    except StoreError as error:
        _log.warning("what is due is fired later: %s", error)
