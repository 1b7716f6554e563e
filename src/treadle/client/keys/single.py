"""One hold at a time: what a `Lock` and a `NamedLimit` keep of the block that uses them.

Two blocks of one object that waited at once would end with one hold: the other would never be given
up. So the second is refused, while the first waits as well as while it holds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

H = TypeVar("H")


class Single(Generic[H]):
    """The one hold of an object, by any thread."""

    def __init__(self) -> None:
        self.hold: H | None = None
        self._is_asked = False
        self._mutex = threading.Lock()

    @contextmanager
    def asking(self, refusal: str) -> Iterator[None]:
        """Let the body ask for the hold and set `hold`; without it, the next one may ask.

        Raises:
            RuntimeError: there is a hold, or somebody asks for it; it says `refusal`.
        """
        with self._mutex:
            if self.hold is not None or self._is_asked:
                raise RuntimeError(refusal)
            self._is_asked = True
        try:
            yield
        finally:
            self._is_asked = False

    def end(self) -> H | None:
        """Take the hold away and give it to one caller; None where there is none."""
        with self._mutex:
            hold, self.hold = self.hold, None
        return hold
