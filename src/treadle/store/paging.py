"""Reading all that a store lists by name, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

PAGE: Final = 1_000
"""Records that one call reads."""
PAGES_MAX: Final = 1_000


class Named(Protocol):
    """What a store lists."""

    @property
    def name(self) -> str:
        """The name by which it is listed."""
        ...


N = TypeVar("N", bound=Named)


async def by_name(read: Callable[[str, int], Awaitable[Sequence[N]]]) -> AsyncIterator[N]:
    """Give all records, a million at most; `read` gives so many of those after a name.

    Raises:
        StoreError: as `read` does; what came before it has been given.
    """
    after = ""
    for _ in range(PAGES_MAX):
        page = await read(after, PAGE)
        for record in page:
            yield record
        if len(page) < PAGE:
            return
        after = page[-1].name
