"""Whether a move's two stores are two.

One store may have two names: a host by its name and its address, a file by a link. A move that
takes it for two would write its jobs over themselves and delete them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.core.errors import StoreUnavailable
from treadle.core.ids import new_id
from treadle.store.parts.moving import SameStore

if TYPE_CHECKING:
    from treadle.store.contract import Store

_LEASE: Final = 60_000_000
"""Microseconds after which what a killed move has left of this is over."""


async def check_apart(source: Store, target: Store, *, lease: int = _LEASE) -> None:
    """Refuse two handles of one store: what is held through the one is held for the other.

    The lock that it takes has a name that nobody else uses, and is freed by its lease
    (microseconds) at last.

    Raises:
        SameStore: both are one; nothing is changed.
        StoreUnavailable: a store was away, or so slow that the lease ended before it answered.
    """
    there, here = new_id(), new_id()
    name = f"treadle.move:{there.hex()}"
    await target.lock_take(name, there, lease)
    taken = await source.lock_take(name, here, lease)
    # Only while the one is held does the other tell anything.
    held = await target.lock_renew(name, there, lease)
    await target.lock_free(name, there)
    if taken.fence is None:
        raise SameStore
    await source.lock_free(name, here)
    if not held:
        raise StoreUnavailable(
            f"the stores took over {lease / 1_000_000:g} seconds to tell whether they are two; "
            "nothing was moved: give the same command again"
        )
