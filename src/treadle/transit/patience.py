"""Patience: a verb that may be sent again is sent again while its store is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from treadle.core.errors import StoreUnavailable

T = TypeVar("T")

_TRIES: Final = 5
_REST_S: Final = 0.5


async def patiently(
    verb: Callable[..., Awaitable[T]],
    *args: Any,  # noqa: ANN401 -- the verb's own
    **more: Any,  # noqa: ANN401
) -> T:
    """Call a verb that may be sent again, a few times while its store is away.

    Raises:
        StoreUnavailable: it was away each time.
    """
    if args and args[0] == []:
        # Nothing to do costs no call; each of these verbs answers an empty batch with one.
        empty: Any = []
        return empty  # type: ignore[no-any-return]
    for turn in range(_TRIES):
        try:
            return await verb(*args, **more)
        except StoreUnavailable:
            if turn == _TRIES - 1:
                raise
            spread = 0.5 + 0.5 * random.random()  # noqa: S311 -- spreads tries
            await asyncio.sleep(_REST_S * 2**turn * spread)
    raise AssertionError("the last try returns or raises")
