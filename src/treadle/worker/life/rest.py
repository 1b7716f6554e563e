"""Rests that an event ends early, and that a cancellation always ends.

`asyncio.wait_for` of Python 3.11 forgets a cancellation that comes in the moment in which what it
waits for is done (cpython issue 86296); a loop that rests with it may go on for ever. Here, and
wherever a wait has a limit, it is `asyncio.timeout`, which forgets none.
"""

from __future__ import annotations

import asyncio


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Rest so many seconds, or until the event is set; tell whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
